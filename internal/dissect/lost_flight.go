package dissect

// A flight is a series of messages that one end sends before it needs an answer. Up to TLS 1.2 and in SSL 2.0, handshake messages such as
// a Certificate with many names are plaintext. The padding of a ClientHello is plaintext, too. If the start of a flight is missing, its
// remainder looks like text or structured binary without a record's header. This remainder does not show what the connection carries. A
// flight ends when its sender has received an answer.

// maxFlight bounds the length of a flight, in bytes of the stream. The value is maxUpgrade, the range in which TLS is looked for after
// other bytes.
const maxFlight = maxUpgrade

// flight describes the first captured bytes of a direction whose start is missing. They may be the remainder of a flight of plaintext
// handshake messages.
type flight struct {
	begun, over bool
	from        int64 // stream offset of the first byte after the gap
	ack         int64 // how many bytes of the other side are acknowledged by the packet that contains the byte at from
	passed      int64 // bytes seen up to the end of the flight
}

// Midstream notes that the first bytes of both sides may be from the middle of the stream. It must be called before the first bytes.
func (s *streams) Midstream() { s.sides[0].startLost, s.sides[1].startLost = true, true }

// trackFlight follows the flight of a side whose start is missing. The side's next bytes are at offset, in a packet that acknowledges ack
// bytes of the other side (-1: unknown).
func (s *streams) trackFlight(side Side, offset, ack int64) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	f := &st.p.flight
	if !st.startLost || f.over {
		return
	}
	if ack < 0 {
		ack = other.seen + other.missed
	}
	if !f.begun {
		f.begun, f.from, f.ack = true, offset, ack
	}
	if f.over = ack > f.ack || offset-f.from >= maxFlight; !f.over {
		f.passed = st.seen
	}
}

// inFlight reports whether the bytes of a side may be the remainder of a plaintext flight, on the assumption that the connection speaks
// TLS.
func (s *tlsLayer) inFlight(side Side) bool {
	st := &s.sides[side]
	return st.startLost && st.p != nil && !st.p.flight.over && (s.tls == nil || s.tls.Server == nil || !s.tls.Server.TLS13())
}

// handshaking reports whether the bytes of a side may be the remainder of a plaintext flight, and at least one end speaks TLS.
func (s *tlsLayer) handshaking(side Side) bool { return s.tls != nil && s.inFlight(side) }

// flightLost notes that the position in the records of a TLS side is unknown because of missing bytes. If the side has not yet sent a
// ChangeCipherSpec, later bytes may be plaintext of the handshake.
func (s *tlsLayer) flightLost(side Side) {
	if !s.tls.keyed(side) {
		s.sides[side].startLost, s.sides[side].p.flight = true, flight{}
	}
}

// startUnseen reports whether the start of a side is missing and neither side was recognized as another protocol. Then the beginning of a
// TLS handshake may be missing.
func (s *streams) startUnseen(side Side) bool {
	return s.sides[side].startLost && !s.sides[side].kind.known() && !s.sides[side.Other()].kind.known()
}

// passOver changes the kind of a side from text to unreadable, because the other side speaks TLS. The text may be the remainder of a
// handshake.
func (s *tlsLayer) passOver(side Side) {
	if st := &s.sides[side]; st.kind == KindText && st.protocol == "" && s.inFlight(side) {
		st.kind, st.upgrades = KindUnreadable, false
		st.p.readable = 0
	}
}

// known reports whether bytes were recognized as something other than TLS.
func (k Kind) known() bool { return k != KindNone && k != KindUnreadable && k != KindTLS }
