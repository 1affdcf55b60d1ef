package protocols

// Recognizers of card payments (ISO 8583).

// isoMessage recognizes ISO 8583 in ASCII or EBCDIC, from either end: a message type, its bitmaps, and the digits of the first fields. A
// length, and a header of ISO or a TPDU, may come first. Messages with binary bitmaps are only recognized after a length of two or four
// bytes that is exactly their size.
func isoMessage(b []byte) Match {
	best := isoType(b, false)
	if size, ok := isNumeric(b, 4, '0'); ok && size <= MaxHead {
		best = max(best, isoType(b[4:], false))
	}
	for _, n := range [...]int{2, 4} {
		if len(b) < n {
			return max(best, More)
		}
		size := int(b[n-2])<<8 | int(b[n-1])
		if n == 4 && b[0]|b[1] != 0 || size < 20 || size > MaxHead {
			continue
		}
		a := isoType(b[n:], size == len(b)-n)
		if a == No && size > len(b)-n && isoType(b[n:], true) != No {
			a = More
		}
		best = max(best, a)
	}
	return best
}

// isNumeric parses n digits of a character set whose digit 0 is zero.
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

// isoType recognizes a message type, the bitmaps after it, and six digits. The bitmaps are in hexadecimal, or may be binary if binary is
// set.
func isoType(b []byte, binary bool) Match {
	switch {
	case len(b) >= 12 && string(b[:3]) == "ISO":
		b = b[12:]
	case len(b) >= 5 && b[0] == 0x60:
		b = b[5:]
	}

	if len(b) == 0 {
		return More
	}
	zero := byte('0')
	if b[0] >= 0xf0 {
		zero = 0xf0
	}
	for i, limits := range [4][2]byte{{0, 2}, {1, 8}, {0, 5}, {0, 5}} {
		switch {
		case i == len(b):
			return More
		case b[i] < zero+limits[0] || b[i] > zero+limits[1]:
			return No
		}
	}

	const mtiLength, digits = 4, 6
	rest := b[mtiLength:]
	if len(rest) < 16 {
		return More
	}
	size, first := 8, rest[0]
	switch hex := hexadecimal(rest[:16], zero); {
	case !hex && (!binary || rest[1]&0x20 == 0): // the message has no systems trace audit number, field 11
		return No
	case hex:
		size, first = 16, (rest[0]-zero)<<4
		if rest[0] > zero+9 || rest[0] < zero { // the hexadecimal digit is a letter, so its top bit is set
			first = 0x80
		}
	}

	if first&0x80 != 0 {
		size *= 2
	}
	if len(rest) < size+digits {
		return More
	}
	if _, ok := isNumeric(rest[size:], digits, zero); !ok {
		return No
	}
	return Yes
}

// hexadecimal reports whether b consists of digits and the letters A to F, in ASCII or EBCDIC. zero is the digit 0 of the character set.
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
