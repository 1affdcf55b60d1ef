package dissect

import (
	"bytes"
	"encoding/binary"
)

// What a protocol seals by its own means shows in messages; that one was sealed does not
// say that all are: SMB encrypts by share, ONC RPC and DCE-RPC by call. So a connection
// that is encrypted is looked at further, and one message of an application in plaintext
// makes it plaintext. What negotiates comes in plaintext of necessity and is none.

// sealedWatch is how much of a connection that is encrypted is looked at, in bytes of
// both directions together, at most maxUpgrade of each.
const sealedWatch = 2 * maxUpgrade

// message is what a message of a protocol that seals is.
type message uint8

const (
	messageNone  message = iota // none of the protocol, or too short to tell
	messageTalk                 // negotiation, or what cannot be told
	messageClear                // an application's, in plaintext
	messageSealed
)

// watch follows the messages of one direction of a protocol that seals.
type watch struct {
	left  int  // bytes of the current message still to come
	reads bool // which is sealed, or none of the protocol: text in it is plaintext
	blind bool // bytes were not seen: only the start of a segment tells
	text  textRun
}

// lose notes that bytes of a direction were not seen.
func (w *watch) lose() { *w = watch{blind: true} }

// watchSealed looks for plaintext of an application in a direction's next bytes. It
// reports whether there is any, also before.
func (s *Session) watchSealed(side Side, data []byte) bool {
	st := &s.sides[side]
	w := &st.p.watch
	for len(data) > 0 && !s.unsealed && st.seen <= maxUpgrade {
		if w.left == 0 || w.blind {
			s.nextMessage(side, data)
		}
		n := min(w.left, len(data))
		if s.Sealed() && w.reads && w.text.add(data[:n]) {
			s.unsealed = true
		}
		w.left -= n
		data = data[n:]
	}
	if s.unsealed {
		s.unseal()
	}
	return s.unsealed
}

// nextMessage notes what the message is that data begins with.
func (s *Session) nextMessage(side Side, data []byte) {
	w := &s.sides[side].p.watch
	size, m := s.messageOf(side, data)
	if m == messageClear {
		s.unsealed = true
	}
	w.left, w.reads = size, !w.blind && m != messageTalk
	switch {
	case m == messageNone || size <= 0:
		w.left = len(data)
	case m == messageSealed:
		w.text.reset()
	default:
	}
}

// unseal takes back that the directions are encrypted.
func (s *Session) unseal() {
	for i := range s.sides {
		st := &s.sides[i]
		if st.kind == KindEncrypted {
			st.kind = KindPlain
		}
		st.sealed = false
	}
	s.revision++
}

// messageOf returns the size of the message that b begins with, and what it is.
func (s *Session) messageOf(side Side, b []byte) (size int, m message) {
	st := &s.sides[side]
	switch st.protocol {
	case "smb":
		return smbKind(b)
	case "dcerpc":
		return rpcKind(b)
	case "oncrpc":
		return oncKind(b)
	case "rdp":
		if rdpUnsealed(b) {
			return 0, messageClear
		}
	case "ldap", "postgresql":
		if !s.Sealed() || st.p.watch.blind {
			return len(b), messageTalk
		}
		if st.protocol == "ldap" {
			return ldapKind(b)
		}
		return postgresKind(b)
	}
	return len(b), messageSealed
}

// smbKind tells messages of SMB by their command: the negotiation, a session's setup and
// the connection to a share are in plaintext before encryption (MS-SMB2 section 3.2.4.1.8).
func smbKind(b []byte) (size int, m message) {
	if len(b) < 18 || smbMessage(b) != yes {
		return 0, messageNone
	}
	size = 4 + (int(b[1])<<16 | int(b[2])<<8 | int(b[3]))
	switch b[4] {
	case 0xfd:
		return size, messageSealed
	case 0xfc:
		return size, messageClear // compressed
	case 0xff: // negotiate, session setup, tree connect and disconnect, logoff
		if c := b[8]; c >= 0x70 && c <= 0x75 {
			return size, messageTalk
		}
		return size, messageClear
	}
	switch c := binary.LittleEndian.Uint16(b[16:]); { // CREATE to LOCK, QUERY_DIRECTORY to SET_INFO
	case c >= 5 && c <= 10, c >= 14 && c <= 17:
		return size, messageClear
	}
	return size, messageTalk
}

