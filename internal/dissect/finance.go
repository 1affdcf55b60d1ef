package dissect

import (
	"encoding/binary"
	"slices"
)

// Recognizers of mainframes' databases, payments and telephony.

// drdaPoints are the code points of what begins a chain of DRDA: commands, replies and data
// that come in plaintext (Open Group, "DRDA, Version 5, Volume 3: DDM").
var drdaPoints = []uint16{
	0x1041, 0x106d, 0x106e, 0x1443, 0x14ac, 0x1219, 0x1210, 0x121c, 0x1232, 0x1233, 0x1245, 0x124c, 0x1251, 0x1254, 0x147a,
	0x2001, 0x2002, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2012, 0x2014,
	0x2201, 0x2202, 0x2203, 0x2204, 0x2205, 0x2207, 0x2208, 0x220b, 0x220c, 0x220d, 0x2211, 0x2212, 0x2213, 0x2218, 0x2219, 0x221a, 0x2225,
	0x2408, 0x2411, 0x2412, 0x2414, 0x241a, 0x241b,
}

// drdaMessage recognizes a data stream structure of DRDA (DB2, Derby) from either end: its
// length, the magic, a request, reply or object, and within it a length that fits and a known
// code point.
func drdaMessage(b []byte) answer {
	switch {
	case b[0] > 0x7f, len(b) > 2 && b[2] != 0xd0, len(b) > 3 && (b[3]&0x80 != 0 || b[3]&15 == 0 || b[3]&15 > 3), len(b) > 4 && b[4] != 0:
		return no
	case len(b) < 10:
		return more
	}
	size, inner := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[6:])
	if size < 10 || inner != size-6 || !slices.Contains(drdaPoints, binary.BigEndian.Uint16(b[8:])) {
		return no
	}
	return yes
}

// isoMessage recognizes ISO 8583 in ASCII or EBCDIC, from either end: a message type and its
// bitmaps, and the digits of the first fields. A length, and a header of ISO or a TPDU, may come
// first. A binary bitmap alone proves too little: it takes a length of two bytes, or of
// four, that is exactly that of what follows.
func isoMessage(b []byte) answer {
	best := isoType(b, false)
	if size, ok := isNumeric(b, 4, '0'); ok && size <= maxHead {
		best = max(best, isoType(b[4:], false))
	}
	for _, n := range [...]int{2, 4} {
		if len(b) < n {
			return max(best, more)
		}
		size := int(b[n-2])<<8 | int(b[n-1])
		if n == 4 && b[0]|b[1] != 0 || size < 20 || size > maxHead {
			continue
		}
		a := isoType(b[n:], size == len(b)-n)
		if a == no && size > len(b)-n && isoType(b[n:], true) != no {
			a = more
		}
		best = max(best, a)
	}
	return best
}

// isNumeric reads n digits of a character set.
func isNumeric(b []byte, n int, zero byte) (v int, ok bool) {
	if len(b) < n {
		return 0, false
	}
	for _, c := range b[:n] {
		if c < zero || c > zero+9 {
			return 0, false
		}
		v = v*10 + int(c-zero)
	}
	return v, true
}

// isoType recognizes a message type, the bitmaps after it, and six digits. Bitmaps are
// hexadecimal, or may be binary.
func isoType(b []byte, binary bool) answer {
	switch {
	case len(b) >= 12 && string(b[:3]) == "ISO":
		b = b[12:]
	case len(b) >= 5 && b[0] == 0x60:
		b = b[5:]
	}
	if len(b) == 0 {
		return more
	}
	zero := byte('0')
	if b[0] >= 0xf0 {
		zero = 0xf0
	}
	for i, limits := range [4][2]byte{{0, 2}, {1, 8}, {0, 5}, {0, 5}} {
		switch {
		case i == len(b):
			return more
		case b[i] < zero+limits[0] || b[i] > zero+limits[1]:
			return no
		}
	}
	const mtiLength, digits = 4, 6
	rest := b[mtiLength:]
	if len(rest) < 16 {
		return more
	}
	size, first := 8, rest[0]
	switch hex := hexadecimal(rest[:16], zero); {
	case !hex && (!binary || rest[1]&0x20 == 0): // without a systems trace audit number, field 11
		return no
	case hex:
		size, first = 16, (rest[0]-zero)<<4
		if rest[0] > zero+9 || rest[0] < zero { // a letter: bit 8 is set
			first = 0x80
		}
	}
	if first&0x80 != 0 {
		size *= 2
	}
	if len(rest) < size+digits {
		return more
	}
	if _, ok := isNumeric(rest[size:], digits, zero); !ok {
		return no
	}
	return yes
}

// hexadecimal reports whether b is digits and the letters A to F, of ASCII or EBCDIC.
func hexadecimal(b []byte, zero byte) bool {
	a := byte('A')
	if zero == 0xf0 {
		a = 0xc1
	}
	for _, c := range b {
		if (c < zero || c > zero+9) && (c < a || c > a+5) {
			return false
		}
	}
	return true
}

// diameterCommands are those of the base protocol (RFC 6733) and of the applications in use.
var diameterCommands = []uint32{257, 258, 265, 268, 271, 272, 274, 275, 280, 282, 283, 284, 285, 286, 287, 288, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 316, 317, 318, 319, 320, 321, 322, 323, 324}

// diameterMessage recognizes a header of Diameter (RFC 6733 section 3).
func diameterMessage(b []byte) answer {
	switch {
	case b[0] != 1, len(b) > 1 && b[1] != 0, len(b) > 3 && b[3]&3 != 0, len(b) > 4 && b[4]&15 != 0, len(b) > 8 && b[8] > 1:
		return no
	case len(b) < 12:
		return more
	}
	size, command := int(b[2])<<8|int(b[3]), uint32(b[5])<<16|uint32(b[6])<<8|uint32(b[7])
	if size < 20 || !slices.Contains(diameterCommands, command) {
		return no
	}
	return yes
}

// smppMessage recognizes a header of SMPP: a length, a command or its response, and the status
// of success (SMPP 3.4 section 3.2).
func smppMessage(b []byte) answer {
	zeros := [...]int{0, 1, 5, 6, 8, 9, 10, 11}
	for _, i := range zeros {
		if i < len(b) && b[i] != 0 {
			return no
		}
	}
	if len(b) > 4 && b[4]&0x7f != 0 {
		return no
	}
	if len(b) < 16 {
		return more
	}
	if size := int(b[2])<<8 | int(b[3]); size < 16 || size > maxHead || b[7] == 0 || b[7] > 0x21 {
		return no
	}
	return yes
}

// hl7Message recognizes the start of a message of HL7 in its framing (MLLP).
func hl7Message(b []byte) answer { return prefix(b, "\x0bMSH|") }
