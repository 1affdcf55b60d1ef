package dissect

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Over UDP no packet shows the end of TLS. Therefore datagrams are examined as long as the connection lives. Each datagram that does not
// belong to the connection's TLS is judged by itself, because datagrams are independent and come in any order. For this only the result of
// the handshake is needed.

// udpTail is the part of a Tail for DTLS or QUIC.
type udpTail struct {
	is13   bool // DTLS 1.3 may have been negotiated
	media  bool // RTP may share the port: the client offered it (RFC 5764), or its hello was not seen
	server bool // side is known to be the server
	side   Side // the side that is the server, or is assumed to be
}

// enoughStray is how many stray datagrams show that another protocol is spoken. A stray datagram belongs neither to TLS nor to a known
// protocol.
const enoughStray = 4

// datagramTail returns a Tail for a connection over UDP, before its session is finished.
func (t *TLS) datagramTail() Tail {
	const useSRTP = 14
	return Tail{over: t.Over, udp: udpTail{
		is13: t.Server == nil || t.Server.TLS13(), media: t.Hello == nil || t.Hello.Has(useSRTP), server: t.RolesKnown, side: t.Client.Other(),
	}}
}

// laterDatagram processes a datagram of a finished session. If a part of the datagram does not belong to the session's TLS, laterDatagram
// passes that part to After and returns true.
func (s *afterLayer) laterDatagram(side Side, b []byte) bool {
	if !s.finished {
		return false
	}
	again := s.after != nil && s.after.tls != nil // another handshake has begun: all datagrams belong to it
	if !again {
		again = s.tail.over != tlsmsg.OverTCP && s.tail.answers(side, b)
	}
	stray := b
	if !again {
		stray = s.tail.stray(b)
	}
	if len(stray) == 0 {
		return false
	}
	s.sides[side].ended = true
	if s.addStray(side, stray, again); !again && textPacket(stray) && s.after.sides[side].kind == KindUnreadable {
		s.after.sides[side].kind = KindText // one datagram of text is enough; earlier datagrams do not matter
		s.revision++
	}
	return true
}

// takeStrays processes the part of a datagram that does not belong to the protocol of both ends, DTLS or QUIC. It reports whether that part
// is the complete datagram.
func (s *afterLayer) takeStrays(side Side, b []byte) bool {
	if s.sides[side.Other()].kind != KindTLS {
		return false
	}
	f := s.tls.datagramTail()
	stray := f.foreign(b)
	if len(stray) > 0 {
		s.addStray(side, stray, false)
	}
	return len(stray) == len(b)
}

// addStray passes a datagram to After. sure reports whether the datagram certainly belongs to After.
func (s *afterLayer) addStray(side Side, b []byte, sure bool) {
	if s.after == nil {
		s.startAfter()
		s.unsure = true
	}
	if s.strays < enoughStray {
		s.strays++
	}
	if s.unsure && (sure || s.strays == enoughStray) {
		s.unsure = false
		s.revision++
	}
	s.after.Datagram(side, b)
}

// QuietDatagram reports whether a datagram may belong to the TLS that is followed: it is not text, and belongs neither to another protocol
// nor to another handshake.
func (f *Tail) QuietDatagram(side Side, b []byte) bool {
	return f.over == tlsmsg.OverTCP || !f.answers(side, b) && len(f.stray(b)) == 0
}

// stray returns the rest of a datagram, from the first part that contains text or does not belong to the TLS that is followed. It returns
// nil if there is no such part.
func (f *Tail) stray(b []byte) []byte {
	if f.over == tlsmsg.OverTCP {
		return nil
	}
	if textPacket(b) {
		return b
	}
	if f.over == tlsmsg.OverDTLS && len(b) > 0 {
		if text := f.sealedText(b); text != nil {
			return text
		}
	}
	return f.foreign(b)
}

