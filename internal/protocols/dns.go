package protocols

import (
	"encoding/binary"
)

// Recognizers of DNS.

// dnsOverTCP recognizes a message that follows its length (RFC 7766 section 8).
func dnsOverTCP(b []byte) Match {
	if len(b) < 19 {
		if len(b) > 0 && b[0] > 16 || len(b) > 4 && b[4]&0x78 > 0x28 || len(b) > 7 && (b[6] != 0 || b[7] > 8) || len(b) > 8 && b[8] > 1 {
			return No
		}
		return More
	}
	size := int(b[0])<<8 | int(b[1])
	if size < 17 {
		return No
	}
	return DNSMessage(b[2:min(len(b), 2+size)], size)
}

// DNSMessage recognizes a query, or a response that has a question or comes from multicast DNS (RFC 1035 section 4.1). size is the length
// of the message in bytes; b has its beginning.
func DNSMessage(b []byte, size int) Match {
	if len(b) < 12 {
		return More
	}
	answers, authority, additional := binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	query := b[2]&0x80 == 0
	if b[4] == 0 && b[5] == 0 {
		return dnsAnswer(b, answers)
	}
	questions := int(b[5])
	if b[4] != 0 || questions > 8 || b[2]&0x78 > 0x28 || b[3]&0x40 != 0 || authority > 64 || additional > 64 || answers > 512 || query && (answers > 1 || b[3]&0x0f != 0) {
		return No
	}
	i := 12
	for i < len(b) && b[i] != 0 {
		if b[i] > 63 || i > 12+255 {
			return No
		}
		i += int(b[i]) + 1
	}

	if i+5 > len(b) {
		if len(b) < size && len(b) < 300 {
			return More
		}
		return No
	}

	// After the name come QTYPE and QCLASS. The class is IN, CH, HS or any; multicast DNS may set its top bit. A query without
	// records ends there.
	class := b[i+4]
	if b[i+1] == 0 && b[i+2] == 0 {
		return No // type 0 is reserved
	}
	if b[i+1] > 1 && b[i+1] != 0x80 && b[i+1] != 0xff || b[i+3]&0x7f != 0 || class != 1 && class != 3 && class != 4 && class != 255 {
		return No
	}
	if records := answers + authority + additional; query && (records == 0 && questions == 1 && i+5 != size || i+5+int(records)*11+(questions-1)*5 > size) {
		return No
	}
	return Yes
}

// dnsAnswer recognizes a response without a question, as multicast DNS sends it (RFC 6762 section 6): it is authoritative, and its first
// record is well-formed.
func dnsAnswer(b []byte, answers uint16) Match {
	if b[2] != 0x84 || b[3] != 0 || answers == 0 || answers > 64 {
		return No
	}
	i := 12
	for i < len(b) && b[i] != 0 && b[i] < 0xc0 {
		if b[i] > 63 || i > 12+255 {
			return No
		}
		i += int(b[i]) + 1
	}
	if i < len(b) && b[i] >= 0xc0 {
		i++
	}
	if i+11 > len(b) {
		return No
	}
	// TYPE; CLASS, perhaps with the top bit of multicast DNS; TTL, less than 195 days; RDLENGTH
	if b[i+1] != 0 || b[i+3]&0x7f != 0 || b[i+4] != 1 || b[i+5] > 0 && b[i+5] != 0xff || int(b[i+9])<<8|int(b[i+10]) > len(b)-i-11 {
		return No
	}
	return Yes
}
