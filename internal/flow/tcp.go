package flow

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// tcpState is what the table keeps of a connection for itself.
type tcpState struct {
	side          [2]stream
	waiting       *waiting // nil nearly always
	before, after *Conn    // in the list
	touched       int64    // packet time of the latest packet
	list          uint8    // which of Table.idle
	faces         bool     // listed in Table.faces
	lone          bool     // listed in Table.lone
	rival         bool     // and another was when it was created
	done          bool     // Table.Done
	followed      bool     // Table.Done, and the Handler wants the bytes all the same
	thin          bool     // Thin has chosen it
	busy          uint8    // times busyStep packets of a side since the last call of Thin
	again         uint32   // the number of a SYN that was taken for an old duplicate, ...
	againSeen     bool     // ... if there was one
	signed        bool     // its SYN had an option of authentication
	resets        [2]uint8 // RSTs of each side: see Conn.Alone
}

// take takes a TCP segment of c that its receiver accepts, as far as is known.
func (t *Table) take(c *Conn, side Side, d *Decoded, now int64) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&wire.FlagSYN != 0 {
		if t.stray(c, side, d) {
			return
		}
		c.syn(side, d)
	} else if !s.known && d.Flags&wire.FlagRST == 0 {
		s.start(d.Seq)
		s.guessed = true
	}
	c.inactive(side, d)
	if d.Flags&wire.FlagURG != 0 && d.PayloadLen > 0 {
		t.doubt(c, &c.Urgent)
	}
	if d.Multipath && d.Flags&(wire.FlagSYN|wire.FlagACK) != wire.FlagSYN { // a SYN only offers it
		t.doubt(c, &c.Multipath)
	}
	ack := int64(-1)
	if d.Flags&(wire.FlagACK|wire.FlagRST) == wire.FlagACK {
		if ack = t.acknowledge(c, side.Other(), d.Ack); ack >= 0 {
			c.advertised(side.Other(), d)
		}
	}
	if d.Flags&wire.FlagRST != 0 {
		t.reset(c, side, d)
	} else {
		t.payload(c, side, d, ack, now)
	}
	if q := c.queue(side); q != nil && q.later < laterPackets {
		q.later++
	}
	t.settle(c, side)
	if o.fin >= 0 || c.tcp.waiting != nil {
		t.settle(c, side.Other())
		t.watch(c)
	}
}

// payload puts a segment's bytes and FIN in order.
func (t *Table) payload(c *Conn, side Side, d *Decoded, ack, now int64) {
	s := &c.tcp.side[side]
	n := int64(d.PayloadLen)
	if n == 0 && d.Flags&wire.FlagFIN == 0 {
		s.bare(d)
		return
	}
	seq := d.Seq
	if d.Flags&wire.FlagSYN != 0 { // it takes one number; data after it is TCP Fast Open (RFC 7413)
		seq++
	}
	off := s.offset(seq)
	if !s.sure {
		off = t.prove(c, side, seq, off, n)
	}
	if s.beyond(off + n) {
		t.stats.Outside++
		return
	}
	if c.Thinned && off > s.next && off-s.next <= leftOutMost {
		t.passOver(c, side, off)
	}
	if d.Flags&wire.FlagFIN != 0 {
		t.fin(c, side, off+n)
	}
	if n > 0 && s.fin >= 0 && off+n > s.fin {
		if off == s.fin && n == 1 {
			return // a keep-alive probe
		}
		s.fin = -1 // it was none: the stream goes on
		t.conflict(c)
	}
	inOrder := off == s.next && c.tcp.waiting == nil // as nearly every segment is
	switch {
	case n == 0:
	case n == 1 && off >= s.next && off == s.acked-1 && (s.probed || t.now-c.tcp.touched >= probeQuiet):
		s.probed = true // and the byte that it repeats was lost
	case c.Excluded:
		s.next = max(s.next, off+n)
	case inOrder && c.tcp.done && !c.tcp.followed:
		t.pass(c, side, n, len(d.Payload))
	default:
		var p piece // not a literal, which would be made elsewhere and copied
		p.off, p.n, p.data, p.ack, p.time = off, n, d.Payload, ack, now
		if inOrder {
			t.deliver(c, side, &p)
		} else {
			t.place(c, side, p)
		}
	}
}

