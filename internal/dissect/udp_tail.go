package dissect

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Over UDP TLS has no end that the packets show: its datagrams are followed for as long as
// the connection lives, and what is none of them is judged by itself. That takes no state but
// what the handshake has settled, since datagrams come alone and in any order.

// udpTail is what a Tail knows of DTLS or QUIC.
type udpTail struct {
	is13   bool // DTLS 1.3 may have been negotiated
	media  bool // RTP shares the port, as the client offered (RFC 5764), or may
	server bool // the roles are known, and ...
	side   Side // ... this is the server
}

// enoughStray is how many datagrams that are neither TLS nor anything that is known it takes
// to say that something else than TLS is spoken.
const enoughStray = 4

// datagramTail returns a Tail by what is known of the TLS of a session that is not finished.
func (s *Session) datagramTail() Tail {
	const useSRTP = 14
	t := s.tls
	return Tail{over: t.Over, udp: udpTail{
		is13: t.Server == nil || t.Server.TLS13(), media: t.Hello == nil || t.Hello.Has(useSRTP), server: t.RolesKnown, side: t.Client.Other(),
	}}
}

// laterDatagram takes a datagram that does not belong to the TLS of a finished session,
// and reports whether it did.
func (s *Session) laterDatagram(side Side, b []byte) bool {
	if !s.finished {
		return false
	}
	again := s.after != nil && s.after.tls != nil // another handshake, which all belongs to
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
		s.after.sides[side].kind = KindText // whatever came before it
		s.revision++
	}
	return true
}

// takeStrays takes what of a datagram is not of the DTLS or QUIC that both ends speak, and
// reports whether nothing else is in it.
func (s *Session) takeStrays(side Side, b []byte) bool {
	if s.sides[side.Other()].kind != KindTLS {
		return false
	}
	f := s.datagramTail()
	stray := f.foreign(b)
	if len(stray) > 0 {
		s.addStray(side, stray, false)
	}
	return len(stray) == len(b)
}

// addStray gives a datagram to After.
func (s *Session) addStray(side Side, b []byte, sure bool) {
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

// QuietDatagram reports whether a datagram may belong to the TLS that is followed: it is
// neither text nor another protocol's, nor of another handshake.
func (f *Tail) QuietDatagram(side Side, b []byte) bool {
	return f.over == tlsmsg.OverTCP || !f.answers(side, b) && len(f.stray(b)) == 0
}

// stray returns what of a datagram, to its end, is not of the TLS that is followed, or holds
// text.
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

// sealedText returns a datagram of DTLS from its first record on that holds text, nil if none
// does.
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

// textPacket reports whether a datagram is text.
func textPacket(b []byte) bool {
	return len(b) >= protocols.MinText && allText(b[:min(len(b), protocols.SampleSize)])
}

// foreign returns what of a datagram, to its end, is neither of DTLS or QUIC nor of what
// shares a port with them (RFC 7983, RFC 9443). Who clears QUIC's fixed bit (RFC 9287) is
// told from plaintext of a known protocol alone.
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

// truncatedHeader reports whether b may be the beginning of a record's header, which a capture has
// cut.
func truncatedHeader(b []byte) bool {
	return len(b) < dtlsHeader && b[0] >= wire.ContentChangeCipherSpec && b[0] <= wire.ContentCID && (len(b) < 2 || b[1] == 0xfe)
}

// dtlsRecord returns the length of the record of DTLS that b begins with: at least len(b)
// where nothing can follow it, 0 where there is none.
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

// answers reports whether a datagram begins with a server's message in plaintext: of another
// handshake on the same ports (RFC 6347 section 4.2.8), which both ends want. A ClientHello
// alone may be an old copy, and so may what the client sends behind it.
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

// dtlsText reports whether the record that b begins with is a protected one of DTLS, and
// holds text.
func dtlsText(b []byte) bool {
	switch {
	case len(b) <= dtlsHeader:
		return false
	case b[0]&0xe0 == 0x20: // DTLS 1.3: a header of 2 to 5 bytes, or more with a connection ID
		return startsWithText(b[5:])
	}
	return (b[0] == wire.ContentApplicationData || b[0] == wire.ContentCID || b[3] > 0 || b[4] > 0) && tlsmsg.IsDTLS(uint16(b[1])<<8|uint16(b[2])) && startsWithText(b[dtlsHeader:])
}
