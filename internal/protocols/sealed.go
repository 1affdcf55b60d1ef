package protocols

import (
	"bytes"
	"encoding/binary"
)

// Seals reports whether a protocol can negotiate encryption of its own (sealed messages). The negotiation is in plaintext and does not
// prove that encryption follows.
func Seals(protocol string) bool {
	switch protocol {
	case "ldap", "postgresql", "smtp", "imap", "pop3", "sieve", "acap", "smb", "dcerpc", "oncrpc", "tns", "rdp", "rfb", "telnet":
		return true
	}
	return false
}

// IsSealed reports whether b, a segment of a protocol, begins with a sealed message or announces that sealed messages follow. LDAP and mail
// with a security layer of SASL (RFC 4422 section 3.7) and PostgreSQL with GSSAPI encryption send buffers of ciphertext, each after its
// length.
func IsSealed(protocol string, b []byte) bool {
	switch protocol {
	case "rdp":
		return rdpSealed(b)
	case "rfb": // the client selects a security type of RealVNC, RA2 with 256 bits
		return len(b) == 1 && (b[0] == 129 || b[0] == 133)
	case "telnet": // ENCRYPT, IS START (RFC 2946)
		return bytes.Contains(b[:min(len(b), SampleSize)], []byte("\xff\xfa\x26\x03"))
	case "smb":
		return smbSealed(b) == Yes
	case "dcerpc":
		return rpcSealed(b) == Yes
	case "oncrpc":
		return oncSealed(b) == Yes || oncReply(b) == Yes && b[19] == 6
	case "tns":
		return tnsEncrypts(b)
	}
	return sealedBuffers(b)
}

// rdpSealed reports whether the data of a channel is encrypted by RDP's own security: b is an MCS request or indication, and its security
// header has the flag for encryption (MS-RDPBCGR section 2.2.8.1.1.2.1).
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
	kinds := b[at] & (0x01 | 0x40 | 0x80) // security exchange, client information, license
	return b[at]&encrypt != 0 && kinds&(kinds-1) == 0 && b[at+1]&^(checksum|high|0x12) == 0 && (b[at+1]&high != 0 || b[at+2]|b[at+3] == 0)
}

// tnsEncrypts reports whether Oracle's server selected an algorithm of native network encryption: b is a data packet with the magic of the
// negotiation, in which service 2 has an algorithm other than 0. The selection is valid for both ends.
func tnsEncrypts(b []byte) bool {
	const service = "\x00\x02\x00\x02\x00\x00\x00\x00\x00\x04\x00\x05"
	if len(b) < 16 || b[4] != 6 || string(b[10:14]) != "\xde\xad\xbe\xef" {
		return false
	}
	at := bytes.Index(b[:min(len(b), 1024)], []byte(service)) + len(service) + 4
	return at >= len(service)+4 && at+5 <= len(b) && string(b[at:at+4]) == "\x00\x01\x00\x02" && b[at+4] != 0
}

// Evident reports whether a sealed message of a protocol can be recognized by itself. In other protocols a sealed message looks like any
// buffer after its length, so it counts only if both ends have sent such buffers.
func Evident(protocol string) bool {
	switch protocol {
	case "smb", "dcerpc", "oncrpc", "tns", "rdp", "rfb", "telnet":
		return true
	}
	return false
}

// sealedBuffers reports whether b consists of buffers of ciphertext, each after a length of four bytes. The buffers fill b, or the last one
// continues in the next segment. A Kerberos token without the Sealed flag (RFC 4121 section 4.2.6.2) does not count. A readable LDAP
// message, which is only integrity-protected, does not count either: it follows NTLM's signature of 16 bytes, or precedes the signature of
// DIGEST-MD5 (RFC 2831 section 2.3).
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

// unsealed reports whether a buffer's content is readable, or establishes a security context.
func unsealed(b []byte) bool {
	const signature = 16
	token := len(b) >= 16 && b[0] == 5 && b[1] == 4 && b[3] == 0xff
	if token {
		return b[2]&2 == 0
	}
	if gssToken(b) {
		return true
	}
	if _, _, a := berMessage(b[min(len(b), signature):]); a == Yes && len(b) > signature+7 {
		return true
	}
	if _, size, a := berMessage(b); a == Yes && (size <= len(b)-signature || size > len(b)) {
		return true
	}
	return IsText(b)
}

// gssToken reports whether b begins with a token that establishes a security context of GSSAPI. The token may be a token of SPNEGO (RFC
// 4178 section 4.2), a message of NTLM, or a framed token (RFC 2743 section 3.1). A framed Kerberos wrap token with encryption (RFC 1964
// section 1.2.2) does not count.
func gssToken(b []byte) bool {
	const kerberos = "\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"
	if len(b) < 16 {
		return false
	}
	if string(b[:8]) == "NTLMSSP\x00" {
		return true
	}
	if b[0] != 0x60 && b[0] != 0xa1 || b[1] != 0x81 && b[1] != 0x82 && int(b[1])+2 != len(b) {
		return false
	}
	at := bytes.Index(b[:16], []byte(kerberos))
	if at < 0 {
		return true
	}
	inner := b[at+len(kerberos):]
	return len(inner) < 6 || inner[0] != 2 || inner[1] != 1 || inner[4] == 0xff
}
