package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of Microsoft SQL Server (TDS).

// tdsMessage recognizes a client's packet of TDS (MS-TDS section 2.2.3): PRELOGIN, LOGIN7 and SQL batches by their contents. Other packets
// only give Maybe.
func tdsMessage(b []byte) Match {
	size, a := TDSHeader(b)
	if a != Yes {
		return a
	}
	body := b[8:min(len(b), size)]
	switch b[0] {
	case 0x12:
		return tdsPrelogin(body, size-8)
	case 0x10: // LOGIN7: its length, and a version of 7.0 to 7.4
		if len(body) < 8 {
			return More
		}
		if n := binary.LittleEndian.Uint32(body); n < 94 || n > 1<<17 || body[7] < 0x70 || body[7] > 0x74 {
			return No
		}
		return Yes
	case 0x01: // a SQL batch: headers, then text in UTF-16
		return tdsBatch(body)
	case 0x03, 0x06, 0x07, 0x0e:
		return Maybe
	}

	return No
}

// tdsReply recognizes a server's packet: the answer to PRELOGIN, or a LOGINACK of SQL Server. Other tokens only give Maybe.
func tdsReply(b []byte) Match {
	size, a := TDSHeader(b)
	if a != Yes || b[0] != 0x04 && b[0] != 0x12 {
		return min(a, More)
	}
	if b[0] != 0x04 {
		return No
	}
	body := b[8:min(len(b), size)]
	if len(body) > 0 && body[0] == 0 {
		return tdsPrelogin(body, size-8)
	}
	if len(body) == 0 {
		return More
	}
	if body[0] == 0xad && b[1] <= 1 && bytes.Contains(body[:min(len(body), 64)], []byte("S\x00Q\x00L\x00")) {
		return Yes // LOGINACK has the name of the program
	}
	if body[0] < 0x79 {
		return No
	}
	return Maybe
}

// TDSHeader parses type, status, length, SPID, packet number and window. It returns the length in bytes.
func TDSHeader(b []byte) (size int, a Match) {
	if b[0] == 0 || b[0] > 0x12 || len(b) > 1 && b[1] > 0x19 {
		return 0, No
	}
	if len(b) < 8 {
		return 0, More
	}
	size = int(binary.BigEndian.Uint16(b[2:]))
	if size < 8 || size > 1<<15 || b[7] != 0 {
		return 0, No
	}
	return size, Yes
}

// tdsPrelogin recognizes the options of a PRELOGIN (MS-TDS section 2.2.6.5): VERSION comes first, each option has its offset within the
// message, and a terminator ends the list. size is the length of the message.
func tdsPrelogin(b []byte, size int) Match {
	next := 0
	for i := 0; i < 16*5; i += 5 {
		if i >= len(b) {
			return More
		}
		if b[i] == 0xff {
			if i >= 10 && i+1 == next {
				return Yes
			}
			return No
		}
		if i+5 > len(b) {
			return More
		}
		at, n := int(binary.BigEndian.Uint16(b[i+1:])), int(binary.BigEndian.Uint16(b[i+3:]))
		if i == 0 {
			if b[0] != 0 || n != 6 || at%5 != 1 || at > 16*5+1 {
				return No
			}
			next = at
		}
		if at+n > size || b[i] > 9 {
			return No
		}
	}

	return No
}

// tdsBatch recognizes a SQL batch: text in UTF-16 that is ASCII, optionally after ALL_HEADERS.
func tdsBatch(b []byte) Match {
	if len(b) < 24 {
		return No
	}
	if n := int(binary.LittleEndian.Uint32(b)); n >= 4 && n <= 64 && n < len(b) {
		b = b[n:]
	}
	wide := 0
	for i := 0; i+1 < len(b) && i < 64; i += 2 {
		if b[i+1] != 0 || b[i] < 0x20 && b[i] != '\n' && b[i] != '\r' && b[i] != '\t' || b[i] > 0x7e {
			return No
		}
		wide++
	}
	if wide < 6 {
		return No
	}
	return Yes
}
