package dissect

import (
	"bytes"
	"encoding/binary"
)

// seals reports whether a protocol's negotiation can lead to encryption of its own. What
// was negotiated in plaintext does not say what follows.
func seals(protocol string) bool {
	switch protocol {
	case "ldap", "postgresql", "smtp", "imap", "pop3", "sieve", "acap", "smb", "dcerpc", "oncrpc", "tns", "rdp", "rfb", "telnet":
		return true
	}
	return false
}

// sealedBy reports whether a segment of a protocol begins with a sealed message, or says
// that sealed ones follow. SASL's layers, which LDAP and mail have (RFC 4422 section 3.7),
// and PostgreSQL's GSSAPI encryption are buffers behind their length.
func sealedBy(protocol string, b []byte) bool {
	switch protocol {
	case "rdp":
		return rdpSealed(b)
	case "rfb": // the client chooses RealVNC's RA2 with 256 bits
		return len(b) == 1 && (b[0] == 129 || b[0] == 133)
	case "telnet": // ENCRYPT, IS START (RFC 2946)
		return bytes.Contains(b[:min(len(b), sampled)], []byte("\xff\xfa\x26\x03"))
	case "smb":
		return smbSealed(b) == yes
	case "dcerpc":
		return rpcSealed(b) == yes
	case "oncrpc":
		return oncSealed(b) == yes || oncReply(b) == yes && b[19] == 6
	case "tns":
		return tnsEncrypts(b)
	}
	return sealedBuffers(b)
}

// rdpSealed reports whether data of a channel is encrypted by RDP's own security: an MCS
// request or indication whose security header says so (MS-RDPBCGR section 2.2.8.1.1.2.1).
func rdpSealed(b []byte) bool {
	if len(b) < 16 || b[0] != 3 || b[4] != 2 || b[5] != 0xf0 || b[7] != 0x64 && b[7] != 0x68 {
		return false
	}
	at := 14
	if b[13]&0x80 != 0 {
		at++
	}
	if len(b) < at+4 {
		return false
	}
	const encrypt, checksum, high = 0x08, 0x08, 0x80
	kinds := b[at] & (0x01 | 0x40 | 0x80) // a security exchange, a client's information, a license
	return b[at]&encrypt != 0 && kinds&(kinds-1) == 0 && b[at+1]&^(checksum|high|0x12) == 0 && (b[at+1]&high != 0 || b[at+2]|b[at+3] == 0)
}

// tnsEncrypts reports whether Oracle's server chose an algorithm of native network
// encryption: a data packet with the magic of the negotiation and, of service 2, an
// algorithm that is not 0. The server's word is for both ends.
func tnsEncrypts(b []byte) bool {
	const service = "\x00\x02\x00\x02\x00\x00\x00\x00\x00\x04\x00\x05"
	if len(b) < 16 || b[4] != 6 || string(b[10:14]) != "\xde\xad\xbe\xef" {
		return false
	}
	at := bytes.Index(b[:min(len(b), 1024)], []byte(service)) + len(service) + 4
	return at >= len(service)+4 && at+5 <= len(b) && string(b[at:at+4]) == "\x00\x01\x00\x02" && b[at+4] != 0
}

// sealsWithin is mayUpgradeWithin for a protocol that seals and is not mail: its
// negotiation takes some kilobytes.
const sealsWithin = 8 << 10

// evident reports whether a sealed message of a protocol says that it is one. Buffers
// behind a length alone do not: it takes both ends.
func evident(protocol string) bool {
	switch protocol {
	case "smb", "dcerpc", "oncrpc", "tns", "rdp", "rfb", "telnet":
		return true
	}
	return false
}

// sealing looks for a sealed message at the start of a direction's segment. The
// connection is encrypted once both ends have sent one.
func (s *Session) sealing(side Side, data []byte) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	if s.watchSealed(side, data) || st.sealed || !sealedBy(st.protocol, data) {
		return
	}
	st.sealed = true
	other.sealed = other.sealed || st.protocol == "tns" || st.protocol == "rfb"
	for _, x := range []*stream{st, other} {
		if x.sealed && (s.Sealed() || evident(x.protocol)) {
			x.kind, x.upgrades = KindEncrypted, false
		}
	}
	s.plainFrom = max(s.plainFrom, s.sides[0].seen+s.sides[1].seen)
	s.revision++
}

// MayTurn reports whether TLS, or the protocol's own encryption, may follow the plaintext.
func (s *Session) MayTurn() bool {
	if s.MayUpgrade() {
		return true // which LDAP, PostgreSQL and mail can, where they can seal
	}
	for i := range s.sides {
		if p := s.sides[i].protocol; seals(p) && evident(p) {
			return true
		}
	}
	return false
}

// Sealed reports whether the connection went on encrypted by its protocol's own means,
// whose negotiation was seen in plaintext.
func (s *Session) Sealed() bool { return s.sides[0].sealed && s.sides[1].sealed }

// sealedBuffers reports whether b is buffers of ciphertext behind their lengths of four
// bytes: they fill it, or the only one goes on behind a full segment. A Kerberos token
// that says it is not sealed (RFC 4121 section 4.2.6.2) is none, nor is one that carries
// a readable LDAP message: after NTLM's signature of 16 bytes, or before that of DIGEST-MD5
// (RFC 2831 section 2.3), which are for integrity alone.
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

// unsealed reports whether a buffer's content can be read, or establishes a context.
func unsealed(b []byte) bool {
	const signature = 16
	token := len(b) >= 16 && b[0] == 5 && b[1] == 4 && b[3] == 0xff
	if token {
		return b[2]&2 == 0
	}
	if gssToken(b) {
		return true
	}
	if _, _, a := berMessage(b[min(len(b), signature):]); a == yes && len(b) > signature+7 {
		return true
	}
	if _, size, a := berMessage(b); a == yes && (size <= len(b)-signature || size > len(b)) {
		return true
	}
	return textKind(b) == KindText
}
