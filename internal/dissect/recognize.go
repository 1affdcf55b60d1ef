package dissect

import "bytes"

// answer is what a recognizer says of the first bytes of a direction.
type answer uint8

const (
	no answer = iota
	more
	yes
)

// maxUpgrade bounds how far into a direction a ClientHello is looked for behind
// cleartext (STARTTLS, CONNECT, SOCKS), in bytes.
const maxUpgrade = 64 << 10

// recognizer knows one protocol by the first bytes that its client and its server
// send. Each function only looks at a bounded prefix; nil never matches.
type recognizer struct {
	protocol       string
	kind           Kind
	client, server func(b []byte) answer
}

// recognizers is the table of protocols, most telling first.
var recognizers = []recognizer{
	{"http", KindPlain, httpRequest, httpResponse},
	{"http2", KindPlain, literal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), http2Settings},
	{"ssh", KindEncrypted, literal("SSH-"), literal("SSH-")},
	{"postgresql", KindPlain, postgresStartup, postgresAuth},
	{"mysql", KindPlain, nil, mysqlGreeting},
	{"smtp", KindPlain, anyOf("EHLO ", "HELO ", "ehlo ", "helo ", "STARTTLS\r\n"), smtpGreeting},
	{"imap", KindPlain, nil, anyOf("* OK ", "* PREAUTH ")},
	{"pop3", KindPlain, nil, pop3Greeting},
	{"xmpp", KindPlain, anyOf("<?xml version='1.0'?><stream:stream", `<?xml version="1.0"?><stream:stream`, "<stream:stream"), nil},
	{"ftp", KindPlain, nil, ftpGreeting},
}

// sniffTLS says whether b begins with a ClientHello or ServerHello, an alert, or with
// records of an established connection. hello tells the first of these from the rest.
func sniffTLS(b []byte) (a answer, hello bool) {
	if !plausibleHeader(b) {
		return no, false
	}
	if len(b) < recordHeader+1 {
		return more, false
	}
	size := int(b[3])<<8 | int(b[4])
	switch b[0] {
	case contentHandshake:
		if b[5] == typeClientHello || b[5] == typeServerHello {
			return sniffHello(b, size)
		}
		return yes, false
	case contentAlert:
		if size == 2 && (b[5] < 1 || b[5] > 2) {
			return no, false
		}
	case contentChangeCipherSpec:
		if size != 1 || b[5] != 1 {
			return no, false
		}
	}
	return yes, false
}

// sniffHello looks at the handshake header and the hello's version, as far as the
// first record holds them (a hello may be split over records at any byte).
func sniffHello(b []byte, size int) (answer, bool) {
	const upToVersion = recordHeader + 4 + 2
	if size >= 6 {
		if len(b) < upToVersion {
			return more, false
		}
		if b[6] != 0 || !plausibleVersion(uint16(b[9])<<8|uint16(b[10])) {
			return no, false
		}
		return yes, true
	}
	if len(b) < recordHeader+size+recordHeader {
		return more, false
	}
	if !plausibleHeader(b[recordHeader+size:]) {
		return no, false
	}
	return yes, true
}

// recognize decides what a direction speaks, from its first bytes.
func (s *Session) recognize(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	buf := data
	if len(st.head) > 0 {
		if s.upgrade(side, offset, data, ack) {
			return
		}
		room := maxHead - len(st.head)
		st.head = append(st.head, data[:min(room, len(data))]...)
		buf = st.head
		offset, ack = st.headOffset, st.headAck
	}
	a, _ := sniffTLS(buf)
	if a == yes {
		st.head = nil
		s.startTLS(side)
		s.feed(side, offset, buf, ack)
		return
	}
	if s.v2Hello(side, offset, buf, ack) {
		return
	}
	if a != more {
		a = s.consult(side, buf)
	}
	if a == more && len(buf) < maxHead || a == no && len(buf) < minText {
		if len(st.head) == 0 {
			st.head = append(st.head, data[:min(maxHead, len(data))]...)
			st.headOffset, st.headAck = offset, ack
		}
		return
	}
	if a != yes {
		st.kind = textKind(buf)
		st.head = nil
	}
	s.revision++
	if a == yes && st.protocol == "http" {
		s.readHTTP(side, buf)
		return
	}
	st.head = nil
}

// consult asks the table. It sets the direction's kind where one says yes.
func (s *Session) consult(side Side, b []byte) answer {
	best := no
	for i := range recognizers {
		r := &recognizers[i]
		for _, f := range [...]func([]byte) answer{r.client, r.server} {
			if f == nil {
				continue
			}
			switch f(b) {
			case yes:
				s.sides[side].kind, s.sides[side].protocol = r.kind, r.protocol
				return yes
			case more:
				best = more
			}
		}
	}
	return best
}

// cleartext takes what follows in a direction that is not TLS.
func (s *Session) cleartext(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	if s.upgrade(side, offset, data, ack) {
		return
	}
	if st.protocol == "http" && st.head != nil {
		s.readHTTP(side, data)
	}
	if !s.settledPlain && s.sides[0].seen+s.sides[1].seen > MayUpgradeWithin {
		s.settledPlain = true
		s.revision++
	}
}

// MayUpgradeWithin is how many bytes both sides together send before cleartext that
// TLS may follow (STARTTLS) is taken for what stays.
const MayUpgradeWithin = 2 << 10

