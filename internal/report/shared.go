package report

import "github.com/meshtls-tap/meshtls-tap/internal/finding"

// CleanMessage escapes all that a terminal interprets or does not show: controls, bidirectional marks, line ends, and bytes that are not
// UTF-8. Backslashes remain, because names in records and messages are escaped already.
func CleanMessage(s string) string { return cleanEscaped(s) }

// Shorten removes the middle of s, and keeps the first head characters, if s has more than width characters.
func Shorten(s string, width, head int) string { return shorten(s, width, head) }

// VerdictLabel returns the words for a value of meshtls.verdict, such as "mutual TLS". They are safe to print.
func VerdictLabel(verdict string) string { return verdictLabel(verdict) }

// ReasonWords returns the words for a code of meshtls.reasons. They are safe to print.
func ReasonWords(code string) string { return word(code) }

// ProtocolName returns the name that people use for a value of network.protocol. It is safe to print.
func ProtocolName(protocol string) string { return clean(finding.ProtocolName(protocol)) }

// ANSI escapes (ECMA-48 SGR).
const (
	Bold    = "1"
	Dim     = "2"
	Red     = "31"
	Green   = "32"
	Yellow  = "33"
	Reverse = "7"
)

// Paint returns s in a color or style. If colored is false, it returns s.
func Paint(colored bool, code, s string) string {
	if !colored || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}
