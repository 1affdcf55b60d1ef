package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// A connection may reuse the addresses and ports of an earlier one while the capture loses its SYN. The sequence
// numbers of the new connection reveal it in three cases. In one direction they are further ahead than any receiver
// accepts, or further back than any retransmission. In both directions they are so far ahead that more bytes would be
// missing than a capture loses. Or the earlier connection has closed, and they are past its end. Any host could forge
// one such packet, so two packets are needed, one from each end, whose numbers match. Until then such packets are
// buffered and belong to no connection. If the earlier connection has in fact continued that far unseen, it counts as a
// new one too: the two cases cannot be distinguished, and facts about one connection must not be attributed to another.

const (
	// If the numbers of both directions are more than farAhead bytes ahead, they belong to another connection. The bound is
	// twice maxThinned, the most that a filter leaves out. Numbers of one direction also belong to another connection if
	// they are more than farAhead bytes back.
	farAhead = 64 << 20
	// farBehind is how many bytes back a retransmission in a closed connection may be.
	farBehind = 1 << 20
	// maxStrangers bounds the buffered packets of all connections, and strangerData the payload kept of each, in bytes.
	maxStrangers = 8
	strangerData = 16 << 10
	// strangerApart bounds the distance of two packets that match, in bytes.
	strangerApart = 1 << 20
)

// stranger is a packet whose numbers do not fit its connection.
type stranger struct {
	c    *Conn // nil: the entry is free
	side Side
	d    Decoded
	data []byte // storage of d.Payload
	time int64
}

// strangers buffers the latest strangers in a ring.
type strangers struct {
	list [maxStrangers]stranger
	n    int // number of packets added so far
}

// checkStranger returns the connection to which a packet with the key of c belongs. If the packet's numbers fit, this
// is c. If they do not fit, the packet is buffered and kept is true, until both ends have sent such packets: then the
// packet belongs to a new connection. If of is nil and kept is false, the caller must create that connection.
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

// misfits reports whether a packet's numbers do not fit c. Both ends of c must be known, otherwise they always fit.
func (c *Conn) misfits(side Side, d *Decoded) bool {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&(wire.FlagACK|wire.FlagRST) != wire.FlagACK || !s.sure || !o.sure || c.Excluded || d.Flags&wire.FlagSYN != 0 && d.Seq+1 == s.base {
		return false
	}
	seq, ack := s.offset(d.Seq)-s.next, o.offset(d.Ack)-o.next
	switch {
	case c.closing() && s.pastEnd(seq) && o.pastEnd(ack):
		return true
	case c.dupSYNOf(side) && near(d.Seq-c.tcp.dupSYN-1) && o.pastEnd(ack),
		c.dupSYNOf(side.Other()) && near(d.Ack-c.tcp.dupSYN-1) && s.pastEnd(seq):
		return true // the SYN that did not seem to start a connection has started one
	}
	return seq < -farAhead || ack < -farAhead || s.far(seq, farAhead) && o.far(ack, farAhead) || s.far(seq, maxWindow) || o.far(ack, maxWindow)
}

// far reports whether a sequence number is ahead of all bytes that are known to be sent, by more than the argument
// most. from is the number's distance from the next expected byte.
func (s *stream) far(from, most int64) bool {
	return from > most && s.next+from > max(s.next, s.acked, s.sent)+most
}

// pastEnd reports whether a sequence number is past the end of a closed stream, its FIN included, or more than
// farBehind bytes back. from is the number's distance from the next expected byte.
func (s *stream) pastEnd(from int64) bool {
	return from < -farBehind || from > 1 && s.next+from > max(s.next, s.acked, s.sent, s.fin)+1
}

// pairsWith reports whether x is a packet of c from the end that did not send d, and matches d: each acknowledges the
// other's sequence number, or up to strangerApart more.
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

// forget removes the buffered packets of c.
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

// reusePorts ends c (EndReused). It opens the connection that reuses the ports of c, with the buffered packets that
// match d. It returns the connection that d belongs to.
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
	var first key // d may have another zone than the first one
	first.set(&fit[0].d, k.iface())
	next := t.open(first, &fit[0].d, fit[0].time)
	for _, x := range fit[:n] {
		t.addPacket(next, next.sender(&x.d), &x.d, x.time, false)
	}
	return t.find(k, d)
}
