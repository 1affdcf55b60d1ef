package protocols

import (
	"bytes"
	"encoding/binary"
)

// Message is the kind of a message of a protocol that can encrypt by its own means.
type Message uint8

// Kinds of messages.
const (
	MessageUnknown     Message = iota // not a message of the protocol, or too short to decide
	MessageNegotiation                // part of a negotiation, or undecided
	MessagePlain                      // plaintext of an application
	MessageSealed                     // encrypted
)

// MessageOf returns the kind of the message at the start of b and its size in bytes. A size of at most 0 means that the message's end is
// unknown. framed reports whether both ends have sealed messages and b is known to be the start of a message. Only then are sealed
// messages of LDAP and PostgreSQL recognized.
func MessageOf(protocol string, b []byte, framed bool) (size int, m Message) {
	switch protocol {
	case "smb":
		return smbKind(b)
	case "dcerpc":
		return rpcKind(b)
	case "oncrpc":
		return oncKind(b)
	case "rdp":
		if rdpUnsealed(b) {
			return 0, MessagePlain
		}
	case "ldap", "postgresql":
		switch {
		case !framed:
			return len(b), MessageNegotiation
		case protocol == "ldap":
			return ldapKind(b)
		}
		return postgresKind(b)
	}
	return len(b), MessageSealed
}

// smbKind classifies messages of SMB by their command. Negotiation, session setup and tree connect are in plaintext before encryption
// begins (MS-SMB2 section 3.2.4.1.8).
func smbKind(b []byte) (size int, m Message) {
	if len(b) < 18 || smbMessage(b) != Yes {
		return 0, MessageUnknown
	}
	size = 4 + (int(b[1])<<16 | int(b[2])<<8 | int(b[3]))
	switch b[4] {
	case 0xfd:
		return size, MessageSealed
	case 0xfc:
		return size, MessagePlain // compressed
	case 0xff: // negotiate, session setup, tree connect and disconnect, logoff
		if c := b[8]; c >= 0x70 && c <= 0x75 {
			return size, MessageNegotiation
		}
		return size, MessagePlain
	}
	switch c := binary.LittleEndian.Uint16(b[16:]); { // CREATE to LOCK, QUERY_DIRECTORY to SET_INFO
	case c >= 5 && c <= 10, c >= 14 && c <= 17:
		return size, MessagePlain
	}
	return size, MessageNegotiation
}

// rpcKind classifies DCE-RPC requests and responses by their security trailers.
func rpcKind(b []byte) (size int, m Message) {
	if len(b) < 16 || rpcMessage(b) < More {
		return 0, MessageUnknown
	}
	size, auth := rpcSizes(b)
	switch {
	case b[2] != 0 && b[2] != 2:
		return size, MessageNegotiation
	case auth == 0:
		return size, MessagePlain
	case auth+24 > size || size > len(b):
		return size, MessageNegotiation // the trailer is in a later segment
	case b[size-auth-7] == 6:
		return size, MessageSealed
	}
	return size, MessagePlain
}

// oncKind classifies messages of ONC RPC. Only a call of a procedure other than 0 without RPCSEC_GSS counts as plaintext. Calls of
// RPCSEC_GSS that are only integrity-protected count as negotiation: a client of NFS with encryption renews its lease by such calls.
func oncKind(b []byte) (size int, m Message) {
	if len(b) < 28 {
		return 0, MessageUnknown
	}
	size = 4 + int(binary.BigEndian.Uint32(b)&0x7fffffff)
	switch {
	case oncSealed(b) == Yes:
		return size, MessageSealed
	case oncCall(b) == Yes:
		if procedure := binary.BigEndian.Uint32(b[24:]); len(b) >= 32 && procedure != 0 && binary.BigEndian.Uint32(b[28:]) != 6 {
			return size, MessagePlain
		}
		return size, MessageNegotiation
	case oncReply(b) == Yes:
		return size, MessageNegotiation
	}
	return 0, MessageUnknown
}

// ldapKind classifies messages of LDAP and buffers of a security layer of SASL.
func ldapKind(b []byte) (size int, m Message) {
	if op, size, a := berMessage(b); a == Yes {
		if op == 0x60 || op == 0x61 {
			return size, MessageNegotiation
		}
		return size, MessagePlain
	}
	return buffer(b)
}

// postgresKind classifies messages of PostgreSQL and buffers of GSSAPI encryption.
func postgresKind(b []byte) (size int, m Message) {
	for _, f := range [...]func([]byte) Match{postgresStartup, postgresAuth, postgresQuery, postgresReply} {
		if f(b) == Yes {
			return 0, MessagePlain
		}
	}
	return buffer(b)
}

// buffer classifies a message that consists of a length of four bytes and ciphertext.
func buffer(b []byte) (size int, m Message) {
	if len(b) < 4 || b[0] != 0 {
		return 0, MessageUnknown
	}
	return 4 + int(binary.BigEndian.Uint32(b)), MessageSealed
}

// rdpUnsealed reports whether the security data of RDP's server selects no encryption, or none for the server's own messages: the method
// NONE or the level LOW (MS-RDPBCGR section 2.2.1.4.3). With TLS the server also selects NONE, but sends this data encrypted.
func rdpUnsealed(b []byte) bool {
	const longest = 1024
	at := bytes.Index(b[:min(len(b), longest)], []byte("\x02\x0c"))
	if at < 0 || at+12 > len(b) {
		return false
	}
	size, method, level := binary.LittleEndian.Uint16(b[at+2:]), binary.LittleEndian.Uint32(b[at+4:]), binary.LittleEndian.Uint32(b[at+8:])
	return size >= 12 && size < 1<<12 && (method == 0 && level == 0 || (method == 1 || method == 2 || method == 8) && level == 1)
}
