package protocols

import (
	"unicode/utf8"
)

const (
	// MinText is the least number of bytes that IsText calls text: 32 random bytes look like text with a probability of 10^-11.
	MinText = 32
	// SampleSize is how many bytes of a direction are examined for text.
	SampleSize = 512
)

// IsText reports whether b is text, by its first SampleSize bytes: at least MinText bytes of printable ASCII, line ends and tabs, or UTF-8.
// One byte in 20 may be something else.
func IsText(b []byte) bool {
	b = b[:min(len(b), SampleSize)]
	return len(b) >= MinText && CountNonText(b)*20 <= len(b)
}

// CountNonText returns the number of bytes that are not text: control characters except line ends and tabs, and bytes that are not UTF-8.
func CountNonText(b []byte) int {
	n := 0
	for len(b) > 0 {
		c := b[0]
		if c < utf8.RuneSelf {
			if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
				n++
			}
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && utf8.FullRune(b) {
			n++
		}
		b = b[size:]
	}
	return n
}
