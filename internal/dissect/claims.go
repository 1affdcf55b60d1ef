package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// One end alone can send what looks like TLS or SSH: the other may speak plaintext and
// ignore it. So what one end sends is a claim until the other's bytes bear it out, and a
// claim that the same end's later bytes refute was none.

// minProtected is the least size of a protected record: a tag of 8 bytes and the type
// within (RFC 8446 section 5.2, RFC 6655). Records of TLS 1.2 are larger.
const minProtected = 9

// telling reports whether a record of a type and length is one that TLS sends: records of
// application data that are too small for ciphertext count as nothing.
func telling(typ byte, length int) bool {
	return typ != wire.ContentApplicationData && typ != wire.ContentHeartbeat || length >= minProtected
}

// claims reports whether a side's bytes look encrypted, or announced that, which the other
// side's have to bear out.
func (k Kind) claims() bool { return k == KindTLS || k == KindGreeting || k == KindEncrypted }

// answered reports whether both hellos of a handshake were seen. t may be nil.
func (t *TLS) answered() bool { return t != nil && t.Hello != nil && t.Server != nil }

// recognizeAnew looks for a protocol where a direction ceased to be what it seemed: at held, whose
// bytes stand before data, and data, which stands at offset.
func (s *Session) recognizeAnew(side Side, offset int64, held, data []byte, ack int64) {
	st := &s.sides[side]
	st.kind, st.protocol, st.upgrades = KindNone, "", false
	st.p.asked, st.p.maybe = 0, maybes{}
	s.release(&st.p.head)
	s.revision++
	if len(held) > 0 {
		data, offset = append(append(make([]byte, 0, len(held)+len(data)), held...), data...), offset-int64(len(held))
	}
	s.recognize(side, offset, data, ack)
}

// concludeReplies decides what a few bytes were that answer a hello, records or a banner,
// or follow them, and are none themselves. Where nothing but ciphertext of the same kind
// could follow, text needs no minimum.
func (s *Session) concludeReplies() {
	for i := range s.sides {
		st, other := &s.sides[i], &s.sides[Side(i).Other()]
		claimed := s.tls != nil || other.kind.claims()
		switch {
		case !claimed || st.kind != KindNone || st.p == nil:
		case s.udp != nil:
			if s.udp.text[i] > 0 {
				st.kind, st.clearAck = KindText, max(st.clearAck, 1)
			}
		case !s.Unknown(Side(i)) || protocols.SSHBanner(st.p.head) == protocols.More:
		case protocols.CountNonText(st.p.head) == 0 && !s.handshaking(Side(i)):
			st.kind = KindText
		default:
			st.kind = KindUnreadable
		}
	}
}

// Unknown reports whether a side sent what is nothing known, or not known yet, and cannot be
// TLS.
func (s *Session) Unknown(side Side) bool {
	st := &s.sides[side]
	if st.kind == KindNone && st.p != nil && len(st.p.head) > 0 {
		return sniffTLS(st.p.head) == protocols.No
	}
	return st.kind == KindUnreadable
}
