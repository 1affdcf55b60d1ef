package dissect

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of directories, proxies, remote desktops and DNS.

// berMessage returns the protocolOp tag of an LDAPMessage (RFC 4511 section 4.1.1), and
// how long the message is on the wire.
func berMessage(b []byte) (op byte, size int, a answer) {
	if len(b) > 0 && b[0] != 0x30 {
		return 0, 0, no
	}
	if len(b) < 2 {
		return 0, 0, more
	}
	i, n := 2, int(b[1])
	if b[1]&0x80 != 0 {
		i += int(b[1] & 0x7f)
		if i == 2 || i > 6 {
			return 0, 0, no
		}
		if len(b) < i {
			return 0, 0, more
		}
		n = 0
		for _, c := range b[2:i] {
			n = n<<8 | int(c)
		}
	}
	if n < 5 || n > 16<<20 {
		return 0, 0, no
	}
	size = i + n
	if len(b) < i+2 {
		return 0, 0, more
	}
	if b[i] != 2 || b[i+1] < 1 || b[i+1] > 4 {
		return 0, 0, no
	}
	i += 2 + int(b[i+1])
	if len(b) <= i {
		return 0, 0, more
	}
	return b[i], size, yes
}

// ldapRequest: a bind with its version, a search with its base, or an extended request
// with its OID; other requests are weak.
func ldapRequest(b []byte) answer {
	op, size, a := berMessage(b)
	if a != yes {
		return a
	}
	switch op {
	case 0x60, 0x63, 0x77: // bindRequest, searchRequest, extendedReq
		if size == len(b) || len(b) > size && b[size] == 0x30 {
			return yes
		}
		if size > len(b) && len(b) < 64 {
			return more
		}
		return maybe
	case 0x42, 0x66, 0x68, 0x4a, 0x6c, 0x6e, 0x50:
		return maybe
	}
	return no
}

func ldapResponse(b []byte) answer {
	op, _, a := berMessage(b)
	if a != yes {
		return a
	}
	switch op {
	case 0x61, 0x64, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, 0x73, 0x78:
		return yes
	}
	return no
}

// rdpRequest: a TPKT with an X.224 Connection Request (MS-RDPBCGR section 2.2.1.1).
func rdpRequest(b []byte) answer { return tpkt(b, 0xe0) }
func rdpConfirm(b []byte) answer { return tpkt(b, 0xd0) }

func tpkt(b []byte, code byte) answer {
	if a := prefix(b, "\x03\x00"); a != yes {
		return a
	}
	if len(b) < 11 {
		return more
	}
	size := int(b[2])<<8 | int(b[3])
	if b[5] == code && size >= 11 && size < 512 && int(b[4])+5 == size && b[6] == 0 && b[7] == 0 && len(b) <= size {
		return yes
	}
	return no
}

// socks5Methods: version, count, methods, and no more (RFC 1928 section 3).
func socks5Methods(b []byte) answer {
	if a := prefix(b, "\x05"); a != yes {
		return a
	}
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return more
	}
	if b[1] == 0 || len(b) > 2+int(b[1]) {
		return no
	}
	return yes
}

// socks5Choice: version and the method chosen, perhaps with the reply to the request
// behind it.
func socks5Choice(b []byte) answer {
	if a := prefix(b, "\x05"); a != yes {
		return a
	}
	if len(b) < 2 {
		return more
	}
	if b[1] > 2 && b[1] != 0xff || len(b) > 2 && b[2] != 5 && b[2] != 1 {
		return no
	}
	return yes
}

// socks4Request: version 4, CONNECT or BIND, a port, an address, a user ending with a
// NUL, and in SOCKS4a a name that does.
func socks4Request(b []byte) answer {
	if a := anyOf("\x04\x01", "\x04\x02")(b); a != yes {
		return a
	}
	if len(b) < 9 {
		return more
	}
	nuls := 1
	if b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] != 0 {
		nuls = 2
	}
	if len(b) > 600 {
		return no
	}
	for i, c := range b[8:] {
		switch {
		case c == 0:
			if nuls--; nuls == 0 {
				if i+9 == len(b) {
					return yes
				}
				return no
			}
		case c < 0x20 || c > 0x7e:
			return no
		}
	}
	return more
}

