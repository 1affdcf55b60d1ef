package protocols

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Recognizers of other SQL databases: Oracle (TNS), DB2 (DRDA) and ClickHouse.

// tnsClient recognizes a connect packet of Oracle, with its versions.
func tnsClient(b []byte) Match {
	size, a := tnsHeader(b)
	if a != Yes || b[4] != 1 {
		return min(a, More)
	}
	if len(b) < 12 {
		return More
	}
	if v, w := binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:]); v < 0x100 || v > 0x160 || w < 0x100 || w > v || size < 58 {
		return No
	}
	return Yes
}

// tnsServer recognizes a server's reply to a connect packet: resend, accept, refuse or redirect.
func tnsServer(b []byte) Match {
	size, a := tnsHeader(b)
	if a != Yes {
		return a
	}
	switch {
	case b[4] == 11 && size == 8:
		return Yes
	case b[4] == 2 && len(b) >= 10 && size >= 24 && size < 512:
		if v := binary.BigEndian.Uint16(b[8:]); v >= 0x100 && v <= 0x160 {
			return Yes
		}
	case (b[4] == 4 || b[4] == 5) && size > 12 && len(b) <= 12:
		return More
	case (b[4] == 4 || b[4] == 5) && size > 12 && bytes.Contains(b[:min(len(b), 64)], []byte("(")) && printable(b[12:min(len(b), size, 128)]):
		return Yes
	}
	return No
}

// tnsHeader parses length, checksum, type, a reserved byte and the header's checksum. It returns the length in bytes.
func tnsHeader(b []byte) (size int, a Match) {
	if len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] != 0 || len(b) > 4 && (b[4] == 0 || b[4] > 19) {
		return 0, No
	}
	if len(b) < 8 {
		return 0, More
	}
	size = int(binary.BigEndian.Uint16(b))
	if size < 8 || b[6] != 0 || b[7] != 0 || size > 1<<13 {
		return 0, No
	}
	return size, Yes
}

// drdaPoints are the code points of commands, replies and data of DRDA that can begin a message and are sent in plaintext (Open Group,
// "DRDA, Version 5, Volume 3: DDM").
var drdaPoints = []uint16{
	0x1041, 0x106d, 0x106e, 0x1443, 0x14ac, 0x1219, 0x1210, 0x121c, 0x1232, 0x1233, 0x1245, 0x124c, 0x1251, 0x1254, 0x147a,
	0x2001, 0x2002, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2012, 0x2014,
	0x2201, 0x2202, 0x2203, 0x2204, 0x2205, 0x2207, 0x2208, 0x220b, 0x220c, 0x220d, 0x2211, 0x2212, 0x2213, 0x2218, 0x2219, 0x221a, 0x2225,
	0x2408, 0x2411, 0x2412, 0x2414, 0x241a, 0x241b,
}

// drdaMessage recognizes a data stream structure of DRDA (DB2, Derby) from either end: length, magic and kind, and in it a known code point
// with a plausible length.
func drdaMessage(b []byte) Match {
	switch {
	case b[0] > 0x7f, len(b) > 2 && b[2] != 0xd0, len(b) > 3 && (b[3]&0x80 != 0 || b[3]&15 == 0 || b[3]&15 > 3), len(b) > 4 && b[4] != 0:
		return No
	case len(b) < 10:
		return More
	}
	size, inner := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[6:])
	if size < 10 || inner != size-6 || !slices.Contains(drdaPoints, binary.BigEndian.Uint16(b[8:])) {
		return No
	}
	return Yes
}

// clickhouseHello recognizes the Hello of a ClickHouse client or server: packet type 0 and a name that contains ClickHouse (ClickHouse
// documentation, "Native protocol").
func clickhouseHello(b []byte) Match {
	if b[0] != 0 || len(b) > 1 && (b[1] < 10 || b[1] > 64) {
		return No
	}
	if len(b) < 2+10 || len(b) < 2+int(b[1]) {
		if len(b) > 2 && !printable(b[2:]) {
			return No
		}
		return More
	}
	name := b[2 : 2+int(b[1])]
	if !printable(name) || !containsFold(name, "CLICKHOUSE") {
		return No
	}
	return Yes
}