// upgrade looks for TLS that begins behind cleartext: at the start of a segment, early
// in the stream, and not inside of a protocol that never upgrades. It tells whether it
// took the data.
func (s *Session) upgrade(side Side, offset int64, data []byte, ack int64) bool {
	st := &s.sides[side]
	if st.seen > maxUpgrade {
		return false
	}
	a, hello := sniffTLS(data)
	if a != yes {
		return false
	}
	answers := s.tls != nil && s.sides[side.Other()].kind == KindTLS
	if !answers && (!hello || data[5] != typeClientHello || !s.mayUpgrade(side)) {
		return false
	}
	s.startTLS(side)
	st.head = nil
	s.feed(side, offset, data, ack)
	return true
}

// mayUpgrade tells whether the cleartext so far is of a kind that TLS may follow.
func (s *Session) mayUpgrade(side Side) bool {
	switch s.sides[side].protocol {
	case "http":
		return s.http != nil && (s.http.Method == "CONNECT" && s.http.Status/100 == 2 || s.http.Status == 101)
	case "http2", "ssh":
		return false
	}
	return true
}

// Conclude decides what was left open, now that no more bytes will come.
func (s *Session) Conclude() {
	for i := range s.sides {
		st := &s.sides[i]
		if st.kind == KindNone && len(st.head) >= minText {
			if a, _ := sniffTLS(st.head); a == no {
				st.kind = textKind(st.head)
			}
		}
	}
}

// minText is how many bytes it takes to call a direction text.
const minText = 8

// textKind tells text from binary: printable ASCII, UTF-8 continuation included only as
// far as it is rare, with line ends and tabs.
func textKind(b []byte) Kind {
	if len(b) > 512 {
		b = b[:512]
	}
	if len(b) < minText {
		return KindUnreadable
	}
	odd := 0
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f {
			odd++
		}
	}
	if odd*20 > len(b) {
		return KindUnreadable
	}
	return KindText
}

// prefix compares b with the beginning of want.
func prefix(b []byte, want string) answer {
	n := min(len(b), len(want))
	switch {
	case string(b[:n]) != want[:n]:
		return no
	case n < len(want):
		return more
	}
	return yes
}

func literal(want string) func([]byte) answer {
	return func(b []byte) answer { return prefix(b, want) }
}

func anyOf(wants ...string) func([]byte) answer {
	return func(b []byte) answer {
		best := no
		for _, w := range wants {
			best = max(best, prefix(b, w))
		}
		return best
	}
}

// http2Settings: a server begins with SETTINGS on stream 0 (RFC 9113 section 3.4).
func http2Settings(b []byte) answer {
	if len(b) < 9 {
		if len(b) > 3 && b[3] != 4 || len(b) > 0 && b[0] != 0 {
			return no
		}
		return more
	}
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if b[3] != 4 || b[4]&^1 != 0 || n%6 != 0 || n > 600 || !bytes.Equal(b[5:9], []byte{0, 0, 0, 0}) {
		return no
	}
	return yes
}

// postgresStartup: SSLRequest, GSSENCRequest, CancelRequest or StartupMessage 3.x
// (PostgreSQL protocol, "Message Formats").
func postgresStartup(b []byte) answer {
	if len(b) < 8 {
		if len(b) > 1 && (b[0] != 0 || b[1] != 0) || len(b) == 1 && b[0] != 0 {
			return no
		}
		return more
	}
	size := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	code := uint32(b[4])<<24 | uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7])
	switch {
	case size == 8 && (code == 80877103 || code == 80877104), size == 16 && code == 80877102:
		return yes
	case code>>16 == 3 && code&0xffff < 4 && size > 8 && size < 10000:
		if len(b) < 13 {
			return more
		}
		return prefix(b[8:], "user")
	}
	return no
}

// postgresAuth: AuthenticationRequest 'R', or ErrorResponse 'E' with a severity field.
func postgresAuth(b []byte) answer {
	if len(b) < 9 {
		return prefix(b[:min(len(b), 3)], "R\x00\x00")
	}
	size := int(b[1])<<24 | int(b[2])<<16 | int(b[3])<<8 | int(b[4])
	if b[0] == 'R' && size >= 8 && size < 2000 && b[5] == 0 && b[6] == 0 && b[7] == 0 && b[8] <= 12 {
		return yes
	}
	return no
}

// mysqlGreeting: packet 0 with protocol version 10 and a version string.
func mysqlGreeting(b []byte) answer {
	if len(b) < 10 {
		if len(b) > 4 && b[4] != 10 || len(b) > 3 && b[3] != 0 || len(b) > 2 && b[2] != 0 {
			return no
		}
		if len(b) < 5 {
			return no
		}
		return more
	}
	if b[2] != 0 || b[3] != 0 || b[4] != 10 || b[5] < '0' || b[5] > '9' || bytes.IndexByte(b[5:min(len(b), 80)], 0) < 0 {
		return no
	}
	return yes
}

func smtpGreeting(b []byte) answer { return banner220(b, true) }
func ftpGreeting(b []byte) answer  { return banner220(b, false) }

// banner220: SMTP and FTP greet alike; SMTP names itself in the line.
func banner220(b []byte, smtp bool) answer {
	if a := anyOf("220 ", "220-")(b); a != yes {
		return a
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > 600 {
			return no
		}
		return more
	}
	named := bytes.Contains(bytes.ToUpper(b[:end]), []byte("SMTP"))
	if named == smtp {
		return yes
	}
	return no
}

// pop3Greeting: "+OK" is Redis and POP3 alike, so the line must say more.
func pop3Greeting(b []byte) answer {
	if a := prefix(b, "+OK "); a != yes {
		return a
	}
	if bytes.Contains(bytes.ToUpper(b[:min(len(b), 200)]), []byte("POP")) {
		return yes
	}
	return no
}
