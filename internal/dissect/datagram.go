package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// maxDatagrams bounds how many datagrams of a connection are searched for a protocol. The first datagrams may belong to another protocol,
// such as STUN before DTLS.
const maxDatagrams = 64

// datagrams is the state of a connection over UDP.
type datagrams struct {
	looked  int
	text    [2]int  // bytes of text of a side, minus bytes of other datagrams
	opaque  [2]bool // the side has sent a datagram that is not text
	dtls    *dtls
	quic    *quic
	refuted [2]bool // the side's claim to speak DTLS or QUIC was refuted; see refutes
}

// datagram processes one datagram of a side.
func (s *afterLayer) datagram(side Side, b []byte) {
	if s.udp == nil {
		s.udp = &datagrams{}
	}
	u := s.udp
	switch {
	case (u.quic != nil || u.dtls != nil) && s.contradicts(side, b):
	case u.quic != nil:
		s.quicDatagram(side, b)
	case u.dtls != nil:
		s.dtlsDatagram(side, b)
	case u.looked < maxDatagrams:
		u.looked++
		s.recognizeDatagram(side, b)
	default:
		s.lateText(side, b)
	}
}

// lateText looks only for text, in a direction without a known protocol. Plaintext may begin with any datagram of a connection.
func (s *udpLayer) lateText(side Side, b []byte) {
	if k := s.sides[side].kind; k == KindNone || k == KindUnreadable {
		s.textDatagram(side, b)
	}
}

// recognizeDatagram determines the protocol of a connection over UDP.
func (s *recognition) recognizeDatagram(side Side, b []byte) {
	st := &s.sides[side]
	switch {
	case st.protocol == "dns":
		return
	case s.spokePlaintext():
		// after plaintext neither DTLS nor QUIC is expected
		s.recognizePlaintext(side, b)
	case s.udp.looked > 1 && quicPacket(b), quicBegins(b):
		s.udp.quic = &quic{}
		s.startDatagramTLS(side, tlsmsg.OverQUIC, "quic")
		s.quicDatagram(side, b)
	case dtlsBegins(b):
		s.udp.dtls = &dtls{}
		s.startDatagramTLS(side, tlsmsg.OverDTLS, "dtls")
		s.dtlsDatagram(side, b)
	default:
		s.recognizePlaintext(side, b)
	}
}

// spokePlaintext reports whether the datagrams of at least one side are plaintext.
func (s *streams) spokePlaintext() bool {
	for i := range s.sides {
		if k := s.sides[i].kind; k == KindPlain || k == KindText || k == KindStructured {
			return true
		}
	}
	return false
}

// recognizePlaintext recognizes a datagram that is neither DTLS nor QUIC.
func (s *recognition) recognizePlaintext(side Side, b []byte) {
	st := &s.sides[side]
	switch {
	case protocols.DNSMessage(b, len(b)) == protocols.Yes:
		st.kind, st.protocol = KindPlain, "dns"
		if s.dns == nil {
			s.dns = &dns{}
		}
		s.revision++
	case st.kind == KindNone || st.kind == KindUnreadable || st.kind == KindText && st.protocol == "":
		if s.matchDatagram(side, b) {
			return
		}
		if s.textDatagram(side, b); st.kind == KindUnreadable {
			s.weigh(side, b)
		}
	}
}

// startDatagramTLS notes that a direction speaks DTLS or QUIC. The hello shows later which end is the client.
func (s *udpLayer) startDatagramTLS(side Side, over tlsmsg.Over, protocol string) {
	if s.tls == nil {
		s.tls = &TLS{Over: over}
	}
	s.sides[side].kind, s.sides[side].protocol = KindTLS, protocol
	if other := &s.sides[side.Other()]; s.udp.refuted[side.Other()] && other.kind == KindUnreadable {
		other.kind, other.protocol = KindTLS, protocol // the claim is confirmed
	}
	for i := range s.sides {
		if s.sides[i].p == nil {
			s.sides[i].p = &parser{}
		}
	}
	s.revision++
}

// contradicts reports whether a datagram belongs to neither QUIC nor DTLS, in a connection that began with one of them. An end's first
// datagram must have a long header of QUIC or consist of DTLS records. Later datagrams must not be text, because ciphertext is not text. A
// datagram that breaks these rules is examined as a plaintext answer to the other end's hello.
func (s *afterLayer) contradicts(side Side, b []byte) bool {
	st := &s.sides[side]
	text := len(b) >= protocols.MinText && protocols.CountNonText(b[:min(len(b), protocols.SampleSize)]) == 0
	switch quic := s.udp.quic != nil; {
	case st.kind == KindPlain || st.kind == KindText || st.kind == KindStructured:
		return true
	case s.unconfirmed(side):
		return s.refutes(side, b)
	case st.kind == KindTLS && !text:
		return s.takeStrays(side, b)
	case st.kind == KindTLS:
		st.kind, st.protocol = KindText, ""
		s.revision++
	case quic && quicAnswer(b):
		s.startDatagramTLS(side, tlsmsg.OverQUIC, "quic")
		return false
	case !quic && dtlsBegins(b):
		s.startDatagramTLS(side, tlsmsg.OverDTLS, "dtls")
		return false
	default:
		s.recognizePlaintext(side, b)
	}

	if st.kind == KindPlain || st.kind == KindText {
		st.clearAck = max(st.clearAck, 1)
	}
	return true
}

// textDatagram changes the kind of a direction to text in two cases: all its datagrams were text and are long enough together, or so much
// text followed other datagrams that it cannot be ciphertext.
func (s *udpLayer) textDatagram(side Side, b []byte) {
	const least, afterOthers = 16, 64 // bytes
	st, n, opaque := &s.sides[side], &s.udp.text[side], &s.udp.opaque[side]
	kind := KindText
	switch b = b[:min(len(b), protocols.SampleSize)]; {
	case protocols.CountNonText(b) == 0:
		if !*opaque || len(b) >= least {
			*n += len(b)
		}
	case textTail(b):
		*n += len(b) / 2
	default:
		*n, *opaque = max(*n-len(b), 0), true
	}

	switch {
	case *opaque && *n < afterOthers:
		kind = KindUnreadable
	case *n < protocols.MinText:
		return
	}

	if kind != st.kind && st.kind != KindText {
		st.kind = kind
		s.revision++
	}
}
