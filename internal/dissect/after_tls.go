package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// After returns the session of the bytes that followed the end of TLS, or nil if no bytes followed. These bytes are plaintext, another
// handshake, or unrecognized. Their session is judged like a connection. TLS can end in it, too, so it can have an After of its own.
func (s *afterLayer) After() *Session { return s.after }

// Unsure reports whether only the contents of After show that TLS has ended, because bytes before them are missing. In that case only
// recognized contents count.
func (s *afterLayer) Unsure() bool { return s.unsure }

// Parted reports whether both sides lack bytes that may contain the end of TLS and another handshake. Later bytes belong to After.
func (s *afterLayer) Parted() bool { return s.parted }

// Tail returns the follower of the TLS records of a finished session.
func (s *afterLayer) Tail() Tail { return s.tail }

// Resume turns s, a new session, into a finished one with a conclusion. f follows the TLS records. missed is the number of earlier bytes
// that are missing. Nothing else is known about the earlier bytes.
func (s *Session) Resume(conclusion any, f Tail, missed int64) {
	s.SetConclusion(conclusion)
	s.finished, s.tail = true, f
	s.sides[Originator].missed = missed
	s.lighten()
}

// Skip notes that a filter has left out the n bytes of a side before offset. These bytes are unknown but do not count as missing.
func (s *Session) Skip(side Side, offset, n int64) {
	st := &s.sides[side]
	switch {
	case st.ended:
		s.after.Skip(side, offset, n)
	case s.finished || s.failed:
		s.tail.sides[side].skip(n, tailBridge)
	default:
		if st.p == nil {
			st.p = s.pool.parser()
		}
		defer s.containPanic()
		s.addGap(side, n, offset)
	}
}

// maxAfter bounds how often TLS can end in one connection. After that the connection is not examined further.
const maxAfter = 3

// endsAt reports whether TLS has ended: a record's header was expected, and the next bytes of the side are not a record.
func (s *afterLayer) endsAt(side Side) bool {
	t, r := s.tls, &s.sides[side].p.rec
	return !t.layers[side].holes && t.answered() && !t.Server.V2 && !plausibleHeader(r.hdr[:r.hdrN]) && s.mayEnd()
}

// endTLS notes that a side's TLS has ended at an offset. The bytes from that offset on are head, which came in earlier calls, followed by
// data. sure reports whether a record was expected at that offset.
func (s *afterLayer) endTLS(side Side, offset int64, head, data []byte, ack int64, sure bool) {
	st := &s.sides[side]
	st.ended = true
	if s.after == nil {
		s.startAfter()
		s.unsure = true
		s.lostBefore(side.Other())
	}
	s.lostBefore(side)
	if sure {
		s.unsure = false
	}
	s.revision++
	if len(head) > 0 {
		s.after.Data(side, offset, head, ack, 0)
	}
	s.after.Data(side, offset+int64(len(head)), data, ack, 0)
	if a := &s.after.sides[side]; !sure && (a.kind == KindNone || a.kind == KindUnreadable) && a.p != nil {
		a.kind = KindStructured // the bytes since the gap cannot be ciphertext (tailSide.legible)
		if allText(data[:min(len(data), minLostText)]) {
			a.kind = KindText
		}
		s.after.release(&a.p.head)
		s.after.revision++
	}
}

// startAfter creates the session of the bytes after the end of TLS.
func (s *afterLayer) startAfter() {
	s.after = s.pool.New()
	s.after.depth = s.depth + 1
	s.revision++
}

// followRecords creates the Tail of a session that is being finished.
func (s *afterLayer) followRecords() {
	if s.after != nil {
		s.after.Finish()
	}
	if t := s.tls; !s.finished && t != nil && !s.failed {
		s.tail = t.datagramTail()
	}
	for i := range s.sides {
		d := &s.tail.sides[i]
		switch {
		case s.sides[i].ended:
			*d = s.after.tail.sides[i]
		case !s.finished && !s.failed && s.tls != nil && s.tls.Over == tlsmsg.OverTCP:
			*d = s.resumeTail(Side(i))
		}
	}
}