// rpcKind classifies DCE-RPC requests and responses by their security trailers.
func rpcKind(b []byte) (size int, m message) {
	if len(b) < 16 || rpcMessage(b) < more {
		return 0, messageNone
	}
	size, auth := rpcSizes(b)
	switch {
	case b[2] != 0 && b[2] != 2:
		return size, messageTalk
	case auth == 0:
		return size, messageClear
	case auth+24 > size || size > len(b):
		return size, messageTalk // the trailer is still to come
	case b[size-auth-7] == 6:
		return size, messageSealed
	}
	return size, messageClear
}

// oncKind tells calls of ONC RPC: one that is neither of a null procedure nor of
// RPCSEC_GSS is in plaintext. Integrity alone is no sign: a client of NFS that encrypts
// renews its lease so.
func oncKind(b []byte) (size int, m message) {
	if len(b) < 28 {
		return 0, messageNone
	}
	size = 4 + int(binary.BigEndian.Uint32(b)&0x7fffffff)
	switch {
	case oncSealed(b) == yes:
		return size, messageSealed
	case oncCall(b) == yes:
		if procedure := binary.BigEndian.Uint32(b[24:]); len(b) >= 32 && procedure != 0 && binary.BigEndian.Uint32(b[28:]) != 6 {
			return size, messageClear
		}
		return size, messageTalk
	case oncReply(b) == yes:
		return size, messageTalk
	}
	return 0, messageNone
}

// ldapKind tells a message of LDAP that is no bind from a buffer of SASL's layer.
func ldapKind(b []byte) (size int, m message) {
	if op, size, a := berMessage(b); a == yes {
		if op == 0x60 || op == 0x61 {
			return size, messageTalk
		}
		return size, messageClear
	}
	return buffer(b)
}

// postgresKind tells a message of PostgreSQL from a buffer of GSSAPI encryption.
func postgresKind(b []byte) (size int, m message) {
	for _, f := range [...]func([]byte) answer{postgresStartup, postgresAuth, postgresQuery, postgresReply} {
		if f(b) == yes {
			return 0, messageClear
		}
	}
	return buffer(b)
}

// buffer is a message that is nothing but its length of four bytes and ciphertext.
func buffer(b []byte) (size int, m message) {
	if len(b) < 4 || b[0] != 0 {
		return 0, messageNone
	}
	return 4 + int(binary.BigEndian.Uint32(b)), messageSealed
}

// rdpUnsealed reports whether RDP's server chose to encrypt nothing, or nothing that it
// sends itself: the method NONE, or the level low, in its security data (MS-RDPBCGR
// section 2.2.1.4.3). Under TLS it says so, too, where nobody can read it.
func rdpUnsealed(b []byte) bool {
	const longest = 1024
	at := bytes.Index(b[:min(len(b), longest)], []byte("\x02\x0c"))
	if at < 0 || at+12 > len(b) {
		return false
	}
	size, method, level := binary.LittleEndian.Uint16(b[at+2:]), binary.LittleEndian.Uint32(b[at+4:]), binary.LittleEndian.Uint32(b[at+8:])
	return size >= 12 && size < 1<<12 && (method == 0 && level == 0 || (method == 1 || method == 2 || method == 8) && level == 1)
}

// gssToken reports whether b begins a token that establishes a security context of GSSAPI:
// a framed one (RFC 2743 section 3.1) that is no Kerberos wrap token with encryption (RFC
// 1964 section 1.2.2), one of SPNEGO (RFC 4178 section 4.2), or NTLM's.
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

// watched reports whether a connection is encrypted and still looked at.
func (s *Session) watched() bool {
	return s.encrypted() && s.udp == nil && s.sides[0].seen+s.sides[1].seen <= sealedWatch
}

func (s *Session) encrypted() bool {
	return s.sides[0].kind == KindEncrypted || s.sides[1].kind == KindEncrypted
}