// bare notes the number of a packet without payload, SYN and FIN: all before it was sent.
func (s *stream) bare(d *Decoded) {
	if d.Flags&wire.FlagSYN != 0 || !s.sure {
		return
	}
	if off := s.offset(d.Seq); off > s.sent && !s.beyond(off) {
		s.sent = off
	}
}

// probeQuiet is the silence that makes a single byte that the receiver has already
// acknowledged a keep-alive probe, whose byte may be garbage, and no late packet.
const probeQuiet = int64(500 * time.Millisecond)

// plausible is how far ahead of a stream's beginning, in bytes, its first payload seen
// may be where nothing has proved the beginning.
const plausible = 1 << 20

// prove looks at where the first payload or FIN of a stream seems to be. A beginning
// that does not fit is given up, or a single packet with made-up numbers could hide
// all that follows.
func (t *Table) prove(c *Conn, side Side, seq uint32, off, n int64) int64 {
	s := &c.tcp.side[side]
	switch {
	case s.guessed && off == 1: // a keep-alive probe as the first packet seen made the stream begin one too early
	case off < 0 && !s.probe(off, n), off > plausible:
		c.MissedStart = true
		if c.isnSeen(side) || off > plausible {
			t.conflict(c)
		}
	default:
		s.sure = off >= 0
		return off
	}
	s.start(seq)
	s.sure, s.acked = true, 0
	return 0
}

// fin notes a FIN. It takes effect once the bytes before it are there or given up: a
// capture may put it before the sender's last data. Of two, the first in the stream
// counts: one further on may be forged.
func (t *Table) fin(c *Conn, side Side, off int64) {
	s, q := &c.tcp.side[side], c.queue(side)
	switch {
	case off < s.next: // an old one
	case s.fin >= 0 && s.fin <= off: // it again, or one behind it
	case q != nil && q.behind(off):
		t.conflict(c)
	default:
		if s.fin >= 0 {
			t.conflict(c)
		}
		s.fin = off
		if off > s.next {
			t.wait(c, side).acked = 0
		}
	}
}

// reset notes a RST. It takes effect like a FIN. One that the receiver has to ignore
// (RFC 9293, section 3.10.7.4) is ignored here too.
func (t *Table) reset(c *Conn, side Side, d *Decoded) {
	s := &c.tcp.side[side]
	if s.reset {
		return
	}
	off := s.next
	if s.sure && !c.Excluded {
		off = s.offset(d.Seq)
		if s.fin >= 0 {
			off = min(off, s.fin)
		}
		if off < s.acked || s.beyond(off) || s.edged() && off > c.limit(side) || d.arrived && c.challenged(side, off) {
			t.stats.Outside++
			return
		}
	}
	if c.Thinned && off-s.next <= leftOutMost { // both ends are known from it, and no packet may follow
		t.passOver(c, side, off)
		o := &c.tcp.side[side.Other()]
		if ack := o.offset(d.Ack); d.Flags&wire.FlagACK != 0 && o.known && o.fin < 0 && ack-o.next <= leftOutMost {
			t.passOver(c, side.Other(), ack)
		}
	}
	s.reset = true
	q := t.wait(c, side)
	q.rst, q.rstAt = max(off, s.next), t.now
}

// challenged reports whether the receiver answers a RST at an offset with an ACK instead of
// closing, since it is not the next byte that it expects (RFC 5961, section 3.2).
func (c *Conn) challenged(side Side, off int64) bool {
	s := &c.tcp.side[side]
	return s.edged() && !c.Thinned && off > s.next && s.next >= max(s.acked, s.sent) && !c.waits(side)
}

