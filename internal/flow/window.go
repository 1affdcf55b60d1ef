package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// A receiver drops segments outside of its window and segments that acknowledge data which it has not sent (RFC 9293,
// section 3.10.7.4; RFC 5961, section 5). A third host can send such segments without harm to the connection, so
// neither their bytes nor their acknowledgements may count, and they are not a gap. The receiver's own packets show its
// window.
//
// A capture loses packets too, which makes honest segments look the same. So such a segment is suspended until packets
// of its receiver prove or refute it. Three packets that do not prove the segment refute it. So does one packet
// without payload whose sequence number is lower than the segment's acknowledgement number.

const (
	// windowSlack is the number of bytes after the next one that are always acceptable, for any window.
	windowSlack = 64 << 10
	// unknownShift is the largest window scale (RFC 7323, section 2.3). It is assumed if the handshake was not seen.
	unknownShift = 14
	// maxStale is how many bytes of the stream an acknowledgement or a retransmission may lie before the latest
	// acknowledgement.
	maxStale = 1 << 20

	maxSuspects     = 32       // suspended segments of a connection
	suspectData     = 64 << 10 // payload bytes kept of each suspended segment; receive offload builds segments of up to 64 KiB
	suspectPackets  = 3        // packets of the receiver after which a segment that they do not prove is refuted
	unheardSegments = 4        // suspended segments without an answer ...
	unheardWait     = 1e9      // ... for this time, in nanoseconds, mean that the receiver is not captured
)

// Values of stream.scale: the window scale that a side's SYN announces.
const (
	scaleUnknown = iota // no SYN was seen, or its options were truncated
	scaleNone
	scaleZero // a scale of 0 bits; larger scales follow
)

// suspect is a suspended segment: the packets seen so far suggest that its receiver drops it.
type suspect struct {
	side     Side
	seq, ack bool // whether the sequence number or the acknowledgement number is not acceptable
	answered bool // the receiver has sent a packet since
	packets  uint8
	d        Decoded // Payload is a copy
	time     int64
}

// suspectCost is the memory of a suspect in addition to its payload, in bytes.
const suspectCost = 320

func (x *suspect) cost() int { return len(x.d.Payload) + suspectCost }

// windowShift returns the scale of the windows that a side advertises, in bits.
func (c *Conn) windowShift(side Side) uint8 {
	switch a, b := c.tcp.side[side].scale, c.tcp.side[side.Other()].scale; {
	case a == scaleUnknown || b == scaleUnknown:
		return unknownShift
	case a == scaleNone || b == scaleNone:
		return 0
	default:
		return a - scaleZero
	}
}

// noteWindow stores the right edge of a window that the receiver of a side's stream has advertised with an
// acknowledgement. A smaller edge than before is ignored.
func (c *Conn) noteWindow(side Side, d *Decoded) {
	s := &c.tcp.side[side]
	window := uint32(d.Window)
	if d.Flags&wire.FlagSYN == 0 {
		window <<= c.windowShift(side.Other())
	}
	next := s.base + uint32(s.next)
	if edge := max(d.Ack+window, 1); !s.windowKnown() || int32(edge-next) > int32(s.edge-next) { // wraps as in offset
		s.edge = edge
	}
}

// windowKnown reports whether a window of the receiver was seen.
func (s *stream) windowKnown() bool { return s.edge != 0 }

// acceptLimit returns the largest offset of a side's stream that its receiver may accept. Bytes that the table buffers
// raise it as acknowledged bytes do, because the capture may have lost their acknowledgements.
func (c *Conn) acceptLimit(side Side) int64 {
	s := &c.tcp.side[side]
	n := max(max(s.next, s.acked, c.bufferedEnd(side))+windowSlack, s.offset(s.edge))
	if c.Thinned { // a filter leaves acknowledgements out
		n += maxThinned
	}
	return n
}

// sentEnd returns the offset up to which a side has sent, as far as known, FIN included.
func (c *Conn) sentEnd(side Side) int64 {
	s := &c.tcp.side[side]
	return max(s.next, s.acked, s.sent, s.fin+1, c.bufferedEnd(side))
}

