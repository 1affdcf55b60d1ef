package evidence

import (
	"bytes"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Bounds on the start of a segment in plaintext, in bytes.
const (
	maxLine   = 256 // of text
	maxBinary = 96  // of binary data
	maxPlain  = 16  // of binary data in which bytes other than text are kept as they are
)

// maskPlain masks a segment in plaintext, in place, and returns the length of its start that keeps the words of its protocol. Of text this is the
// first line. After it, x replaces every character. A segment that shows its protocol still does: if it would not, its structure is kept, and only letters and digits are
// masked.
func maskPlain(b []byte) int {
	n := preface(b)
	if n == 0 {
		n = maskStart(b)
	}
	fillPlain(b[n:])
	return n
}

// maskStart masks the start of a segment and returns its length.
func maskStart(b []byte) int {
	original := bytes.Clone(b[:min(len(b), protocols.MaxHead)])
	n := mask(b, maskWords)
	if protocol := hidden(original, b[:n]); protocol != "" {
		copy(b, original)
		n = mask(b, maskAlphanumeric)
		copy(b[:min(n, heads[protocol])], original)
	}
	return n
}

// fillPlain replaces all characters except for line ends.
func fillPlain(b []byte) {
	for i, c := range b {
		switch {
		case c == '\r' || c == '\n':
		case isText(c):
			b[i] = 'x'
		default:
			b[i] = 0
		}
	}
}

// mask masks the start of a segment with a function for words, and returns how many bytes are kept.
func mask(b []byte, words func(b []byte, first bool)) int {
	if !isTextHead(b) {
		b = b[:min(len(b), maxBinary)]
		maskBinary(b, words)
		return len(b)
	}
	b = b[:firstLine(b[:min(len(b), maxLine)])]
	maskText(b, words)
	return len(b)
}

// isTextHead reports whether the first bytes of b are text.
func isTextHead(b []byte) bool {
	for _, c := range b[:min(len(b), 64)] {
		if !isText(c) {
			return false
		}
	}
	return true
}

// firstLine returns the length of the first line of b. The number of elements in an array of Redis, the length of the first element and that
// element count as one line.
func firstLine(b []byte) (n int) {
	lines := 1
	if b[0] == '*' {
		lines = 3
	}
	for range lines {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		n += i + 1
	}
	return n
}

// heads has the length in bytes of the start of messages that has no values, for protocols that are recognized by its bytes: magic numbers,
// versions, lengths, types of messages and fields.
var heads = map[string]int{
	"ceph": 7, "dubbo": 22, "fix": 9, "gearman": 12, "hadoop": 7, "hbase": 6, "iso8583": 22, "mongodb": 26, "nbd": 16, "tds": 36, "zmtp": 12,
}

// hidden returns the protocol that the recognizers find in b and no longer in masked; empty: there is none.
func hidden(b, masked []byte) string {
	candidates := protocols.StartingWith(b[0])
	for i := candidates.Next(0); i >= 0; i = candidates.Next(i + 1) {
		r := &protocols.TCP[i]
		client, server := r.Client(b), r.Server(b)
		if client >= protocols.Maybe && r.Client(masked) != client || server >= protocols.Maybe && r.Server(masked) != server {
			return r.Protocol
		}
	}
	return ""
}

// proxyPreface begins a header of the PROXY protocol, version 2; its length follows.
const (
	proxyPreface = "\r\n\r\n\x00\r\nQUIT\n"
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// preface returns the length of a start without values, which is kept as it is: the preface of HTTP/2 and settings of HTTP/2, the addresses of the
// PROXY protocol, a ClientHello in the format of SSL 2.0.
func preface(b []byte) int {
	switch {
	case bytes.HasPrefix(b, []byte(http2Preface)):
		return len(http2Preface) + settings(b[len(http2Preface):])
	case bytes.HasPrefix(b, []byte(proxyPreface)) && len(b) >= 16:
		return min(16+proxyAddresses(b), len(b))
	case isHelloSSL2(b):
		return min(2+int(b[0]&0x7f)<<8+int(b[1]), len(b))
	}
	return settings(b)
}

// proxyAddresses returns the length of the addresses and ports in a header of the PROXY protocol, version 2, if it is right for their family. What follows
// them, and the paths of AF_UNIX, are values.
func proxyAddresses(b []byte) int {
	want := 0
	switch b[13] >> 4 {
	case 1: // AF_INET
		want = 12
	case 2: // AF_INET6
		want = 36
	}
	if int(b[14])<<8+int(b[15]) < want {
		return 0
	}
	return want
}

// isHelloSSL2 reports whether b begins with a ClientHello in the format of SSL 2.0 whose lengths agree (RFC 5246, appendix E.2).
func isHelloSSL2(b []byte) bool {
	if len(b) < 11 || b[0]&0x80 == 0 || b[2] != 1 || (b[3] != 3 || b[4] > 4) && (b[3] != 0 || b[4] != 2) {
		return false
	}
	number := func(i int) int { return int(b[i])<<8 | int(b[i+1]) }
	size, suites, session, challenge := number(0)&0x7fff, number(5), number(7), number(9)
	return suites%3 == 0 && suites <= 3*64 && (session == 0 || session == 16) && challenge >= 16 && challenge <= 32 && size == 9+suites+session+challenge
}

// settings returns the length of the HTTP/2 frames SETTINGS (RFC 9113, section 6.5) and WINDOW_UPDATE at the start of b.
func settings(b []byte) (n int) {
	for len(b) >= 9 && b[0] == 0 && b[1] == 0 && b[5]&0x80 == 0 {
		size := 9 + int(b[2])
		isSettings := b[3] == 4 && b[2]%6 == 0 && bytes.Equal(b[5:9], []byte{0, 0, 0, 0}) && b[4] <= 1
		if !isSettings && (b[3] != 8 || b[2] != 4 || n == 0) || size > len(b) {
			break
		}
		b, n = b[size:], n+size
	}
	return n
}

// maskBinary masks text in binary data, with a function for words. After the first bytes, which hold lengths and types, the upper half of other
// bytes is masked too.
func maskBinary(b []byte, words func(b []byte, first bool)) {
	for i := 0; i < len(b); {
		n := i
		for n < len(b) && b[n] > ' ' && b[n] < 0x7f {
			n++
		}
		wide := n-i == 1 && i >= 4 && b[i-1] == 0 && b[i-3] == 0 // as in UTF-16
		if n-i > 2 || n > i && i >= maxPlain || wide {
			words(b[i:n], false)
		}
		if n < len(b) && n >= maxPlain && b[n] >= 0x80 {
			b[n] = 0x80
		}
		i = n + 1
	}
}

// maskText masks the text at the start of a segment, with a function for words. Spaces and line ends remain.
func maskText(b []byte, words func(b []byte, first bool)) {
	line, status := true, true // the next word begins a line; it may be a status
	secret := false            // a word that precedes a login was seen on this line
	for i := 0; i < len(b); {
		if b[i] <= ' ' {
			if b[i] == '\n' {
				line, secret = true, false
			}
			i++
			continue
		}
		n := i
		for n < len(b) && b[n] > ' ' {
			n++
		}
		word := b[i:n]
		if secret {
			for k := range word {
				word[k] = 'x'
			}
			i = n
			continue
		}
		secret = precedesLogin(word)
		if !status || !isStatus(word) || n == len(b) || b[n] != ' ' && len(word) == 3 {
			status = bytes.HasPrefix(word, []byte("HTTP/")) || bytes.HasPrefix(word, []byte("SIP/")) || bytes.HasPrefix(word, []byte("RTSP/"))
			words(word, line)
		} else {
			words(word[3:], true)
			status = false
		}
		line, i = false, n
	}
}

// precedesLogin reports whether the words after a word of a command are a login.
func precedesLogin(word []byte) bool {
	for _, command := range logins {
		if len(word) == len(command) && strings.EqualFold(string(word), command) {
			return true
		}
	}
	return false
}

// logins are commands of POP3, FTP, IMAP, NNTP, Redis and others whose arguments are names or secrets.
var logins = []string{"PASS", "AUTH", "USER", "LOGIN", "AUTHENTICATE", "AUTHINFO", "APOP", "ACCT"}

// isStatus reports whether a word begins with a status of three digits, as in HTTP, SMTP and FTP.
func isStatus(b []byte) bool {
	if len(b) < 3 || len(b) > 3 && b[3] != '-' {
		return false
	}
	for _, c := range b[:3] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// maskWords replaces each byte of a word by x, except for words of protocols, the punctuation next to them, and a digit right after that (as in
// HTTP/1.1). first is set at the start of a line, where punctuation is kept, and lengths as in Redis ($4) and IMAP ({4}).
func maskWords(b []byte, first bool) {
	keeping := first
	inPath := len(b) > 0 && b[0] == '/'
	for i := 0; i < len(b); {
		n := i
		for n < len(b) && isAlphanumeric(b[n]) {
			n++
		}
		if n == i { // punctuation
			path := inPath && i == 0
			if !keeping && !path && !strings.ContainsRune(quotes, rune(b[i])) || b[i] >= 0x80 {
				b[i] = 'x'
			}
			i++
			continue
		}
		digits := n-i == 1 && keeping && i > 0 || n-i <= maxDigits && i > 0 && (first && (b[i-1] == '*' || b[i-1] == '$') || b[i-1] == '{')
		for _, c := range b[i:n] {
			digits = digits && c >= '0' && c <= '9'
		}
		keeping = digits || !inPath && isWord(b[i:n])
		if !keeping {
			for k := i; k < n; k++ {
				b[k] = 'x'
			}
		}
		first = false
		i = n
	}
}

// quotes are characters that are always kept. Values in them are masked.
const quotes = `"'<>{}`

// maxDigits is the largest number of digits of a length that is kept.
const maxDigits = 5

// maskAlphanumeric replaces letters by x or X and digits by 0, except for words of protocols.
func maskAlphanumeric(b []byte, _ bool) {
	for i := 0; i < len(b); {
		n := i
		for n < len(b) && isAlphanumeric(b[n]) {
			n++
		}
		if !isWord(b[i:n]) {
			for k := i; k < n; k++ {
				switch c := b[k]; {
				case c <= '9':
					b[k] = '0'
				case c <= 'Z':
					b[k] = 'X'
				default:
					b[k] = 'x'
				}
			}
		}
		if i = n; i < len(b) {
			if b[i] >= 0x80 {
				b[i] = 'x'
			}
			i++
		}
	}
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// datagrams reduces the datagrams of a connection.
type datagrams struct {
	quic bool // a packet of QUIC with a long header was seen
	dtls bool
}

// reduce masks a datagram in place.
func (g *datagrams) reduce(b []byte) {
	const dtlsHeader, quicHeader = 13, 1 + 4 + 1 + 20 + 1 + 20
	switch {
	case len(b) == 0:
	case b[0] >= wire.ContentChangeCipherSpec && b[0] <= wire.ContentCID && len(b) >= dtlsHeader && b[1] == 0xfe:
		g.dtls = true
		reduceDTLS(b)
	case g.dtls && b[0]>>5 == 1: // RFC 9147, section 4
		fill(b, 5)
	case b[0]&0xc0 == 0xc0 && len(b) > 6 && (b[1]|b[2]|b[3]|b[4] == 0 || len(b) >= 21 && b[5] <= 20) && (g.quic || len(b) >= 1200 || b[1]|b[2]|b[3]|b[4] == 0):
		g.quic = true
		reduceQUIC(b, quicHeader)
	case g.quic:
		fill(b, 1+20)
	default:
		maskPlain(b)
	}
}

// fill replaces the bytes after the first n by random ones.
func fill(b []byte, n int) {
	for i := n; i < len(b); i++ {
		b[i] = noise(i)
	}
}

// reduceQUIC keeps a datagram that begins with an Initial packet, whose keys are public and which carries the handshake (RFC 9001, section
// 5.2), and a Retry or Version Negotiation. Other packets keep their header.
func reduceQUIC(b []byte, header int) {
	version1, version2 := bytes.Equal(b[1:5], []byte{0, 0, 0, 1}), bytes.Equal(b[1:5], []byte{0x6b, 0x33, 0x43, 0xcf})
	kind := b[0] >> 4 & 3
	switch {
	case b[1]|b[2]|b[3]|b[4] == 0, version2 && kind <= 1, !version2 && kind == 0, version1 && kind == 3, version2 && kind == 0:
		return
	}
	fill(b, header)
}

// reduceDTLS keeps records of the handshake in plaintext, and the headers of others (RFC 6347, section 4.1).
func reduceDTLS(b []byte) {
	const header = 13
	n := 0
	for len(b)-n >= header && b[n] >= wire.ContentChangeCipherSpec && b[n] <= wire.ContentCID {
		size := int(b[n+11])<<8 | int(b[n+12])
		end := min(n+header+size, len(b))
		plain := b[n+3] == 0 && b[n+4] == 0 // epoch 0
		small := b[n] == wire.ContentChangeCipherSpec && size == 1 || b[n] == wire.ContentAlert && size == 2
		if !plain || b[n] != wire.ContentHandshake && !small || b[n] == wire.ContentHandshake && size > 0 && end > n+header && !isMessage(b[n+header]) {
			fill(b[n:end], header)
		}
		n = end
	}
	fill(b[n:], 0)
}
