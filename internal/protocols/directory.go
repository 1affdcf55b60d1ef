package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of directories and authentication: LDAP, Kerberos and RADIUS.

// berMessage returns the protocolOp tag of an LDAPMessage (RFC 4511 section 4.1.1), and the size of the message in bytes.
func berMessage(b []byte) (op byte, size int, a Match) {
	if len(b) > 0 && b[0] != 0x30 {
		return 0, 0, No
	}
	if len(b) < 2 {
		return 0, 0, More
	}
	i, n := 2, int(b[1])
	if b[1]&0x80 != 0 {
		i += int(b[1] & 0x7f)
		if i == 2 || i > 6 {
			return 0, 0, No
		}
		if len(b) < i {
			return 0, 0, More
		}
		n = 0
		for _, c := range b[2:i] {
			n = n<<8 | int(c)
		}
	}

	if n < 5 || n > 16<<20 {
		return 0, 0, No
	}
	size = i + n
	if len(b) < i+2 {
		return 0, 0, More
	}
	if b[i] != 2 || b[i+1] < 1 || b[i+1] > 4 {
		return 0, 0, No
	}
	i += 2 + int(b[i+1])
	if len(b) <= i {
		return 0, 0, More
	}
	return b[i], size, Yes
}

// ldapRequest recognizes a bind, a search or an extended request. Other requests only give Maybe.
func ldapRequest(b []byte) Match {
	op, size, a := berMessage(b)
	if a != Yes {
		return a
	}
	switch op {
	case 0x60, 0x63, 0x77: // bindRequest, searchRequest, extendedReq
		if size == len(b) || len(b) > size && b[size] == 0x30 {
			return Yes
		}
		if size > len(b) && len(b) < 64 {
			return More
		}
		return Maybe
	case 0x42, 0x66, 0x68, 0x4a, 0x6c, 0x6e, 0x50:
		return Maybe
	}
	return No
}

// ldapResponse recognizes a response by its protocolOp.
func ldapResponse(b []byte) Match {
	op, _, a := berMessage(b)
	if a != Yes {
		return a
	}
	switch op {
	case 0x61, 0x64, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, 0x73, 0x78:
		return Yes
	}
	return No
}

// kerberosOverTCP recognizes a message that follows its length (RFC 4120 section 7.2.2).
func kerberosOverTCP(b []byte) Match {
	if b[0] != 0 || len(b) > 1 && b[1] != 0 || len(b) > 4 && (b[4] < 0x6a || b[4] > 0x7e) {
		return No
	}
	if len(b) < 24 {
		return More
	}
	if size := binary.BigEndian.Uint32(b); size < 40 || size > 1<<16 {
		return No
	}
	return kerberosMessage(b[4:])
}

// kerberosMessage recognizes a request to the KDC, a reply or an error by its application tag, version 5 and message type (RFC 4120 section
// 5.4).
func kerberosMessage(b []byte) Match {
	if len(b) < 20 || b[0] != 0x6a && b[0] != 0x6b && b[0] != 0x6c && b[0] != 0x6d && b[0] != 0x7e {
		return No
	}
	typ := b[0] & 0x1f
	head := b[1:20]
	request, reply := [...]byte{0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, typ}, [...]byte{0xa0, 3, 2, 1, 5, 0xa1, 3, 2, 1, typ}
	if bytes.Contains(head, request[:]) || bytes.Contains(head, reply[:]) {
		return Yes
	}
	return No
}

// radiusMessage recognizes a packet that fills the datagram and whose attributes fill the packet (RFC 2865 section 3). Yes needs three
// attributes or a readable User-Name; otherwise the result is Maybe.
func radiusMessage(b []byte) Match {
	if len(b) < 20 || int(binary.BigEndian.Uint16(b[2:])) != len(b) || b[0] == 0 || b[0] > 13 && (b[0] < 40 || b[0] > 45) {
		return No
	}
	attributes, named := 0, false
	for rest := b[20:]; len(rest) > 0; attributes++ {
		if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
			return No
		}
		named = named || rest[0] == 1 && rest[1] > 5 && printable(rest[2:rest[1]])
		rest = rest[rest[1]:]
	}
	if attributes >= 3 || named {
		return Yes
	}
	return Maybe
}