// bufferedEnd returns the offset after the last buffered byte of a side, 0 if none is buffered.
func (c *Conn) bufferedEnd(side Side) int64 {
	q := c.queue(side)
	if q == nil || len(q.pieces) == 0 {
		return 0
	}
	return q.pieces[len(q.pieces)-1].end()
}

// acceptable reports whether the receiver accepts a segment's sequence number and its acknowledgement number, as far as
// the receiver's packets are known.
func (c *Conn) acceptable(side Side, d *Decoded) (seq, ack bool) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	switch {
	case c.Excluded || d.Flags&(wire.FlagSYN|wire.FlagRST) != 0:
		return true, true
	case !s.windowKnown():
		return c.acceptableAtStart(side, d)
	}
	off := s.offset(d.Seq)
	seq = off <= c.acceptLimit(side) && (!s.sure || off+int64(d.PayloadLen) >= s.acked-maxStale)
	if !o.known {
		return seq, true
	}
	switch n := o.offset(d.Ack); {
	case n <= o.next:
		ack = !o.windowKnown() || n >= o.acked-max(maxStale, o.offset(o.edge)-o.acked)
	case d.arrived && !c.Thinned: // the host's own packets are captured before the answers to them, so sentEnd is exact
		ack = n <= c.sentEnd(side.Other())
	case !o.windowKnown():
		ack = o.sure || !c.isnSeen(side.Other()) || n <= c.sentEnd(side.Other())+windowSlack
	default:
		ack = n <= max(c.acceptLimit(side.Other()), c.sentEnd(side.Other()))
	}
	return seq, ack
}

// acceptableAtStart is like acceptable, for a segment whose receiver has advertised no window yet. Before the handshake of a connection is
// complete, both ends drop segments that do not fit the numbers of its SYNs (RFC 9293, section 3.10.7.3 and 3.10.7.4). If the SYN-ACK was
// not captured, the acknowledgement number alone shows that a segment is the responder's.
func (c *Conn) acceptableAtStart(side Side, d *Decoded) (seq, ack bool) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	seq, ack = true, true
	if s.sure {
		return true, true
	}
	if c.isnSeen(side) {
		off := s.offset(d.Seq)
		seq = off >= -1 && off <= max(s.next, c.bufferedEnd(side))+windowSlack
	}
	if c.isnSeen(side.Other()) {
		n := o.offset(d.Ack)
		ack = n >= 0 && n <= c.sentEnd(side.Other())+windowSlack
		seq = seq && (ack || c.isnSeen(side))
	}
	return seq, ack
}

// mayReset reports whether the receiver of a RST may accept it while the connection is being established: it acknowledges the SYN, or it
// continues the stream that a SYN has begun (RFC 9293, sections 3.10.7.3 and 3.10.7.4). reset decides about later ones.
func (c *Conn) mayReset(side Side, d *Decoded) bool {
	s := &c.tcp.side[side]
	switch {
	case s.sure || c.Excluded:
		return true
	case c.isnSeen(side):
		off := s.offset(d.Seq)
		return off >= 0 && off <= max(s.next, c.bufferedEnd(side))+windowSlack
	case c.isnSeen(side.Other()):
		n := c.tcp.side[side.Other()].offset(d.Ack)
		return d.Flags&wire.FlagACK != 0 && n >= 0 && n <= c.sentEnd(side.Other())+windowSlack
	}
	return true
}

// dropped reports whether a receiver drops a segment: the ACK flag is missing, the segment is authenticated (RFC 2385, RFC 5925) and the SYNs
// of the connection were not, or it is a RST that mayReset does not allow.
func (c *Conn) dropped(side Side, d *Decoded) bool {
	switch {
	case d.Flags&wire.FlagSYN != 0:
		return false
	case d.Flags&wire.FlagRST != 0:
		return !c.mayReset(side, d)
	case d.Flags&wire.FlagACK == 0 && d.PayloadLen > 0 && c.OrigISNSeen:
		return true
	case !c.tcp.side[side].windowKnown():
		return false
	}
	return d.Flags&wire.FlagACK == 0 || d.signed && !c.tcp.signed && c.OrigISNSeen && c.RespISNSeen
}

