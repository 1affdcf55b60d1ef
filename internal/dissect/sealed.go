package dissect

import "encoding/binary"

// seals reports whether a protocol's negotiation can lead to encryption of its own in
// buffers behind their length: SASL security layers (RFC 4422 section 3.7), which LDAP
// has with Kerberos and NTLM, and PostgreSQL's GSSAPI encryption. What was negotiated in
// plaintext does not say what follows.
func seals(protocol string) bool { return protocol == "ldap" || protocol == "postgresql" }

// sealsWithin is mayUpgradeWithin for a protocol that seals: its negotiation takes some
// kilobytes.
const sealsWithin = 8 << 10

// sealing looks for sealed buffers at the start of a direction's segment. Once both ends
// have sent one, the connection is encrypted.
func (s *Session) sealing(side Side, data []byte) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	if st.sealed || !sealedBuffers(data) {
		return
	}
	st.sealed = true
	s.plainFrom = max(s.plainFrom, s.sides[0].seen+s.sides[1].seen)
	if !other.sealed {
		return
	}
	for i := range s.sides {
		s.sides[i].kind, s.sides[i].upgrades = KindEncrypted, false
	}
	s.revision++
}

// Sealed reports whether the connection went on encrypted by its protocol's own means,
// whose negotiation was seen in plaintext.
func (s *Session) Sealed() bool { return s.sides[0].sealed && s.sides[1].sealed }

// sealedBuffers reports whether b is buffers of ciphertext behind their lengths of four
// bytes: they fill it, or the only one goes on behind a full segment. A Kerberos token
// that says it is not sealed (RFC 4121 section 4.2.6.2) is none, nor is one that carries
// a readable LDAP message behind NTLM's signature of 16 bytes.
func sealedBuffers(b []byte) bool {
	const least, full = 4 + 16, 1000
	for rest := b; ; {
		if len(rest) < least {
			return false
		}
		size := int(binary.BigEndian.Uint32(rest))
		if size < least-4 || size > 1<<24 || unsealed(rest[4:min(len(rest), 4+size)]) {
			return false
		}
		switch left := len(rest) - 4 - size; {
		case left == 0:
			return true
		case left < 0:
			return len(rest) >= full
		default:
			rest = rest[4+size:]
		}
	}
}

// unsealed reports whether a buffer's content can be read.
func unsealed(b []byte) bool {
	const signature = 16
	token := len(b) >= 16 && b[0] == 5 && b[1] == 4 && b[3] == 0xff
	if token {
		return b[2]&2 == 0
	}
	if _, _, a := berMessage(b[min(len(b), signature):]); a == yes && len(b) > signature+7 {
		return true
	}
	return textKind(b) == KindText
}
