package flow

// stream is one direction of a connection during reassembly. Offsets count bytes from the first one after the SYN, so
// they do not wrap.
type stream struct {
	base      uint32      // sequence number of offset 0
	edge      uint32      // right edge of the largest window that the receiver has advertised, as a sequence number; 0: unknown
	scale     uint8       // scale of the windows that the sender advertises: see scaleUnknown
	known     bool        // base is set
	origin    startOrigin // where base comes from
	sure      bool        // base is confirmed
	reset     bool        // a RST was seen
	keepAlive bool        // a keep-alive probe was seen since acked grew
	state     endState
	prevState endState // the state before the current one
	next      int64    // offset of the next byte to deliver
	delivered int64    // offset after the last byte that was delivered or reported; the bytes from here to next are a gap
	acked     int64    // the largest offset that the other side has acknowledged
	sent      int64    // the largest offset sent so far, by the numbers of the sender's packets without payload
	fin       int64    // offset of the FIN, -1: none
	recent    uint64   // position of the stream's latest run in Table.recent
}

// startOrigin says where the start of a stream comes from.
type startOrigin uint8

const (
	startKnown   startOrigin = iota // from a SYN, or from the other side's acknowledgement
	startGuessed                    // from the first packet seen of the side
	startLate                       // no SYN was seen, and earlier bytes were captured later or acknowledged
)

// piece is a run of bytes of a stream.
type piece struct {
	off, n int64
	data   []byte // the captured bytes, from the first of the n bytes on; fewer than n if the packet was truncated
	ack    int64
	time   int64 // packet time of the segment
	at     int64 // packet time at which the piece was buffered
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

// offset converts a sequence number to an offset, the one nearest to s.next.
func (s *stream) offset(seq uint32) int64 {
	return s.next + int64(int32(seq-(s.base+uint32(s.next))))
}

// isKeepAlive reports whether n bytes at off may be a keep-alive probe: a single byte, directly before the next one to
// deliver (RFC 9293, section 3.8.4).
func (s *stream) isKeepAlive(off, n int64) bool { return n == 1 && off == s.next-1 }

// maxWindow is the largest receive window (RFC 7323, section 2.2).
const maxWindow = 1 << 30

// beyondWindow reports whether off is past every possible window, so that no receiver accepts it.
func (s *stream) beyondWindow(off int64) bool { return off-max(s.next, s.acked) > maxWindow }

// reassemble delivers the bytes of p that are next in the stream, and buffers bytes after a gap. If bytes are sent
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

// reassembleFirst processes the first bytes of p and returns the others.
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
		return p // the buffer has changed, so the caller tries p again
	case noCapacity:
	}
	return p.skip(n)
}

// deliver passes p to the Handler; p must start at next. Bytes that the capture truncated are reported at once as a
// gap, because a handler may need only their number.
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

// countUnwanted advances the stream by n bytes that are not delivered because c is done. captured is how many of them
// were captured.
func (t *Table) countUnwanted(c *Conn, side Side, n int64, captured int) {
	s := &c.tcp.side[side]
	s.sure = true
	s.next += n
	s.delivered = s.next
	if missing := n - int64(captured); missing > 0 {
		t.addTruncated(c, side, missing)
	}
}

// addTruncated counts n bytes that a truncated packet lacks.
func (t *Table) addTruncated(c *Conn, side Side, n int64) {
	c.endpoint(side).Truncated += uint64(n)
	t.stats.TruncatedBytes += uint64(n)
}

// emit calls Handler.Data. The Segment is a field of the table, because copying one for each packet shows in a profile.
func (t *Table) emit(c *Conn, side Side, off int64, data []byte, ack, gap, at int64, truncated bool) {
	if c.Excluded || c.tcp.done && !c.tcp.followed {
		return
	}
	s := &t.segment
	s.Side, s.Offset, s.Data, s.Ack, s.Gap, s.Truncated, s.Time = side, off, data, ack, gap, truncated, at
	t.h.Data(c, s)
}

// addGap counts n bytes that were never captured.
func (t *Table) addGap(c *Conn, side Side, n int64) {
	c.endpoint(side).Missed += uint64(n)
	t.stats.Gaps++
	t.stats.GapBytes += uint64(n)
}

// addDatagram delivers the payload of a UDP packet. The offsets of a side count its payload bytes.
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
		gap := off - s.delivered // bytes of a datagram are missing only if it was truncated
		s.delivered = off + int64(len(d.Payload))
		t.emit(c, side, off, d.Payload, -1, gap, now, gap > 0)
	}
}