// addSegment processes a TCP segment of c, suspends it, or drops it.
func (t *Table) addSegment(c *Conn, side Side, d *Decoded, now int64) {
	if c.dropped(side, d) {
		t.stats.Unacceptable++
		return
	}
	seq, ack := c.acceptable(side, d)
	if w := c.tcp.reassembly; w != nil && w.suspected[side.Other()] > 0 {
		met := t.decideSuspects(c, side, d, seq && ack)
		seq, ack = seq || met, ack || met
	}
	if !seq || !ack {
		t.suspend(c, side, d, now, seq, ack)
		return
	}
	t.acceptSegment(c, side, d, now)
}

// expected reports whether a segment is the next one, as nearly every segment is: it starts with the next byte,
// acknowledges only bytes that were seen, and c has no out-of-order state.
func (c *Conn) expected(side Side, d *Decoded) bool {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	return c.tcp.reassembly == nil && d.Flags&(wire.FlagACK|wire.FlagSYN|wire.FlagRST) == wire.FlagACK && !d.signed && s.known && o.known &&
		d.Seq == s.base+uint32(s.next) && d.Ack-(o.base+uint32(o.acked)) <= uint32(o.next-o.acked) && o.acked <= o.next
}

// suspects returns the number of suspended segments of c.
func (c *Conn) suspects() int {
	if c.tcp.reassembly == nil {
		return 0
	}
	return len(c.tcp.reassembly.suspects)
}

// suspend stores a segment until it is proved or refuted, or drops it if maxSuspects or a byte budget is reached. If
// the receiver is no longer captured (receiverUnheard), suspend accepts the segment and all suspects instead.
func (t *Table) suspend(c *Conn, side Side, d *Decoded, now int64, seq, ack bool) {
	q := t.allocQueue(c, side)
	w := c.tcp.reassembly
	x := suspect{side: side, seq: !seq, ack: !ack, d: *d, time: now}
	x.d.Payload = d.Payload[:min(len(d.Payload), suspectData)]
	if c.receiverUnheard(t.now) {
		t.acceptSuspects(c)
		t.acceptSegment(c, side, d, now)
		return
	}
	if len(w.suspects) >= maxSuspects || !t.fits(q, x.cost()) {
		t.stats.Unacceptable++
		t.scheduleCheck(c)
		return
	}
	x.d.Payload = append([]byte(nil), x.d.Payload...)
	t.accountBuffered(q, x.cost())
	w.addSuspect(&x)
}

// decideSuspects applies a packet of a side to the suspended segments of the other side. It accepts the segments
// that the packet proves, and drops those that the packet refutes. A packet that is not acceptable itself may fit
// one of these segments. decideSuspects then accepts that segment and returns true: after losses in both
// directions the capture continues with such a pair.
func (t *Table) decideSuspects(c *Conn, side Side, d *Decoded, accepted bool) (met bool) {
	w := c.tcp.reassembly
	all := w.suspects
	w.suspects, w.suspected = nil, [2]uint8{}

	for i := range all {
		x := &all[i]
		x.answered = x.answered || x.side != side
		if x.side == side || d.Flags&wire.FlagRST != 0 {
			w.addSuspect(x)
			continue
		}
		fits := d.Flags&wire.FlagACK != 0 && near(d.Seq-x.d.Ack) && near(d.Ack-x.d.Seq)
		switch x.packets++; {
		case accepted && c.proves(side, d, x), !accepted && fits:
			met = met || fits
			t.accountBuffered(c.queue(x.side), -x.cost())
			t.acceptSegment(c, x.side, &x.d, x.time)
			w = t.allocReassembly(c)
		case x.packets >= suspectPackets, x.ack && accepted && d.PayloadLen == 0 && d.Flags&(wire.FlagFIN|wire.FlagACK) == wire.FlagACK:
			t.stats.Unacceptable++
			t.accountBuffered(c.queue(x.side), -x.cost())
		default:
			w.addSuspect(x)
		}
	}
	t.scheduleCheck(c)
	return met
}

