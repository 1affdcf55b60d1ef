package names

import "strings"

// Printable returns b as printable ASCII. Other bytes are written as \xNN.
func Printable(b []byte) string {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return escape(b)
		}
	}
	return string(b)
}

func escape(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			out.WriteString(`\x`)
			out.WriteByte(digits[c>>4])
			out.WriteByte(digits[c&15])
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
