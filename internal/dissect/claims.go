package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// A single end can send bytes that look like TLS or SSH while the other end ignores them and speaks plaintext. Therefore the bytes of one
// end are only a claim until the other end's bytes confirm it. Later bytes of the same end can refute the claim.

// minProtected is the least length of a protected record: a tag of 8 bytes and the inner type (RFC 8446 section 5.2, RFC 6655). Records of
// TLS 1.2 are longer.
const minProtected = 9

// telling reports whether a record of a type and length is evidence of TLS. Application data and heartbeats that are too small for
// ciphertext are not evidence.
func telling(typ byte, length int) bool {
	return typ != wire.ContentApplicationData && typ != wire.ContentHeartbeat || length >= minProtected
}

// claims reports whether bytes of this kind look encrypted or announce encryption. This is only a claim, which the other side must confirm.
func (k Kind) claims() bool { return k == KindTLS || k == KindGreeting || k == KindEncrypted }

// answered reports whether both hellos of a handshake were seen. t may be nil.
func (t *TLS) answered() bool { return t != nil && t.Hello != nil && t.Server != nil }

// recognizeAnew recognizes a direction again, after its earlier bytes were taken for the wrong protocol. The bytes of held come directly
// before data, which is at offset.
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

// concludeReplies decides the kind of a side that has sent only a few bytes, if the connection or the other side looks like TLS, SSH or
// other encryption. An encrypted answer would be in the same protocol. Therefore any other answer that is text is plaintext, however short
// it is.
func (s *recognition) concludeReplies() {
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

// Unknown reports whether the bytes of a side cannot be TLS and no other protocol has been recognized in them.
func (s *streams) Unknown(side Side) bool {
	st := &s.sides[side]
	if st.kind == KindNone && st.p != nil && len(st.p.head) > 0 {
		return sniffTLS(st.p.head) == protocols.No
	}
	return st.kind == KindUnreadable
}
