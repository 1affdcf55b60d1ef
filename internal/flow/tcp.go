package flow

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// tcpState is what the table keeps of a connection for itself.
type tcpState struct {
	side       [2]stream
	reassembly *reassembly // nil nearly always
	prev, next *Conn       // in the list
	touched    int64       // packet time of the latest packet
	list       uint8       // which of Table.idle
	faces      bool        // listed in Table.faces
	lone       bool        // listed in Table.lone
	rival      bool        // and another was when it was created
	done       bool        // Table.Done
	followed   bool        // Table.Done, and the Handler wants the bytes all the same
	thin       bool        // Thin has chosen it
	busy       uint8       // times busyStep packets of a side since the last call of Thin
	dupSYN     uint32      // the number of a SYN that was taken for an old duplicate, ...
	dupSYNSeen bool        // ... if there was one
	signed     bool        // its SYN had an option of authentication
	resets     [2]uint8    // RSTs of each side: see Conn.OneSided
}

// acceptSegment takes a TCP segment of c that its receiver accepts, as far as is known.
func (t *Table) acceptSegment(c *Conn, side Side, d *Decoded, now int64) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&wire.FlagSYN != 0 {
		if t.isStray(c, side, d) {
			return
		}
		c.syn(side, d)
	} else if !s.known && d.Flags&wire.FlagRST == 0 {
		s.start(d.Seq)
		s.guessed = true
	}
	c.updateState(side, d)
	if d.Flags&wire.FlagURG != 0 && d.PayloadLen > 0 {
		t.doubt(c, &c.Urgent)
	}
	if d.Multipath && d.Flags&(wire.FlagSYN|wire.FlagACK) != wire.FlagSYN { // a SYN only offers it
		t.doubt(c, &c.Multipath)
	}
	ack := int64(-1)
	if d.Flags&(wire.FlagACK|wire.FlagRST) == wire.FlagACK {
		if ack = t.acknowledge(c, side.Other(), d.Ack); ack >= 0 {
			c.noteWindow(side.Other(), d)
		}
	}
	if d.Flags&wire.FlagRST != 0 {
		t.reset(c, side, d)
	} else {
		t.addPayload(c, side, d, ack, now)
	}
	if q := c.queue(side); q != nil && q.later < lossPackets {
		q.later++
	}
	t.flushGaps(c, side)
	if o.fin >= 0 || c.tcp.reassembly != nil {
		t.flushGaps(c, side.Other())
		t.scheduleCheck(c)
	}
}

