package flow

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// tcpState is the table's own state of a connection, also of a UDP one.
type tcpState struct {
	side       [2]stream
	reassembly *reassembly // nil for nearly every connection
	prev, next *Conn       // links of the connection's list
	touched    int64       // packet time of the latest packet
	list       uint8       // index of its list in Table.idle
	faces      bool        // the connection is in Table.faces
	lone       bool        // the connection is in Table.lone
	rival      bool        // when it was created, a lone connection with the same ports existed in another zone
	done       bool        // Table.Done was called: the connection is judged
	followed   bool        // Table.Done was called with follow: the Handler wants later bytes nevertheless
	thin       bool        // Thin has chosen the connection
	busy       uint8       // number of times that a side sent busyStep packets since the last call of Thin
	dupSYN     uint32      // sequence number of a SYN within the connection: it seems to be an old duplicate, or forged
	dupSYNBy   uint8       // the side that sent dupSYN, plus 1; 0: none
	signed     bool        // a SYN of the connection had an authentication option
	resets     [2]uint8    // RSTs of each side (see Conn.OneSided)
}

// acceptSegment processes a TCP segment of c that its receiver accepts, as far as is known.
func (t *Table) acceptSegment(c *Conn, side Side, d *Decoded, now int64) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&wire.FlagSYN != 0 {
		if t.isStray(c, side, d) {
			return
		}
		c.syn(side, d)
	} else if !s.known && d.Flags&wire.FlagRST == 0 {
		s.start(d.Seq)
		s.origin = startGuessed
	}

	c.updateState(side, d)
	if d.Flags&wire.FlagURG != 0 && d.PayloadLen > 0 {
		t.doubt(c, &c.Urgent)
	}
	if d.Multipath && d.Flags&(wire.FlagSYN|wire.FlagACK) != wire.FlagSYN { // a SYN only offers Multipath TCP
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

// addPayload processes a segment's payload and FIN.
func (t *Table) addPayload(c *Conn, side Side, d *Decoded, ack, now int64) {
	s := &c.tcp.side[side]
	n := int64(d.PayloadLen)
	if side == Responder && d.Flags&(wire.FlagSYN|wire.FlagACK) == wire.FlagSYN {
		return // a simultaneous open: the data is sent again later (Linux drops it, in tcp_rcv_synsent_state_process)
	}
	if n == 0 && d.Flags&wire.FlagFIN == 0 {
		s.noteEmpty(d)
		return
	}

	seq := d.Seq
	if d.Flags&wire.FlagSYN != 0 { // the SYN has a sequence number; data after it is TCP Fast Open (RFC 7413)
		seq++
	}
	off := s.offset(seq)
	if !s.sure {
		off = t.confirmStart(c, side, seq, off, n)
	}
	if off < 0 && !c.isnSeen(side) && !s.isKeepAlive(off, n) {
		s.origin = startLate
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
		s.fin = -1 // this FIN counts as forged, because the stream continues after it
		t.conflict(c)
	}

	inOrder := off == s.next && c.tcp.reassembly == nil // true for nearly every segment
	switch {
	case n == 0:
	case n == 1 && off >= s.next && off == s.acked-1 && (s.keepAlive || t.now-c.tcp.touched >= keepAliveQuiet):
		s.keepAlive = true // the segment is a keep-alive probe; the byte that it repeats was lost
	case c.Excluded:
		s.next = max(s.next, off+n)
	case inOrder && c.tcp.done && !c.tcp.followed:
		t.countUnwanted(c, side, n, len(d.Payload))
	default:
		var p piece // field by field: a composite literal would be built elsewhere and copied
		p.off, p.n, p.data, p.ack, p.time = off, n, d.Payload, ack, now
		if inOrder {
			t.deliver(c, side, &p)
		} else {
			t.reassemble(c, side, p)
		}
	}
}

// noteEmpty notes the sequence number of a packet without payload, SYN and FIN: all bytes before it were sent.
func (s *stream) noteEmpty(d *Decoded) {
	if d.Flags&wire.FlagSYN != 0 || !s.sure {
		return
	}
	if off := s.offset(d.Seq); off > s.sent && !s.beyondWindow(off) {
		s.sent = off
	}
}

// keepAliveQuiet is a time of silence in ns. A single byte that the receiver has already acknowledged counts as a
// late packet if it arrives sooner. After this time it counts as a keep-alive probe, whose byte may be garbage.
const keepAliveQuiet = int64(500 * time.Millisecond)

// maxFirstOffset bounds, in bytes, the offset of a stream's first payload seen while the start of the stream is not
// confirmed.
const maxFirstOffset = 1 << 20

// confirmStart compares the first payload or FIN of a stream with the assumed start, and returns its offset. If they do
// not fit, the stream starts at this segment instead. Otherwise a single packet with forged numbers could hide
// everything that follows.
func (t *Table) confirmStart(c *Conn, side Side, seq uint32, off, n int64) int64 {
	s := &c.tcp.side[side]
	switch {
	case s.origin == startGuessed && off == 1: // the first packet seen was a keep-alive probe, so that the stream's start was assumed one byte too early
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

// fin notes a FIN at an offset. The FIN takes effect once all bytes before the FIN were delivered or skipped, because a
// capture may reorder the FIN and the sender's last data. If there are two FINs, the earlier offset counts, because the
// other FIN may be forged.
func (t *Table) fin(c *Conn, side Side, off int64) {
	s, q := &c.tcp.side[side], c.queue(side)
	switch {
	case off < s.next: // the FIN is old
	case s.fin >= 0 && s.fin <= off: // the FIN is a repetition, or comes after the known FIN
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

// reset notes a RST. A RST takes effect after all bytes before its offset, as a FIN does. reset ignores a RST that
// the receiver must ignore (RFC 9293, section 3.10.7.4).
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

	if c.Thinned && off-s.next <= maxThinned { // the numbers of a RST show how much was left out in both directions, and possibly no later packet does
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

// challenged reports whether the receiver answers a RST at an offset with an ACK instead of closing the connection.
// The receiver does so if the offset is not the next one that it expects (RFC 5961, section 3.2).
func (c *Conn) challenged(side Side, off int64) bool {
	s := &c.tcp.side[side]
	return s.windowKnown() && !c.Thinned && off > s.next && s.next >= max(s.acked, s.sent) && !c.gapped(side)
}

// acknowledge notes that a side's stream is acknowledged up to a sequence number. It returns the offset of that
// number in the stream, -1 if no receiver can have sent such an acknowledgement.
func (t *Table) acknowledge(c *Conn, side Side, number uint32) int64 {
	s := &c.tcp.side[side]
	if !s.known {
		s.start(number)
		return 0
	}
	ack := s.offset(number)
	if s.fin >= 0 {
		ack = min(ack, s.fin) // a FIN has a sequence number too
	}
	if s.beyondWindow(ack) {
		return -1
	}
	switch isn := c.isnSeen(side); {
	case isn && ack >= 0 && ack <= maxFirstOffset:
		s.sure = true
	case !isn && ack < 0:
		s.origin = startLate
	}
	if ack > s.acked {
		s.acked, s.keepAlive = ack, false
	}
	return max(ack, 0)
}

// startsNew reports whether a SYN or SYN-ACK with the addresses and ports of c starts another connection.
func (t *Table) startsNew(c *Conn, d *Decoded) bool {
	side := c.sender(d)
	s := &c.tcp.side[side]
	switch {
	case s.known && d.Seq+1 == s.base: // it is this connection's own SYN: the first one, a repetition, or one that later packets have overtaken
		return false
	case d.Flags&wire.FlagACK == 0 && side == Originator && !c.OrigISNSeen:
		return s.known
	case d.Flags&wire.FlagACK == 0 && side == Responder && c.State == S0 && c.Resp.Packets == 0:
		return false // a simultaneous open (RFC 9293, section 3.5)
	case d.Flags&wire.FlagACK == 0:
		if c.closing() || c.endpoint(side.Other()).Packets == 0 {
			return true
		}
		c.tcp.dupSYN, c.tcp.dupSYNBy = d.Seq, uint8(side)+1 // the SYN does not count unless a SYN-ACK answers it
		return false
	case c.dupSYNOf(side.Other()) && d.Ack-c.tcp.dupSYN-1 <= windowSlack: // it may acknowledge data of the SYN (RFC 7413)
		return !c.OrigISNSeen || side == Originator || d.Ack != c.OrigISN+1
	case side == Responder && c.OrigISNSeen:
		return d.Ack != c.OrigISN+1 && c.closing()
	case side == Responder:
		return s.known
	}

	return !c.OrigISNSeen || c.closing()
}

// dupSYNOf reports whether a side has sent a SYN within the connection (see startsNew).
func (c *Conn) dupSYNOf(side Side) bool { return c.tcp.dupSYNBy == uint8(side)+1 }

// startFromSYNACK sets the start of the originator's stream in c, which a SYN-ACK has opened. The SYN that the
// SYN-ACK answers had been mistaken for a duplicate of an earlier connection's SYN; syn is the number of the latest of these. Its data,
// which the SYN-ACK then acknowledges, counts as missing.
func (c *Conn) startFromSYNACK(d *Decoded, syn uint32) {
	if d.Ack-syn-1 > windowSlack {
		syn = d.Ack - 1 // it answers an earlier one
	}
	s := &c.tcp.side[Originator]
	s.start(syn + 1)
	s.state = synSent
	c.OrigISN, c.OrigISNSeen, c.MissedStart = syn, true, false
}

func (c *Conn) isnSeen(side Side) bool {
	if side == Originator {
		return c.OrigISNSeen
	}
	return c.RespISNSeen
}

// isStray reports whether a SYN or SYN-ACK belongs to no known connection: it is an old duplicate, or answers a SYN
// that was not seen.
func (t *Table) isStray(c *Conn, side Side, d *Decoded) bool {
	s := &c.tcp.side[side]
	if s.known && d.Seq+1 == s.base {
		return false
	}
	if d.Flags&wire.FlagACK == 0 && c.dupSYNOf(side) && d.Seq == c.tcp.dupSYN {
		return true // see startsNew
	}
	if d.Flags&wire.FlagACK != 0 && side == Originator && c.OrigISNSeen {
		return true // in a simultaneous open, both SYNs of a side have the same number
	}
	if d.Flags&wire.FlagACK != 0 && side == Responder && c.OrigISNSeen && d.Ack != c.OrigISN+1 {
		return d.Ack != c.OrigISN+1+uint32(c.tcp.side[Originator].next) // with Fast Open, the SYN-ACK acknowledges data too
	}
	return s.known && (s.next > 0 || c.gapped(side))
}

// syn sets the start of a side's stream from its SYN.
func (c *Conn) syn(side Side, d *Decoded) {
	s := &c.tcp.side[side]
	if !s.known || s.next == 0 && !c.gapped(side) {
		s.start(d.Seq + 1)
	}
	s.origin = startKnown
	if d.Seq+1 == s.base {
		s.scale, c.tcp.signed = max(s.scale, d.scale), c.tcp.signed || d.signed // a repeated SYN may lack its options
	}
	if side == Originator {
		c.OrigISN, c.OrigISNSeen = d.Seq, true
		c.MissedStart = c.MissedStart && d.Flags&wire.FlagACK != 0
	} else {
		c.RespISN, c.RespISNSeen = d.Seq, true
	}
}