func (w *reassembly) addSuspect(x *suspect) {
	w.suspects = append(w.suspects, *x)
	w.suspected[x.side]++
}

// allocReassembly returns the out-of-order state of c, and allocates it if it was released.
func (t *Table) allocReassembly(c *Conn) *reassembly {
	t.allocQueue(c, Originator)
	return c.tcp.reassembly
}

// proves reports whether an acceptable packet of a side shows that the side accepts x: the packet acknowledges all
// bytes before x, and the side has sent all bytes that x acknowledges.
func (c *Conn) proves(side Side, d *Decoded, x *suspect) bool {
	s, o := &c.tcp.side[x.side], &c.tcp.side[side]
	reached := max(s.next, s.acked)
	if d.Flags&wire.FlagACK != 0 {
		reached = max(reached, s.offset(d.Ack))
	}
	sent := max(c.sentEnd(side), o.offset(d.Seq))
	off, n := s.offset(x.d.Seq), o.offset(x.d.Ack)
	if c.isnSeen(x.side) && off < -1 || c.isnSeen(side) && n < 0 { // before the first byte that the sender, or the receiver, can have sent
		return false
	}
	return (!x.seq || off <= reached && off >= s.acked-maxStale) && (!x.ack || n <= sent)
}

// receiverUnheard reports whether the receiver sent no packet for unheardWait after several segments that are not
// acceptable to it. A receiver at once answers each such segment that has payload (RFC 9293, section 3.10.7.4). So
// without an answer, the receiver's packets are no longer captured, and its known window is out of date. In a live
// capture the receiver of arriving segments is always captured.
func (c *Conn) receiverUnheard(now int64) bool {
	if c.suspects() == 0 || now-c.tcp.reassembly.suspects[0].time < unheardWait {
		return false
	}
	n := 0
	for i := range c.suspects() {
		x := &c.tcp.reassembly.suspects[i]
		if x.answered || x.d.arrived || x.side != c.tcp.reassembly.suspects[0].side {
			return false
		}
		if x.d.PayloadLen > 0 || x.d.Flags&wire.FlagFIN != 0 {
			n++
		}
	}
	return n >= unheardSegments
}

// acceptSuspects accepts all suspended segments.
func (t *Table) acceptSuspects(c *Conn) {
	all := c.tcp.reassembly.suspects
	c.tcp.reassembly.suspects, c.tcp.reassembly.suspected = nil, [2]uint8{}
	for i := range all {
		x := &all[i]
		t.accountBuffered(c.queue(x.side), -x.cost())
		t.acceptSegment(c, x.side, &x.d, x.time)
		t.allocReassembly(c)
	}
}

// resolveSuspects decides the suspended segments when c ends. It accepts segments whose receiver is not captured,
// and segments with new data of which only the acknowledgement number is not acceptable. It drops the others. The receiver
// may have accepted a dropped segment with new data, so the absence of data proves nothing afterwards (Conn.Undelivered).
func (t *Table) resolveSuspects(c *Conn) {
	if c.suspects() == 0 {
		return
	}
	if c.receiverUnheard(t.now) {
		t.acceptSuspects(c)
		return
	}
	all := c.tcp.reassembly.suspects
	c.tcp.reassembly.suspects, c.tcp.reassembly.suspected = nil, [2]uint8{}
	for i := range all {
		x := &all[i]
		t.accountBuffered(c.queue(x.side), -x.cost())
		if x.seq {
			t.stats.Unacceptable++
			sent := &c.tcp.side[x.side].sent
			*sent = max(*sent, c.tcp.side[x.side].next+1)
			continue
		}
		if s := &c.tcp.side[x.side]; s.offset(x.d.Seq)+int64(x.d.PayloadLen) <= s.next && x.d.Flags&wire.FlagFIN == 0 {
			t.stats.Unacceptable++
			continue
		}
		t.acceptSegment(c, x.side, &x.d, x.time)
		t.allocReassembly(c)
	}
}