// acknowledge notes that a side's stream is acknowledged up to a sequence number and
// returns the offset, -1 if it makes no sense.
func (t *Table) acknowledge(c *Conn, side Side, number uint32) int64 {
	s := &c.tcp.side[side]
	if !s.known {
		s.start(number)
		return 0
	}
	ack := s.offset(number)
	if s.fin >= 0 {
		ack = min(ack, s.fin) // a FIN takes one number too
	}
	if s.beyond(ack) {
		return -1
	}
	if c.isnSeen(side) && ack >= 0 && ack <= plausible {
		s.sure = true
	}
	if ack > s.acked {
		s.acked, s.probed = ack, false
	}
	return max(ack, 0)
}

// begins reports whether a SYN or SYN-ACK on the tuple of c opens another connection.
func (t *Table) begins(c *Conn, d *Decoded) bool {
	side := c.sender(d)
	s := &c.tcp.side[side]
	switch {
	case s.known && d.Seq+1 == s.base: // of this connection: first, repeated, or overtaken by what followed
		return false
	case d.Flags&wire.FlagACK == 0 && side == Originator:
		if !c.OrigISNSeen {
			return s.known
		}
		quiet := t.now-c.tcp.touched >= int64(t.cfg.HoleWait)
		if c.Thinned { // whose numbers a made-up packet may have moved ahead, at once
			return true
		}
		if c.closing() || c.Resp.Packets == 0 || quiet {
			return true
		}
		c.tcp.again, c.tcp.againSeen = d.Seq, true // an old duplicate, unless it is answered
		return false
	case d.Flags&wire.FlagACK == 0: // both opened at a time (RFC 9293, section 3.5)?
		return c.State != S0 || c.Resp.Packets > 0
	case side == Responder && c.OrigISNSeen:
		return d.Ack != c.OrigISN+1 && (c.closing() || c.tcp.againSeen && d.Ack == c.tcp.again+1)
	case side == Responder:
		return s.known
	}
	return !c.OrigISNSeen || c.closing()
}

// answered tells c, which a SYN-ACK has opened, the number of the SYN that it answers. That
// SYN was taken for a duplicate of an older connection's.
func (c *Conn) answered(d *Decoded) {
	s := &c.tcp.side[Originator]
	s.start(d.Ack)
	s.state = synSent
	c.OrigISN, c.OrigISNSeen, c.MissedStart = d.Ack-1, true, false
}

func (c *Conn) isnSeen(side Side) bool {
	if side == Originator {
		return c.OrigISNSeen
	}
	return c.RespISNSeen
}

// stray reports whether a SYN or SYN-ACK belongs to no known connection: an old
// duplicate, or an answer to a SYN that was not seen.
func (t *Table) stray(c *Conn, side Side, d *Decoded) bool {
	s := &c.tcp.side[side]
	if s.known && d.Seq+1 == s.base {
		return false
	}
	if d.Flags&wire.FlagACK != 0 && side == Responder && c.OrigISNSeen && d.Ack != c.OrigISN+1 {
		return d.Ack != c.OrigISN+1+uint32(c.tcp.side[Originator].next) // Fast Open: data acknowledged with it
	}
	return s.known && (s.next > 0 || c.waits(side))
}

// syn sets where a stream begins.
func (c *Conn) syn(side Side, d *Decoded) {
	s := &c.tcp.side[side]
	if !s.known || s.next == 0 && !c.waits(side) {
		s.start(d.Seq + 1)
	}
	s.guessed = false
	if d.Seq+1 == s.base {
		s.scale, c.tcp.signed = max(s.scale, d.scale), c.tcp.signed || d.signed // a SYN that is sent again may leave its options out
	}
	if side == Originator {
		c.OrigISN, c.OrigISNSeen = d.Seq, true
		c.MissedStart = c.MissedStart && d.Flags&wire.FlagACK != 0
	} else {
		c.RespISN, c.RespISNSeen = d.Seq, true
	}
}
