package flow

// stream is one direction of a connection being put in order. Offsets count bytes from
// the first one after the SYN, so they do not wrap.
type stream struct {
	base      uint32 // sequence number of offset 0
	edge      uint32 // right edge of the largest window that the receiver has advertised, 0: none
	scale     uint8  // of the windows that the sender advertises: see scaleUnknown
	known     bool   // base is set
	guessed   bool   // base was taken from a packet without payload
	sure      bool   // base has proved right
	reset     bool   // a RST was seen
	keepAlive bool   // a keep-alive probe was seen since acked grew
	state     endState
	prevState endState // the state before that
	next      int64    // offset of the next byte to hand on
	delivered int64    // offset behind the last byte handed on; what is between told and next is a gap
	acked     int64    // the most that the other side has acknowledged
	sent      int64    // the most that the sender's own packets without payload say was sent
	fin       int64    // offset of the FIN, -1: none
	recent    uint64   // position of the latest record in Table.recent
}

// piece is a run of bytes of a stream.
type piece struct {
	off, n int64
	data   []byte // the first of the n bytes; the snap length may have cut the rest
	ack    int64
	time   int64 // of the packet
	at     int64 // packet time at which it was held
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

func (s *stream) start(seq uint32) { s.base, s.known = seq, true }

// offset unwraps a sequence number to the offset nearest to what comes next.
func (s *stream) offset(seq uint32) int64 {
	return s.next + int64(int32(seq-(s.base+uint32(s.next))))
}

// isKeepAlive reports whether n bytes at an offset may be a keep-alive probe.
func (s *stream) isKeepAlive(off, n int64) bool { return n == 1 && off == s.next-1 }

// maxWindow is the largest receive window (RFC 7323, section 2.2).
const maxWindow = 1 << 30

// beyondWindow reports whether no receiver accepts what is at an offset.
func (s *stream) beyondWindow(off int64) bool { return off-max(s.next, s.acked) > maxWindow }

// reassemble hands on what of p comes next and holds what is beyond. Of bytes that come
// twice, the first copy counts.
func (t *Table) reassemble(c *Conn, side Side, p piece) {
	s := &c.tcp.side[side]
	if !c.tcp.done || p.off < recentLimit {
		t.verify(c, side, p)
	}
	if p.end() <= s.next {
		t.stats.Retransmits++
		if p.off < 0 && s.next == 0 {
			t.stats.BeforeStart++
		}
		return
	}
	for p.n > 0 {
		p = t.reassembleFirst(c, side, p)
	}
}

// reassembleFirst deals with the first bytes of p and returns the rest.
func (t *Table) reassembleFirst(c *Conn, side Side, p piece) piece {
	s, q := &c.tcp.side[side], t.allocQueue(c, side)
	switch old := s.next - p.off; {
	case old > 0:
		return p.skip(min(old, p.n))
	case old == 0:
		n := p.n
		if len(q.pieces) > 0 {
			n = min(n, q.pieces[0].off-p.off)
		}
		first := p.first(n)
		t.deliver(c, side, &first)
		t.drain(c, side)
		return p.skip(n)
	}
	i, n := q.find(p.off), p.n
	if i < len(q.pieces) {
		if over := q.pieces[i].end() - p.off; q.pieces[i].off <= p.off {
			return p.skip(min(over, p.n))
		}
		n = min(n, q.pieces[i].off-p.off)
	}
	switch first := p.first(n); t.reserve(c, side, &first) {
	case reserved:
		t.insert(q, i, first)
	case retryReserve:
		return p // and look again: what is held has changed
	case noCapacity:
	}
	return p.skip(n)
}

// deliver hands on p, which begins at next, and then at once what was cut off of it: how
// long it is may be all that is wanted of it.
func (t *Table) deliver(c *Conn, side Side, p *piece) {
	s := &c.tcp.side[side]
	if c.tcp.done && !c.tcp.followed {
		t.countUnwanted(c, side, p.n, len(p.data))
		return
	}
	s.sure = true
	s.next = p.end()
	if gap := p.off - s.delivered; gap > 0 || len(p.data) > 0 {
		if !c.tcp.done {
			t.remember(s, p.off, p.data)
		}
		s.delivered = p.off + int64(len(p.data))
		t.emit(c, side, p.off, p.data, p.ack, gap, p.time, false)
	}
	if missing := s.next - s.delivered; missing > 0 {
		s.delivered = s.next
		t.addTruncated(c, side, missing)
		t.emit(c, side, s.next, nil, p.ack, missing, p.time, true)
	}
}

// countUnwanted counts n bytes that come next and that nobody wants, of which some were captured.
func (t *Table) countUnwanted(c *Conn, side Side, n int64, captured int) {
	s := &c.tcp.side[side]
	s.sure = true
	s.next += n
	s.delivered = s.next
	if missing := n - int64(captured); missing > 0 {
		t.addTruncated(c, side, missing)
	}
}

// addTruncated counts n bytes that came and were not captured.
func (t *Table) addTruncated(c *Conn, side Side, n int64) {
	c.endpoint(side).Truncated += uint64(n)
	t.stats.TruncatedBytes += uint64(n)
}

// emit tells the handler of a segment. The segment is the table's: a copy of so many words
// for each packet shows in a profile.
func (t *Table) emit(c *Conn, side Side, off int64, data []byte, ack, gap, at int64, truncated bool) {
	if c.Excluded || c.tcp.done && !c.tcp.followed {
		return
	}
	s := &t.segment
	s.Side, s.Offset, s.Data, s.Ack, s.Gap, s.Truncated, s.Time = side, off, data, ack, gap, truncated, at
	t.h.Data(c, s)
}

// addGap counts n bytes that will not be handed on.
func (t *Table) addGap(c *Conn, side Side, n int64) {
	c.endpoint(side).Missed += uint64(n)
	t.stats.Gaps++
	t.stats.GapBytes += uint64(n)
}

// addDatagram hands on the payload of a UDP packet. The offsets of a side count its bytes.
func (t *Table) addDatagram(c *Conn, side Side, d *Decoded, now int64) {
	s := &c.tcp.side[side]
	s.state = established
	switch o, r := c.tcp.side[Originator].state != inactive, c.tcp.side[Responder].state != inactive; {
	case o && r:
		c.State = SF
	case o:
		c.State = S0
	default:
		c.State = SHR
	}
	if d.PayloadLen == 0 {
		return
	}
	off := s.next
	s.next += int64(d.PayloadLen)
	if missing := d.PayloadLen - len(d.Payload); missing > 0 {
		t.addTruncated(c, side, int64(missing))
	}
	if len(d.Payload) > 0 {
		gap := off - s.delivered // of datagrams nothing else is missing
		s.delivered = off + int64(len(d.Payload))
		t.emit(c, side, off, d.Payload, -1, gap, now, gap > 0)
	}
}