// addPayload puts a segment's bytes and FIN in order.
func (t *Table) addPayload(c *Conn, side Side, d *Decoded, ack, now int64) {
	s := &c.tcp.side[side]
	n := int64(d.PayloadLen)
	if n == 0 && d.Flags&wire.FlagFIN == 0 {
		s.noteEmpty(d)
		return
	}
	seq := d.Seq
	if d.Flags&wire.FlagSYN != 0 { // it takes one number; data after it is TCP Fast Open (RFC 7413)
		seq++
	}
	off := s.offset(seq)
	if !s.sure {
		off = t.confirmStart(c, side, seq, off, n)
	}
	if s.beyondWindow(off + n) {
		t.stats.Unacceptable++
		return
	}
	if c.Thinned && off > s.next && off-s.next <= maxThinned {
		t.skipThinned(c, side, off)
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
	inOrder := off == s.next && c.tcp.reassembly == nil // as nearly every segment is
	switch {
	case n == 0:
	case n == 1 && off >= s.next && off == s.acked-1 && (s.keepAlive || t.now-c.tcp.touched >= keepAliveQuiet):
		s.keepAlive = true // and the byte that it repeats was lost
	case c.Excluded:
		s.next = max(s.next, off+n)
	case inOrder && c.tcp.done && !c.tcp.followed:
		t.countUnwanted(c, side, n, len(d.Payload))
	default:
		var p piece // not a literal, which would be made elsewhere and copied
		p.off, p.n, p.data, p.ack, p.time = off, n, d.Payload, ack, now
		if inOrder {
			t.deliver(c, side, &p)
		} else {
			t.reassemble(c, side, p)
		}
	}
}

// noteEmpty notes the number of a packet without payload, SYN and FIN: all before it was sent.
func (s *stream) noteEmpty(d *Decoded) {
	if d.Flags&wire.FlagSYN != 0 || !s.sure {
		return
	}
	if off := s.offset(d.Seq); off > s.sent && !s.beyondWindow(off) {
		s.sent = off
	}
}

// keepAliveQuiet is the silence that makes a single byte that the receiver has already
// acknowledged a keep-alive probe, whose byte may be garbage, and no late packet.
const keepAliveQuiet = int64(500 * time.Millisecond)

// maxFirstOffset is how far ahead of a stream's beginning, in bytes, its first payload seen
// may be where nothing has proved the beginning.
const maxFirstOffset = 1 << 20

// confirmStart looks at where the first payload or FIN of a stream seems to be. A beginning
// that does not fit is given up, or a single packet with made-up numbers could hide
// all that follows.
func (t *Table) confirmStart(c *Conn, side Side, seq uint32, off, n int64) int64 {
	s := &c.tcp.side[side]
	switch {
	case s.guessed && off == 1: // a keep-alive probe as the first packet seen made the stream begin one too early
	case off < 0 && !s.isKeepAlive(off, n), off > maxFirstOffset:
		c.MissedStart = true
		if c.isnSeen(side) || off > maxFirstOffset {
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
	case q != nil && q.bufferedPast(off):
		t.conflict(c)
	default:
		if s.fin >= 0 {
			t.conflict(c)
		}
		s.fin = off
		if off > s.next {
			t.allocQueue(c, side).acked = 0
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
		if off < s.acked || s.beyondWindow(off) || s.windowKnown() && off > c.acceptLimit(side) || d.arrived && c.challenged(side, off) {
			t.stats.Unacceptable++
			return
		}
	}
	if c.Thinned && off-s.next <= maxThinned { // both ends are known from it, and no packet may follow
		t.skipThinned(c, side, off)
		o := &c.tcp.side[side.Other()]
		if ack := o.offset(d.Ack); d.Flags&wire.FlagACK != 0 && o.known && o.fin < 0 && ack-o.next <= maxThinned {
			t.skipThinned(c, side.Other(), ack)
		}
	}
	s.reset = true
	q := t.allocQueue(c, side)
	q.rst, q.rstAt = max(off, s.next), t.now
}

// challenged reports whether the receiver answers a RST at an offset with an ACK instead of
// closing, since it is not the next byte that it expects (RFC 5961, section 3.2).
func (c *Conn) challenged(side Side, off int64) bool {
	s := &c.tcp.side[side]
	return s.windowKnown() && !c.Thinned && off > s.next && s.next >= max(s.acked, s.sent) && !c.gapped(side)
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
	if s.beyondWindow(ack) {
		return -1
	}
	if c.isnSeen(side) && ack >= 0 && ack <= maxFirstOffset {
		s.sure = true
	}
	if ack > s.acked {
		s.acked, s.keepAlive = ack, false
	}
	return max(ack, 0)
}

// startsNew reports whether a SYN or SYN-ACK on the tuple of c opens another connection.
func (t *Table) startsNew(c *Conn, d *Decoded) bool {
	side := c.sender(d)
	s := &c.tcp.side[side]
	switch {
	case s.known && d.Seq+1 == s.base: // of this connection: first, repeated, or overtaken by what followed
		return false
	case d.Flags&wire.FlagACK == 0 && side == Originator:
		if !c.OrigISNSeen {
			return s.known
		}
		quiet := t.now-c.tcp.touched >= int64(t.cfg.GapWait)
		if c.Thinned { // whose numbers a made-up packet may have moved ahead, at once
			return true
		}
		if c.closing() || c.Resp.Packets == 0 || quiet {
			return true
		}
		c.tcp.dupSYN, c.tcp.dupSYNSeen = d.Seq, true // an old duplicate, unless it is answered
		return false
	case d.Flags&wire.FlagACK == 0: // both opened at a time (RFC 9293, section 3.5)?
		return c.State != S0 || c.Resp.Packets > 0
	case side == Responder && c.OrigISNSeen:
		return d.Ack != c.OrigISN+1 && (c.closing() || c.tcp.dupSYNSeen && d.Ack == c.tcp.dupSYN+1)
	case side == Responder:
		return s.known
	}
	return !c.OrigISNSeen || c.closing()
}

// startFromSYNACK tells c, which a SYN-ACK has opened, the number of the SYN that it answers. That
// SYN was taken for a duplicate of an older connection's.
func (c *Conn) startFromSYNACK(d *Decoded) {
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

// isStray reports whether a SYN or SYN-ACK belongs to no known connection: an old
// duplicate, or an answer to a SYN that was not seen.
func (t *Table) isStray(c *Conn, side Side, d *Decoded) bool {
	s := &c.tcp.side[side]
	if s.known && d.Seq+1 == s.base {
		return false
	}
	if d.Flags&wire.FlagACK != 0 && side == Responder && c.OrigISNSeen && d.Ack != c.OrigISN+1 {
		return d.Ack != c.OrigISN+1+uint32(c.tcp.side[Originator].next) // Fast Open: data acknowledged with it
	}
	return s.known && (s.next > 0 || c.gapped(side))
}

// syn sets where a stream begins.
func (c *Conn) syn(side Side, d *Decoded) {
	s := &c.tcp.side[side]
	if !s.known || s.next == 0 && !c.gapped(side) {
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
