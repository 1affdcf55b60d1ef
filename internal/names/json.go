package names

import (
	"strconv"
	"unicode/utf8"
)

// EscapeJSON returns JSON in which characters that a terminal interprets or does not show, such as bidirectional marks, are escaped. The
// JSON has the same meaning. Bytes that are not UTF-8 become U+FFFD.
func EscapeJSON(b []byte) []byte {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r != utf8.RuneError && strconv.IsPrint(r), r == '\n', r == '\t':
			out = append(out, b[:n]...)
		default:
			if r > 0xffff { // the first half of a surrogate pair (RFC 8259 section 7)
				high := 0xd800 + (r-0x10000)>>10
				out = append(out, '\\', 'u', digits[high>>12], digits[high>>8&15], digits[high>>4&15], digits[high&15])
				r = 0xdc00 + (r-0x10000)&0x3ff
			}
			out = append(out, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
		}
		b = b[n:]
	}
	return out
}
