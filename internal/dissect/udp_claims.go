package dissect

import (
	"encoding/binary"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Over UDP a hello, a record or an Initial of one end is only a claim until the other end answers in the same protocol. A datagram of
// either end in another protocol refutes the claim.

// unconfirmed reports whether a side's datagrams began as DTLS or QUIC and the other end has not spoken that protocol.
func (s *udpLayer) unconfirmed(side Side) bool {
	if s.udp == nil || s.udp.quic == nil && s.udp.dtls == nil {
		return false
	}
	return s.sides[side.Other()].kind != KindTLS && (s.sides[side].kind == KindTLS || s.udp.refuted[side])
}

// claimed reports whether a side looks encrypted. A side with an unconfirmed claim no longer counts once its datagrams were weighed as
// plaintext.
func (s *udpLayer) claimed(side Side) bool {
	st := &s.sides[side]
	weighed := st.kind == KindTLS && st.p != nil && st.p.structure.segments > 0
	return st.kind.claims() && (!weighed || !s.unconfirmed(side))
}

// refutes examines a datagram of a side with an unconfirmed claim, and reports whether the datagram is neither DTLS nor QUIC. A datagram
// without a header of DTLS or QUIC is also tried as plaintext. If the other end speaks the claimed protocol later, startDatagramTLS
// restores a refuted claim.
func (s *recognition) refutes(side Side, b []byte) bool {
	st, t, foreign := &s.sides[side], s.tls, true
	switch finished := t.Finished[side] || t.Protected1RTT[side] > 0; {
	case s.udp.quic != nil && quicAnswer(b), s.udp.dtls != nil && dtlsHeaded(b):
		return false
	case sharesPort(b, finished):
		return true
	case s.udp.quic != nil:
		foreign = b[0]&0xc0 != 0x40 // the fixed bit of a short header (RFC 9000 section 17.3)
	case b[0]&0xe0 == 0x20: // a ciphertext of DTLS 1.3
		foreign = t.Hello == nil || !slices.ContainsFunc(t.Hello.Versions, tlsmsg.IsTLS13)
	}

	protocol := st.protocol
	st.kind, st.protocol = KindUnreadable, ""
	s.recognizePlaintext(side, b)
	switch {
	case st.kind != KindUnreadable:
		st.clearAck = max(st.clearAck, 1)
	case foreign && !s.udp.refuted[side]:
		s.udp.refuted[side] = true
		s.revision++
	case !s.udp.refuted[side]:
		st.kind, st.protocol = KindTLS, protocol
		return false
	}

	return true
}

// dtlsHeaded reports whether b begins with the header of a record of DTLS 1.2 or older, or of an unprotected record of DTLS 1.3 (RFC 9147
// section 4.1).
func dtlsHeaded(b []byte) bool {
	const last = 26 // ACK
	return len(b) >= dtlsHeader && b[0] >= wire.ContentChangeCipherSpec && b[0] <= last && tlsmsg.IsDTLS(uint16(b[1])<<8|uint16(b[2]))
}

// sharesPort reports whether b belongs to a protocol that shares ports with DTLS and QUIC (RFC 7983, RFC 9443): STUN, ZRTP or TURN
// channels. If media is set, RTP and RTCP count as well, because the handshake provides their keys. Fewer than 4 bytes count as a
// keepalive.
func sharesPort(b []byte, media bool) bool {
	const stunCookie, zrtpCookie = 0x2112a442, 0x5a525450 // RFC 8489 section 5, RFC 6189 section 5
	if len(b) < 4 {
		return true // keeps a NAT's mapping alive
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0] < 4:
		return len(b) >= 20 && 20+length == len(b) && binary.BigEndian.Uint32(b[4:]) == stunCookie
	case b[0] >= 16 && b[0] < 20:
		return len(b) >= 12 && binary.BigEndian.Uint32(b[4:]) == zrtpCookie
	case b[0] >= 64 && b[0] < 80:
		return len(b) >= 4+length && len(b) < 8+length
	case b[0] >= 128 && b[0] < 192:
		return media && len(b) >= 8
	}
	return false
}
