package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// A connection may take the addresses and ports of an earlier one while its SYN is lost to
// the capture. Its numbers show it: of one direction they are further away than any
// receiver accepts, or further back than any copy comes from, or of both further on than what
// a capture may have lost, or they are past the ends that the earlier one has had. Any host could send one such packet, so it takes one
// of each end that fit together. Until then they are held and belong to no connection. A
// connection that really went on so far without being seen begins anew, too: whether it is
// the same cannot be told, and nothing of the earlier one may be claimed of another one.

const (
	// farAhead is how far the numbers of both directions are ahead, in bytes, where a
	// connection is not taken to have gone on: twice what a filter leaves out (leftOutMost).
	// It is how far those of one direction are behind, too.
	farAhead = 64 << 20
	// farBehind is how old a copy of a closed connection's packet may be, in bytes.
	farBehind = 1 << 20
	// maxStrangers bounds the packets that are held, of all connections together, and
	// strangerData what is kept of each, in bytes.
	maxStrangers = 8
	strangerData = 16 << 10
	// strangerApart is how far two packets that fit together are apart, in bytes.
	strangerApart = 1 << 20
)

// stranger is a packet whose numbers are not those of its connection.
type stranger struct {
	c    *Conn // nil: none
	side Side
	d    Decoded
	data []byte // d.Payload
	time int64
}

// strangers are the packets that are held, a new one in the place of the oldest.
type strangers struct {
	list [maxStrangers]stranger
	n    int // that are held or were
}

// checkStranger reports whether a packet of c with numbers that are not its own is held, and
// returns the connection that the packet belongs to if it is not: another one once both
// ends have sent such packets, nil where it is still to be opened.
func (t *Table) checkStranger(c *Conn, k *key, d *Decoded, now int64) (of *Conn, kept bool) {
	side := c.sender(d)
	if !c.misfits(side, d) {
		return c, false
	}
	fits := false
	for i := range t.strangers.list {
		fits = fits || t.strangers.list[i].pairsWith(c, side, d)
	}
	if !fits {
		t.stats.Unacceptable++
		t.strangers.add(c, side, d, now)
		return nil, true
	}
	return t.reusePorts(c, k, side, d), false
}

// misfits reports whether the numbers of a packet are not those of a connection both ends of
// which are known.
func (c *Conn) misfits(side Side, d *Decoded) bool {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&(wire.FlagACK|wire.FlagRST) != wire.FlagACK || !s.sure || !o.sure || c.Excluded || d.Flags&wire.FlagSYN != 0 && d.Seq+1 == s.base {
		return false
	}
	seq, ack := s.offset(d.Seq)-s.next, o.offset(d.Ack)-o.next
	switch {
	case c.closing() && s.pastEnd(seq) && o.pastEnd(ack):
		return true
	case c.tcp.dupSYNSeen && side == Originator && near(d.Seq-c.tcp.dupSYN-1) && o.pastEnd(ack),
		c.tcp.dupSYNSeen && side == Responder && near(d.Ack-c.tcp.dupSYN-1) && s.pastEnd(seq):
		return true // that SYN was no duplicate
	}
	return seq < -farAhead || ack < -farAhead || s.far(seq, farAhead) && o.far(ack, farAhead) || s.far(seq, maxWindow) || o.far(ack, maxWindow)
}

// far reports whether a number that is so far from the next one is more than most ahead of
// what is known to be sent.
func (s *stream) far(from, most int64) bool {
	return from > most && s.next+from > max(s.next, s.acked, s.sent)+most
}

// pastEnd reports the same of a connection that is closed. A FIN takes one number.
func (s *stream) pastEnd(from int64) bool {
	return from < -farBehind || from > 1 && s.next+from > max(s.next, s.acked, s.sent, s.fin)+1
}

// pairsWith reports whether a held packet of the other end of c fits to d: each acknowledges
// what the other one begins with, or a little more.
func (x *stranger) pairsWith(c *Conn, side Side, d *Decoded) bool {
	return x.c == c && x.side != side && near(d.Seq-x.d.Ack) && near(d.Ack-x.d.Seq)
}

func near(distance uint32) bool { return int32(distance) >= -1 && int32(distance) <= strangerApart }

func (h *strangers) add(c *Conn, side Side, d *Decoded, now int64) {
	x := &h.list[h.n%maxStrangers]
	h.n++
	x.c, x.side, x.time, x.d = c, side, now, *d
	x.data = append(x.data[:0], d.Payload[:min(len(d.Payload), strangerData)]...)
	x.d.Payload = x.data
}

// forget drops what is held of c.
func (h *strangers) forget(c *Conn) {
	if h.n == 0 {
		return
	}
	for i := range h.list {
		if h.list[i].c == c {
			h.list[i].c = nil
		}
	}
}

// reusePorts ends c (EndReused), opens the connection that reuses its ports from the buffered packets that match d, and
// returns the connection that d belongs to.
func (t *Table) reusePorts(c *Conn, k *key, side Side, d *Decoded) *Conn {
	var fit [maxStrangers]*stranger
	n := 0
	for i := range maxStrangers {
		if x := &t.strangers.list[(t.strangers.n+i)%maxStrangers]; x.pairsWith(c, side, d) {
			fit[n] = x
			n++
		}
	}
	t.stats.Reused++
	t.end(c, EndReused)
	var first key // d may come in another zone
	first.set(&fit[0].d, k.iface())
	next := t.open(first, &fit[0].d, fit[0].time)
	for _, x := range fit[:n] {
		t.addPacket(next, next.sender(&x.d), &x.d, x.time, false)
	}
	return t.find(k, d)
}