// sealedText returns the rest of a datagram of DTLS, from the first record that contains text. It returns nil if there is no such record.
func (f *Tail) sealedText(b []byte) []byte {
	for range maxDTLSRecords {
		if dtlsText(b) {
			return b
		}
		n := f.dtlsRecord(b)
		if n == 0 || n >= len(b) {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// textPacket reports whether a datagram is long enough to be called text, and its first SampleSize bytes are text.
func textPacket(b []byte) bool {
	return len(b) >= protocols.MinText && allText(b[:min(len(b), protocols.SampleSize)])
}

// foreign returns the rest of a datagram, from the first part that does not belong to DTLS, QUIC or a protocol that shares ports with them
// (RFC 7983, RFC 9443). If QUIC's fixed bit is cleared (RFC 9287), only plaintext of a known protocol counts as foreign.
func (f *Tail) foreign(b []byte) []byte {
	switch {
	case len(b) == 0 || f.over == tlsmsg.OverQUIC && (b[0]&0x40 != 0 || !plainPacket(b)):
		return nil
	case f.over == tlsmsg.OverQUIC:
		return b
	case sharesPort(b, f.udp.media) && !plainPacket(b):
		return nil
	}
	for range maxDTLSRecords {
		switch n := f.dtlsRecord(b); {
		case n >= len(b), n == 0 && truncatedHeader(b):
			return nil
		case n == 0:
			return b
		default:
			b = b[n:]
		}
	}
	return nil
}

// truncatedHeader reports whether b may be an incomplete header of a record, truncated by the capture.
func truncatedHeader(b []byte) bool {
	return len(b) < dtlsHeader && b[0] >= wire.ContentChangeCipherSpec && b[0] <= wire.ContentCID && (len(b) < 2 || b[1] == 0xfe)
}

// dtlsRecord returns the length of the DTLS record at the start of b, or 0. The result is at least len(b) if no record can
// follow.
func (f *Tail) dtlsRecord(b []byte) int {
	const connectionID, longNumber, length = 0x10, 0x08, 0x04 // RFC 9147 section 4
	switch {
	case b[0]&0xe0 == 0x20 && f.udp.is13:
		at := 2
		if b[0]&longNumber != 0 {
			at++
		}
		if b[0]&connectionID != 0 || b[0]&length == 0 || len(b) < at+2 {
			return len(b)
		}
		return at + 2 + int(binary.BigEndian.Uint16(b[at:]))
	case !dtlsHeaded(b):
		return 0
	case b[0] == wire.ContentCID:
		return len(b)
	}
	return dtlsHeader + int(binary.BigEndian.Uint16(b[11:]))
}

// plainPacket reports whether a datagram is plaintext of a known protocol.
func plainPacket(b []byte) bool {
	if protocols.DNSMessage(b, len(b)) == protocols.Yes {
		return true
	}
	for i := range protocols.UDP {
		if r := &protocols.UDP[i]; r.Form == protocols.Plain && (r.Client(b) == protocols.Yes || r.Server(b) == protocols.Yes) {
			return true
		}
	}
	return false
}

// answers reports whether a datagram begins with a server's plaintext message. Such a message shows that both ends take part in another
// handshake on the same ports (RFC 6347 section 4.2.8). A client's message does not show that, because it may be a late retransmission.
func (f *Tail) answers(side Side, b []byte) bool {
	const epoch, message = 3, dtlsHeader
	if f.over != tlsmsg.OverDTLS || len(b) <= message || b[0] != wire.ContentHandshake || b[epoch] != 0 || b[epoch+1] != 0 || !dtlsBegins(b) {
		return false
	}
	switch b[message] {
	case tlsmsg.TypeServerHello:
		return true
	case tlsmsg.TypeCertificate, tlsmsg.TypeServerKeyExchange, tlsmsg.TypeCertificateRequest, tlsmsg.TypeServerHelloDone:
		return f.udp.server && f.udp.side == side
	}
	return false
}

// dtlsText reports whether b begins with a protected record of DTLS that contains text.
func dtlsText(b []byte) bool {
	switch {
	case len(b) <= dtlsHeader:
		return false
	case b[0]&0xe0 == 0x20: // DTLS 1.3: the header has 2 to 5 bytes, or more with a connection ID
		return startsWithText(b[5:])
	}
	return (b[0] == wire.ContentApplicationData || b[0] == wire.ContentCID || b[3] > 0 || b[4] > 0) && tlsmsg.IsDTLS(uint16(b[1])<<8|uint16(b[2])) && startsWithText(b[dtlsHeader:])
}
