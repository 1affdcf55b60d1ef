package flow

// tcpState is what the table keeps of a connection for itself.
type tcpState struct {
	key, alias key
	paired     bool // alias is in use
	faces      bool // listed in Table.faces
	faceKeys   [2]face
	orig       [16]byte // the originator's address as in a Decoded
	links      [numLinks]link
	touched    int64 // packet time of the latest packet
	lookAt     int64 // packet time at which a waiting connection is looked at again
	side       [2]stream
}

func (s *tcpState) init(k key) {
	s.key = k
	for i := range s.side {
		s.side[i].fin, s.side[i].rst = -1, -1
	}
}

// segment takes a TCP segment of c.
func (t *Table) segment(c *Conn, side Side, d *Decoded, now int64) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&flagSYN != 0 {
		if t.stray(c, side, d) {
			return
		}
		c.syn(side, d)
	} else if !s.known && d.Flags&flagRST == 0 {
		s.start(d.Seq)
		s.guessed = true
	}
	c.inactive(side, d)
	ack := int64(-1)
	if d.Flags&(flagACK|flagRST) == flagACK {
		ack = t.acknowledge(c, o, d.Ack)
	}
	if d.Flags&flagRST != 0 {
		t.reset(c, side, d)
	} else {
		t.payload(c, side, d, ack, now)
	}
	if s.behind {
		s.later++
	}
	t.settle(c, side)
	if o.waits() {
		t.settle(c, side.Other())
	}
	t.watch(c)
}

// payload puts a segment's bytes and FIN in order.
func (t *Table) payload(c *Conn, side Side, d *Decoded, ack, now int64) {
	s := &c.tcp.side[side]
	seq := d.Seq
	if d.Flags&flagSYN != 0 { // it takes one number; data behind it is TCP Fast Open (RFC 7413)
		seq++
	}
	off := s.offset(seq)
	n := int64(d.PayloadLen)
	if n > 0 && s.guessed {
		// A keep-alive probe as the first packet seen made the stream begin one too early.
		if off == 1 && s.next == 0 && len(s.bufs) == 0 {
			s.base++
			off = 0
		}
		s.guessed = false
	}
	if d.Flags&flagFIN != 0 && s.fin < 0 {
		s.end(t, off+n)
	}
	data := d.Payload
	if s.fin >= 0 && off+n > s.fin {
		n = max(s.fin-off, 0)
		data = data[:min(int64(len(data)), n)]
	}
	switch {
	case n == 0:
	case c.Excluded:
		s.next = max(s.next, off+n)
	default:
		t.place(c, side, piece{off: off, n: n, data: data, ack: ack, time: now})
	}
}

// reset notes a RST. It takes effect once the bytes before it are there or given up:
// a capture may put it before the sender's last data.
func (t *Table) reset(c *Conn, side Side, d *Decoded) {
	s := &c.tcp.side[side]
	if s.rst >= 0 {
		return
	}
	s.rst, s.rstAt = s.next, t.now
	if s.known && !c.Excluded {
		if off := s.offset(d.Seq); off > s.next && off-s.next <= window {
			s.rst = off
		}
	}
}

// window is the largest receive window (RFC 7323, section 2.2).
const window = 1 << 30

// acknowledge notes that stream o is acknowledged up to a sequence number and returns
// the offset.
func (t *Table) acknowledge(c *Conn, o *stream, number uint32) int64 {
	if !o.known {
		o.start(number)
	}
	ack := max(o.offset(number), 0)
	if o.fin >= 0 {
		ack = min(ack, o.fin) // a FIN takes one number too
	}
	if ack > o.acked && ack-o.next <= window {
		t.acked(o, ack)
	}
	return ack
}

// begins tells whether a SYN or SYN-ACK on the tuple of c opens another connection.
func (t *Table) begins(c *Conn, d *Decoded) bool {
	side := c.sender(d)
	s := &c.tcp.side[side]
	late := s.known && d.Seq+1 == s.base // of this connection: first, repeated, or overtaken by what followed
	switch {
	case late && (!c.closing() || c.isnSeen(side)):
		return false
	case d.Flags&flagACK == 0 && side == Originator:
		if !c.OrigISNSeen {
			return s.known
		}
		quiet := t.now-c.tcp.touched >= int64(t.cfg.HoleWait)
		return c.closing() || c.Resp.Packets == 0 || quiet || s.offset(d.Seq) >= s.next
	case d.Flags&flagACK == 0: // both opened at a time (RFC 9293, section 3.5)?
		return c.State != S0 || c.Resp.Packets > 0
	case side == Responder && c.OrigISNSeen:
		return c.closing() && d.Ack != c.OrigISN+1
	case side == Responder:
		return s.known
	}
	return !c.OrigISNSeen || c.closing()
}

func (c *Conn) isnSeen(side Side) bool {
	if side == Originator {
		return c.OrigISNSeen
	}
	return c.RespISNSeen
}

// stray tells whether a SYN or SYN-ACK belongs to no known connection: an old
// duplicate, or an answer to a SYN that was not seen.
func (t *Table) stray(c *Conn, side Side, d *Decoded) bool {
	s := &c.tcp.side[side]
	if s.known && d.Seq+1 == s.base {
		return false
	}
	if d.Flags&flagACK != 0 && side == Responder && c.OrigISNSeen && d.Ack != c.OrigISN+1 {
		return d.Ack != c.OrigISN+1+uint32(c.tcp.side[Originator].next) // Fast Open: data acknowledged with it
	}
	return s.known && (s.next > 0 || len(s.bufs) > 0)
}

// syn sets where a stream begins.
func (c *Conn) syn(side Side, d *Decoded) {
	s := &c.tcp.side[side]
	if !s.known || s.next == 0 && len(s.bufs) == 0 {
		s.start(d.Seq + 1)
	}
	s.guessed = false
	if side == Originator {
		c.OrigISN, c.OrigISNSeen = d.Seq, true
		c.MissedStart = c.MissedStart && d.Flags&flagACK != 0
	} else {
		c.RespISN, c.RespISNSeen = d.Seq, true
	}
}
