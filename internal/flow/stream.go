package flow

// stream is one direction of a connection being put in order. Offsets count bytes from
// the first one after the SYN, so they do not wrap.
type stream struct {
	base          uint32 // sequence number of offset 0
	known         bool   // base is set
	guessed       bool   // base was taken from a packet without payload
	behind        bool   // the other side has acknowledged beyond next
	state, before endState
	later         uint16  // packets of this side since behind
	since         int64   // packet time at which behind became so
	next          int64   // offset of the next byte to hand on
	gap           int64   // bytes lost since the last byte handed on
	acked         int64   // the most that the other side has acknowledged
	fin, rst      int64   // offset of the FIN and of the RST, -1: none
	rstAt         int64   // packet time of the RST
	bufs          []piece // what is out of order: sorted, disjoint, all beyond next
	held          int     // cost of bufs
	begin         *prefix // what was handed on first, to know a copy that differs
}

// piece is a run of bytes of a stream.
type piece struct {
	off, n int64
	data   []byte // the first of the n bytes; the snap length may have cut the rest
	ack    int64
	time   int64
}

func (p *piece) end() int64 { return p.off + p.n }

// skip returns p without its first k bytes.
func (p piece) skip(k int64) piece {
	p.off, p.n = p.off+k, p.n-k
	p.data = p.data[min(k, int64(len(p.data))):]
	return p
}

// first returns the first k bytes of p.
func (p piece) first(k int64) piece {
	p.n = min(p.n, k)
	p.data = p.data[:min(p.n, int64(len(p.data)))]
	return p
}

// pieceCost is what a piece that is held takes besides its bytes.
const pieceCost = 128

func (p *piece) cost() int { return len(p.data) + pieceCost }

func (s *stream) start(seq uint32) { s.base, s.known = seq, true }

// offset unwraps a sequence number to the offset nearest to what comes next.
func (s *stream) offset(seq uint32) int64 {
	return s.next + int64(int32(seq-(s.base+uint32(s.next))))
}

// end sets the offset of the FIN. Nothing is expected behind it.
func (s *stream) end(t *Table, off int64) {
	s.fin = max(off, s.next)
	for i := len(s.bufs); i > 0 && s.bufs[i-1].end() > s.fin; i-- {
		p := &s.bufs[i-1]
		was := p.cost()
		if p.off >= s.fin {
			s.bufs = s.bufs[:i-1]
			t.hold(s, -was)
			continue
		}
		*p = p.first(s.fin - p.off)
		t.hold(s, p.cost()-was)
	}
}

func (t *Table) hold(s *stream, cost int) {
	s.held += cost
	t.stats.Buffered += cost
	t.stats.MaxBuffered = max(t.stats.MaxBuffered, t.stats.Buffered)
}

// place hands on what of p comes next and holds what is beyond. Of bytes that come
// twice, the first copy counts.
func (t *Table) place(c *Conn, side Side, p piece) {
	s := &c.tcp.side[side]
	t.verify(c, s, p)
	if p.end() <= s.next {
		t.stats.Retransmits++
		if p.off < 0 && s.next == 0 {
			t.stats.Before++
		}
		return
	}
	for p.n > 0 {
		if old := s.next - p.off; old > 0 {
			if old >= p.n {
				return
			}
			p = p.skip(old)
		}
		k := p.n
		if p.off == s.next {
			if len(s.bufs) > 0 {
				k = min(k, s.bufs[0].off-p.off)
			}
			t.deliver(c, side, p.first(k))
			t.drain(c, side)
			p = p.skip(k)
			continue
		}
		i := s.find(p.off)
		if i < len(s.bufs) {
			if over := s.bufs[i].end() - p.off; s.bufs[i].off <= p.off {
				p = p.skip(min(over, p.n))
				continue
			}
			k = min(k, s.bufs[i].off-p.off)
		}
		if q := p.first(k); t.room(c, side, q) {
			t.insert(c, s, i, q)
			p = p.skip(k)
		}
	}
}

// find returns the index of the first piece held that ends beyond off.
func (s *stream) find(off int64) int {
	if n := len(s.bufs); n == 0 || s.bufs[n-1].end() <= off {
		return n
	}
	lo, hi := 0, len(s.bufs)
	for lo < hi {
		m := (lo + hi) / 2
		if s.bufs[m].end() <= off {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// insert holds a copy of p at index i.
func (t *Table) insert(c *Conn, s *stream, i int, p piece) {
	p.data = append([]byte(nil), p.data...)
	s.bufs = append(s.bufs, piece{})
	copy(s.bufs[i+1:], s.bufs[i:])
	s.bufs[i] = p
	t.hold(s, p.cost())
	if c.tcp.links[linkHolding].in == nil {
		t.lists[listHolding].push(c)
	}
}

// drain hands on the pieces held that are next now.
func (t *Table) drain(c *Conn, side Side) {
	s := &c.tcp.side[side]
	i := 0
	for ; i < len(s.bufs) && s.bufs[i].off == s.next; i++ {
		t.hold(s, -s.bufs[i].cost())
		t.deliver(c, side, s.bufs[i])
	}
	if i == 0 {
		return
	}
	if i == len(s.bufs) {
		s.bufs = nil
	} else {
		n := copy(s.bufs, s.bufs[i:])
		clear(s.bufs[n:])
		s.bufs = s.bufs[:n]
	}
	if len(c.tcp.side[0].bufs)+len(c.tcp.side[1].bufs) == 0 {
		t.lists[listHolding].remove(c)
	}
}

// deliver hands on p, which begins at next. What the snap length cut off is a gap.
func (t *Table) deliver(c *Conn, side Side, p piece) {
	s := &c.tcp.side[side]
	if len(p.data) > 0 {
		s.remember(p)
		gap := s.gap
		s.gap = 0
		t.emit(c, Segment{Side: side, Offset: p.off, Data: p.data, Ack: p.ack, Gap: gap, Time: p.time})
	}
	s.next = p.end()
	if cut := p.n - int64(len(p.data)); cut > 0 {
		t.lose(c, side, cut)
	}
	if s.behind {
		s.behind = s.acked > s.next
		s.since, s.later = t.now, 0
	}
}

func (t *Table) emit(c *Conn, s Segment) {
	if !c.Excluded {
		t.h.Data(c, s)
	}
}

// lose counts n bytes that will not be handed on.
func (t *Table) lose(c *Conn, side Side, n int64) {
	c.tcp.side[side].gap += n
	c.end(side).Missed += uint64(n)
	t.stats.Gaps++
	t.stats.GapBytes += uint64(n)
}

// datagram hands on the payload of a UDP packet. The offsets of a side count its bytes.
func (t *Table) datagram(c *Conn, side Side, d *Decoded, now int64) {
	c.tcp.side[side].state = established
	switch o, r := c.tcp.side[Originator].state != inactive, c.tcp.side[Responder].state != inactive; {
	case o && r:
		c.State = SF
	case o:
		c.State = S0
	default:
		c.State = SHR
	}
	if d.PayloadLen > 0 {
		off := c.tcp.side[side].next
		t.deliver(c, side, piece{off: off, n: int64(d.PayloadLen), data: d.Payload, ack: -1, time: now})
	}
}
