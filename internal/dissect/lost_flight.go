package dissect

// Up to TLS 1.2, and in SSL 2.0, the messages of a handshake are plaintext: a Certificate with
// many names, a CertificateRequest, a CertificateStatus. So is the padding of a ClientHello.
// Where the start of such a flight is lost, its rest is text or structured binary without a
// record's header, and says nothing of what the connection carries. A flight ends where its
// sender has read the answer to it.

// maxFlight is how much of a flight is passed over at most, in bytes of the stream: as long as
// TLS is looked for behind other bytes.
const maxFlight = maxUpgrade

// flight is what a direction sends behind bytes of it that were lost before it had shown what
// it speaks.
type flight struct {
	begun, over bool
	from        int64 // stream offset of the first byte behind the loss
	ack         int64 // of the packet with that byte
	passed      int64 // bytes seen up to the flight's end
}

// Midstream tells, before the first bytes, that those of either side may be from the middle of
// its stream.
func (s *Session) Midstream() { s.sides[0].startLost, s.sides[1].startLost = true, true }

// trackFlight follows the flight of a side whose start was lost: its next bytes stand at an offset, in a packet
// that acknowledges ack bytes of the other side, -1 where that is not known.
func (s *Session) trackFlight(side Side, offset, ack int64) {
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

// inFlight reports whether what a side sends may be the rest of a flight in plaintext, if the
// connection speaks TLS.
func (s *Session) inFlight(side Side) bool {
	st := &s.sides[side]
	return st.startLost && st.p != nil && !st.p.flight.over && (s.tls == nil || s.tls.Server == nil || !s.tls.Server.TLS13())
}

// handshaking reports the same of a connection in which either end has begun with TLS.
func (s *Session) handshaking(side Side) bool { return s.tls != nil && s.inFlight(side) }

// flightLost notes that bytes of a TLS side were lost, and the place in its records with them.
// Before its ChangeCipherSpec what follows may be plaintext of its handshake.
func (s *Session) flightLost(side Side) {
	if !s.keyed(side) {
		s.sides[side].startLost, s.sides[side].p.flight = true, flight{}
	}
}

// startUnseen reports whether nothing is known of what a side sent before TLS, and bytes of it are
// missing: the beginning of its handshake may have been there.
func (s *Session) startUnseen(side Side) bool {
	return s.sides[side].startLost && !s.sides[side].kind.known() && !s.sides[side.Other()].kind.known()
}

// passOver takes back that a side is text, now that the other one speaks TLS: it may be the rest
// of its handshake.
func (s *Session) passOver(side Side) {
	if st := &s.sides[side]; st.kind == KindText && st.protocol == "" && s.inFlight(side) {
		st.kind, st.upgrades = KindUnreadable, false
		st.p.readable = 0
	}
}

// known reports whether bytes were recognized as something other than TLS.
func (k Kind) known() bool { return k != KindNone && k != KindUnreadable && k != KindTLS }
