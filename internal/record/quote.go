package record

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string. In addition to the characters that RFC 8259 requires, it
// escapes all that a terminal interprets or does not show: controls, bidirectional marks and line
// separators. Names come from the wire, and records are printed to terminals. Bytes that are not UTF-8
// become U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	at := len(b)
	b = append(b, s...)
	n := plain(b[at:])
	if n < len(s) {
		b = appendEscaped(b[:at+n], s[n:])
	}
	return append(b, '"')
}

// appendEscaped appends s, with escapes, without quotation marks.
func appendEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ' || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				b = append(b, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			r -= 0x10000
			b = appendEscape(appendEscape(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			b = appendEscape(b, r)
		}
	}
	return b
}

// plain returns the length of b's prefix of printable ASCII without quotation marks and backslashes.
func plain(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if !plain8(b[i:]) {
			break
		}
	}
	if i < len(b) && i+8 > len(b) && len(b) >= 8 && plain8(b[len(b)-8:]) {
		return len(b)
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return i
		}
	}
	return len(b)
}

// plain8 reports whether the first eight bytes of b are printable ASCII without quotation marks and
// backslashes. A false result may be wrong. A byte that is less than a space, a quotation mark or a
// backslash makes a subtraction borrow from its highest bit. The addition sets that bit for DEL.
func plain8(b []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	x := binary.LittleEndian.Uint64(b)
	return (x|(x-ones*' ')|((x^ones*'"')-ones)|((x^ones*'\\')-ones)|(x+ones))&high == 0
}

func appendEscape(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
