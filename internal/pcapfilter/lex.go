package pcapfilter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind is the kind of a token, such as a word, a number or an address.
type kind uint8

const (
	kindEnd    kind = iota
	kindWord        // a reserved word or an operator
	kindNumber      // 80, 0x50, 0120, icmp-echo
	kindIPv4        // two to four numbers separated by dots
	kindIPv6
	kindMAC
	kindName // any other word; a word after a backslash is never reserved
)

// token is the smallest part of an expression.
type token struct {
	kind  kind
	word  string // kindWord: the word in its canonical spelling, "and" for "&&"
	text  string // the token as written; for kindName without the backslash
	at    int    // offset in the expression
	value uint32 // kindNumber: the number; kindIPv4: its numbers, one per byte, the last one in the lowest byte
	parts int    // kindIPv4: how many numbers it has
	ipv6  netip.Addr
	mac   [6]byte
}

// lexer splits an expression into tokens. As in libpcap's scanner, the longest match is the token.
type lexer struct {
	text string
	at   int
	err  *Error
}

// operators are the operators of the language, longer ones first.
var operators = []string{"&&", "||", "!=", "==", "<=", ">=", "<<", ">>", "(", ")", "[", "]", "+", "-", "*", "/", "%", "&", "|", "^", "<", ">", "=", "!", ":"}

// spelling maps a word or an operator to the canonical word with the same meaning.
var spelling = map[string]string{"&&": "and", "||": "or", "!": "not", "==": "=", "length": "len", "link": "ether"}

// fail records an error, unless there is one already.
func (l *lexer) fail(at int, format string, args ...any) {
	if l.err == nil {
		l.err = &Error{Text: l.text, Offset: at, Problem: fmt.Sprintf(format, args...)}
	}
}

// next returns the next token; after an error only kindEnd.
func (l *lexer) next() token {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0 {
		l.at++
	}
	if l.at >= len(l.text) || l.err != nil {
		return token{at: len(l.text)}
	}

	t := token{at: l.at}
	rest := l.text[l.at:]
	switch {
	case rest[0] == '\\':
		t.kind, t.text = kindName, until(rest[1:], " !()\n\t")
		l.at += 1 + len(t.text)
		if t.text == "" {
			l.fail(t.at, `a backslash without a name after it: expected one such as \tcp`)
		}
	case l.colons(&t), l.wordlike(&t):
	default:
		l.operator(&t)
	}
	return t
}

// until returns s up to its first byte that is in stop.
func until(s, stop string) string {
	if n := strings.IndexAny(s, stop); n >= 0 {
		return s[:n]
	}
	return s
}

// run returns the longest prefix of s whose bytes all are in the set.
func run(s string, in func(byte) bool) string {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return s[:n]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
func isAlnum(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// colons consumes an address with colons: IPv6 (RFC 4291, section 2.2) or Ethernet.
func (l *lexer) colons(t *token) bool {
	text := run(l.text[l.at:], func(c byte) bool { return isHex(c) || c == ':' || c == '.' })
	if strings.Count(text, ":") < 2 {
		return false
	}
	l.at += len(text)
	t.text = text
	if mac, ok := parseMAC(text); ok {
		t.kind, t.mac = kindMAC, mac
		return true
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		l.fail(t.at, "%q: expected an IPv6 address or an Ethernet address of six numbers", text)
		return true
	}
	t.kind, t.ipv6 = kindIPv6, addr
	return true
}

// wordlike consumes a token that begins with a letter or a digit.
func (l *lexer) wordlike(t *token) bool {
	if !isAlnum(l.text[l.at]) {
		return false
	}
	text := run(l.text[l.at:], func(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' })
	text = strings.TrimRight(text, "-_")
	l.at += len(text)
	t.text = text
	word := text
	if s, ok := spelling[text]; ok {
		word = s
	}

	mac, isMAC := parseMAC(text)
	value, isNamed := named[text]
	switch {
	case isMAC:
		t.kind, t.mac = kindMAC, mac
	case isNamed:
		t.kind, t.value = kindNumber, value
	case isNumber(text):
		t.kind = kindNumber
		l.number(t)
	case l.dotted(t):
	case reserved[word]:
		t.kind, t.word = kindWord, word
	default:
		t.kind = kindName
	}
	return true
}

// operator consumes an operator.
func (l *lexer) operator(t *token) {
	for _, o := range operators {
		if strings.HasPrefix(l.text[l.at:], o) {
			l.at += len(o)
			t.kind, t.text, t.word = kindWord, o, o
			if s, ok := spelling[o]; ok {
				t.word = s
			}
			return
		}
	}
	r, _ := utf8.DecodeRuneInString(l.text[l.at:])
	l.fail(l.at, "%q: unexpected character", r)
}

// isNumber reports whether text consists of digits, or of 0x and hexadecimal digits.
func isNumber(text string) bool {
	if len(text) > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') {
		return run(text[2:], isHex) == text[2:]
	}
	return run(text, isDigit) == text
}

// number parses a number in C's notation: decimal, hexadecimal or octal.
func (l *lexer) number(t *token) {
	base, digits := 10, t.text
	switch {
	case len(digits) > 2 && (digits[1] == 'x' || digits[1] == 'X'):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	v, err := strconv.ParseUint(digits, base, 32)
	switch {
	case err != nil && base == 8:
		l.fail(t.at, "%s: expected an octal number of at most 32 bits, since it begins with 0", t.text)
	case err != nil:
		l.fail(t.at, "%s: expected a number of at most 32 bits", t.text)
	}
	t.value = uint32(v)
}

// dotted parses an IPv4 address, or the first two or three of its numbers.
func (l *lexer) dotted(t *token) bool {
	parts := strings.Split(t.text, ".")
	if len(parts) < 2 || len(parts) > 4 {
		return false
	}
	for _, part := range parts {
		if part == "" || !isNumber(part) {
			return false
		}
	}
	t.kind, t.parts = kindIPv4, len(parts)
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || len(part) > 1 && part[0] == '0' {
			l.fail(t.at, "%s: expected an IPv4 address: decimal numbers from 0 to 255, without leading zeros", t.text)
		}
		t.value = t.value<<8 | uint32(n)
	}
	return true
}

// parseMAC parses an Ethernet address in one of libpcap's notations: six numbers with the same
// separator (: . or -), three groups of four digits separated by dots, or twelve digits.
func parseMAC(text string) (mac [6]byte, ok bool) {
	if len(text) == 14 && text[4] == '.' && text[9] == '.' {
		text = text[:4] + text[5:9] + text[10:]
	}
	var parts []string
	if n := strings.IndexAny(text, ":.-"); n >= 0 {
		parts = strings.Split(text, text[n:n+1])
	} else if len(text) == 12 {
		parts = []string{text[:2], text[2:4], text[4:6], text[6:8], text[8:10], text[10:]}
	}
	if len(parts) != 6 {
		return mac, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 16, 8)
		if err != nil || len(part) > 2 {
			return mac, false
		}
		mac[i] = byte(n)
	}
	return mac, true
}