// socks4Reply: version 0, a code from 90 to 93, port and address.
func socks4Reply(b []byte) answer {
	if len(b) > 0 && b[0] != 0 || len(b) > 1 && (b[1] < 90 || b[1] > 93) || len(b) > 8 {
		return no
	}
	if len(b) < 8 {
		return more
	}
	return yes
}

// dnsOverTCP: a length and a message of that length (RFC 7766 section 8).
func dnsOverTCP(b []byte) answer {
	if len(b) < 19 {
		if len(b) > 0 && b[0] > 16 || len(b) > 4 && b[4]&0x78 > 0x28 || len(b) > 7 && (b[6] != 0 || b[7] > 8) || len(b) > 8 && b[8] > 1 {
			return no
		}
		return more
	}
	size := int(b[0])<<8 | int(b[1])
	if size < 17 {
		return no
	}
	return dnsMessage(b[2:min(len(b), 2+size)], size)
}

// dnsMessage: a DNS query or response with a question, of size bytes of which b holds
// the first (RFC 1035 section 4.1).
func dnsMessage(b []byte, size int) answer {
	if len(b) < 12 {
		return more
	}
	answers, authority, additional := binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	query := b[2]&0x80 == 0
	if b[4] == 0 && b[5] == 0 {
		return dnsAnswer(b, answers)
	}
	questions := int(b[5])
	if b[4] != 0 || questions > 8 || b[2]&0x78 > 0x28 || b[3]&0x40 != 0 || authority > 64 || additional > 64 || answers > 512 || query && (answers > 1 || b[3]&0x0f != 0) {
		return no
	}
	i := 12
	for i < len(b) && b[i] != 0 {
		if b[i] > 63 || i > 12+255 {
			return no
		}
		i += int(b[i]) + 1
	}
	if i+5 > len(b) {
		if len(b) < size && len(b) < 300 {
			return more
		}
		return no
	}
	// QTYPE and QCLASS behind the name: a class of IN, CH, HS or any, mDNS's top bit
	// aside; a query without records ends there.
	class := b[i+4]
	if b[i+1] == 0 && b[i+2] == 0 {
		return no // no type
	}
	if b[i+1] > 1 && b[i+1] != 0x80 && b[i+1] != 0xff || b[i+3]&0x7f != 0 || class != 1 && class != 3 && class != 4 && class != 255 {
		return no
	}
	if records := answers + authority + additional; query && (records == 0 && questions == 1 && i+5 != size || i+5+int(records)*11+(questions-1)*5 > size) {
		return no
	}
	return yes
}

// dnsAnswer: a response without a question, as multicast DNS sends (RFC 6762 section
// 6): an authoritative answer whose first record is of a sane form.
func dnsAnswer(b []byte, answers uint16) answer {
	if b[2] != 0x84 || b[3] != 0 || answers == 0 || answers > 64 {
		return no
	}
	i := 12
	for i < len(b) && b[i] != 0 && b[i] < 0xc0 {
		if b[i] > 63 || i > 12+255 {
			return no
		}
		i += int(b[i]) + 1
	}
	if i < len(b) && b[i] >= 0xc0 {
		i++
	}
	if i+11 > len(b) {
		return no
	}
	// TYPE, CLASS with mDNS's top bit, TTL of less than 49 days, RDLENGTH
	if b[i+1] != 0 || b[i+3]&0x7f != 0 || b[i+4] != 1 || b[i+5] > 0 && b[i+5] != 0xff || int(b[i+9])<<8|int(b[i+10]) > len(b)-i-11 {
		return no
	}
	return yes
}

const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// proxyHeader returns the size of a PROXY protocol header of version 1 or 2 that b
// begins with: what follows it is the connection proper
// (haproxy.org/download/3.0/doc/proxy-protocol.txt).
func proxyHeader(b []byte) (size int, a answer) {
	if a := anyOf(proxyV1, proxyV2)(b); a != yes {
		return 0, a
	}
	if b[0] == 'P' {
		end := bytes.IndexByte(b[:min(len(b), 108)], '\n')
		switch {
		case end < 0 && len(b) >= 108, end > 0 && b[end-1] != '\r':
			return 0, no
		case end < 0:
			return 0, more
		}
		return end + 1, yes
	}
	if len(b) < 16 {
		return 0, more
	}
	size = 16 + int(b[14])<<8 + int(b[15])
	switch {
	case b[12]>>4 != 2 || size > maxHead:
		return 0, no
	case len(b) < size:
		return 0, more
	}
	return size, yes
}