// resumeTail returns the position of a side in its TLS records over TCP.
func (s *tlsLayer) resumeTail(side Side) tailSide {
	st := &s.sides[side]
	switch p := st.p; {
	case st.kind == KindNone && (p == nil || len(p.head) == 0) && st.missed == 0:
		return tailSide{state: tailSure}
	case st.kind != KindTLS || s.tls.Server != nil && s.tls.Server.V2:
		return tailSide{}
	case p == nil || s.tls.layers[side].broken:
		return tailSide{state: tailLost, keyed: s.tls.keyed(side)}
	}

	r := &st.p.rec
	l := &s.tls.layers[side]
	d := tailSide{state: tailSure, left: uint16(r.left), keyed: s.tls.keyed(side)}
	if l.holes {
		d.state = tailFound
	}
	if n := len(l.list); n > 0 && l.rest == 0 && alertSized(wire.ContentApplicationData, l.list[n-1].Length) || s.tls.SealedAlerts[side] > 0 {
		d.end = endAlert
	}
	switch {
	case r.text.n > 0:
		d.head, d.n = r.text.head, r.text.n
	case r.left == 0:
		d.n = uint8(copy(d.head[:], r.hdr[:r.hdrN]))
	}
	return d
}

// keyed reports whether a side of TLS has changed the cipher. Later records of that side are not a plaintext handshake.
func (t *TLS) keyed(side Side) bool { return t.layers[side].ccs || t.AppRecords[side] > 0 }

// dataAfterFinish processes bytes of a finished session.
func (s *Session) dataAfterFinish(side Side, offset int64, data []byte, ack, gap int64) {
	if s.failed {
		return
	}
	defer s.containPanic()
	at, sure, ok := s.tail.data(side, data, gap)
	d := &s.tail.sides[side]
	switch {
	case ok:
		if gap > 0 && s.after != nil && d.end >= endLost { // this side also lacks bytes that may belong to After
			s.after.unseen(side)
		}
	case s.tail.parted():
		s.endUnseen(side, offset, data, ack, gap)
	case d.readText():
		s.endInText(side, offset+int64(at), data[at:], ack)
	default:
		head, n := d.head, int64(d.n)
		s.endTLS(side, offset+int64(at)-n, head[:n], data[at:], ack, sure)
	}
}

// endInText notes that a record of a side is not ciphertext, because it contains text that ends at offset. The rest of the record does not
// matter. data begins at offset.
func (s *afterLayer) endInText(side Side, offset int64, data []byte, ack int64) {
	left := int(s.tail.sides[side].left)
	s.endTLS(side, offset, nil, nil, ack, true)
	a := s.after
	if a.sides[side].kind != KindTLS {
		a.startTLS(side, offset, false)
	}
	r := &a.sides[side].p.rec
	r.hdr, r.hdrN, r.left, r.opaq = [wire.RecordHeader]byte{wire.ContentApplicationData, 3, 3}, wire.RecordHeader, left, true
	if left == 0 {
		r.hdrN = 0
	}
	a.tls.Readable = true
	a.sides[side].seen += readableRun
	a.revision++
	a.Data(side, offset, data, ack, 0)
}

// endUnseen notes that TLS may have ended, and another handshake begun, in bytes that are missing (see Tail.parted). From here on, both
// sides are examined like a connection whose start was not captured.
func (s *afterLayer) endUnseen(side Side, offset int64, data []byte, ack, gap int64) {
	if s.after == nil {
		s.startAfter()
	}
	s.parted, s.unsure = true, false
	for i := range s.sides {
		s.sides[i].ended = true
		s.after.unseen(Side(i))
	}
	s.after.Data(side, offset, data, ack, gap)
}

// lostBefore notes in After that missing bytes of a side may belong to After.
func (s *afterLayer) lostBefore(side Side) {
	if s.tail.sides[side].end >= endLost {
		s.after.unseen(side)
	}
}

// unseen notes that missing bytes of a side may belong to this session.
func (s *streams) unseen(side Side) {
	s.sides[side].missed += minLostHello
	s.revision++
}

// decided reports whether more bytes are unlikely to change the kind of s, which is the session of bytes after the end of TLS (see After).
func (s *Session) decided() bool {
	known := false
	for i := range s.sides {
		k := s.sides[i].kind
		known = known || k != KindNone && k != KindUnreadable && k != KindGreeting
	}
	return known && s.Complete()
}

// allText reports whether b is text only. It returns early for ciphertext.
func allText(b []byte) bool {
	const look = 16
	return protocols.CountNonText(b[:min(len(b), look)]) <= 1 && protocols.CountNonText(b) == 0 // the first bytes may end within a character
}
