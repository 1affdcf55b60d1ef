package dissect

import (
	"bytes"
	"encoding/binary"
)

// recognizer knows one protocol by the first bytes that its client and its server
// send. Each function only looks at a bounded prefix; nil never matches.
type recognizer struct {
	protocol       string
	kind           Kind
	client, server func(b []byte) answer
}

func (r *recognizer) ask(f func([]byte) answer, b []byte) answer {
	if f == nil {
		return no
	}
	return f(b)
}

// recognizers is the table of protocols, most telling first. At most 64.
var recognizers = []recognizer{
	{"proxy", KindPlain, incompleteProxy, nil},
	{"http", KindPlain, httpRequest, httpResponse},
	{"http2", KindPlain, literal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), weak(http2Settings)},
	{"ssh", KindEncrypted, literal("SSH-"), literal("SSH-")},
	{"postgresql", KindPlain, postgresStartup, postgresAuth},
	{"mysql", KindPlain, nil, mysqlGreeting},
	{"smtp", KindPlain, anyOf("EHLO ", "HELO ", "ehlo ", "helo ", "STARTTLS\r\n"), smtpGreeting},
	{"imap", KindPlain, nil, anyOf("* OK ", "* PREAUTH ")},
	{"pop3", KindPlain, weak(anyOf("USER ", "CAPA\r\n", "STLS\r\n", "AUTH", "APOP ")), pop3Greeting},
	{"ftp", KindPlain, weak(anyOf("USER ", "AUTH ", "FEAT\r\n")), ftpGreeting},
	{"xmpp", KindPlain, anyOf("<?xml version='1.0'?><stream:stream", `<?xml version="1.0"?><stream:stream`, "<stream:stream"), nil},
	{"irc", KindPlain, weak(anyOf("NICK ", "USER ", "CAP LS", "PASS ", "STARTTLS")), weak(ircServer)},
	{"ldap", KindPlain, ldapRequest, weak(ldapResponse)},
	{"rdp", KindPlain, rdpRequest, weak(rdpConfirm)},
	{"mongodb", KindPlain, mongoMessage, mongoMessage},
	{"kafka", KindPlain, kafkaRequest, nil},
	{"amqp", KindPlain, amqpHeader, weak(literal("\x01\x00\x00"))},
	{"nats", KindPlain, weak(anyOf("CONNECT {", "PING\r\n", "SUB ", "PUB ")), literal("INFO {")},
	{"mqtt", KindPlain, mqttConnect, weak(literal("\x20"))},
	{"redis", KindPlain, redisCommand, weak(redisReply)},
	{"memcached", KindPlain, weak(anyOf("get ", "gets ", "set ", "add ", "delete ", "incr ", "stats\r\n", "version\r\n", "mg ", "ms ")), weak(anyOf("VALUE ", "STORED\r\n", "NOT_STORED\r\n", "END\r\n", "STAT ", "VERSION ", "DELETED\r\n", "NOT_FOUND\r\n", "ERROR\r\n", "HD ", "EN\r\n"))},
	{"socks5", KindPlain, weak(socks5Methods), weak(anyOf("\x05\x00", "\x05\x02", "\x05\xff"))},
	{"socks4", KindPlain, weak(socks4Request), weak(anyOf("\x00\x5a", "\x00\x5b"))},
	{"dns", KindPlain, dnsOverTCP, dnsOverTCP},
}

// weak makes a recognizer's yes a maybe: the other side must agree.
func weak(f func([]byte) answer) func([]byte) answer {
	return func(b []byte) answer {
		if a := f(b); a != yes {
			return a
		}
		return maybe
	}
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

// ircServer: a line from a server, with its prefix, a command or numeric (RFC 2812
// section 2.3).
func ircServer(b []byte) answer {
	if len(b) == 0 || b[0] != ':' && !bytes.HasPrefix(b, []byte("NOTICE ")) && prefix(b, "NOTICE ") != more {
		return no
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > 512 {
			return no
		}
		return more
	}
	line := b[:end]
	if b[0] != ':' || bytes.Contains(line, []byte(" NOTICE ")) || bytes.Contains(line, []byte(" 001 ")) || bytes.Contains(line, []byte(" CAP ")) || bytes.Contains(line, []byte(" 670 ")) {
		return yes
	}
	return no
}

// berMessage returns the protocolOp tag of an LDAPMessage (RFC 4511 section 4.1.1).
func berMessage(b []byte) (op byte, a answer) {
	if len(b) < 2 {
		return 0, prefix(b, "0\x00") & more
	}
	if b[0] != 0x30 {
		return 0, no
	}
	i := 2
	if b[1]&0x80 != 0 {
		i += int(b[1] & 0x7f)
		if i > 6 {
			return 0, no
		}
	}
	if len(b) < i+2 {
		return 0, more
	}
	if b[i] != 2 || b[i+1] < 1 || b[i+1] > 4 {
		return 0, no
	}
	i += 2 + int(b[i+1])
	if len(b) <= i {
		return 0, more
	}
	return b[i], yes
}

func ldapRequest(b []byte) answer {
	op, a := berMessage(b)
	if a != yes {
		return a
	}
	switch op {
	case 0x60, 0x63, 0x77: // bindRequest, searchRequest, extendedReq
		return yes
	case 0x42, 0x66, 0x68, 0x4a, 0x6c, 0x6e, 0x50:
		return maybe
	}
	return no
}

func ldapResponse(b []byte) answer {
	op, a := berMessage(b)
	if a != yes {
		return a
	}
	switch op {
	case 0x61, 0x64, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, 0x73, 0x78:
		return yes
	}
	return no
}

// rdpRequest: a TPKT with an X.224 Connection Request (MS-RDPBCGR section 2.2.1.1).
func rdpRequest(b []byte) answer { return tpkt(b, 0xe0) }
func rdpConfirm(b []byte) answer { return tpkt(b, 0xd0) }

func tpkt(b []byte, code byte) answer {
	if a := prefix(b, "\x03\x00"); a != yes {
		return a
	}
	if len(b) < 11 {
		return more
	}
	size := int(b[2])<<8 | int(b[3])
	if b[5] == code && size >= 11 && size < 512 && int(b[4])+5 == size && b[6] == 0 && b[7] == 0 {
		return yes
	}
	return no
}

// mongoMessage: a message header with a known opCode and a sane length (MongoDB wire
// protocol).
func mongoMessage(b []byte) answer {
	if len(b) < 16 {
		if len(b) >= 4 && (binary.LittleEndian.Uint32(b) < 16 || binary.LittleEndian.Uint32(b) > 48<<20) {
			return no
		}
		return more
	}
	size, op := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[12:])
	if size < 21 || size > 48<<20 {
		return no
	}
	switch op {
	case 2013, 2012, 2004, 2001, 2002, 2005, 2006, 2007, 1:
		return yes
	}
	return no
}

// kafkaRequest: size, api_key, api_version, correlation_id and a printable client_id
// (Kafka protocol guide, "Request Header").
func kafkaRequest(b []byte) answer {
	if len(b) < 14 {
		if len(b) > 1 && (b[0] != 0 || b[1] > 0x40) || len(b) > 4 && b[4] != 0 {
			return no
		}
		return more
	}
	size, api, version, id := binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), int(int16(binary.BigEndian.Uint16(b[12:])))
	if size < 10 || size > 100<<20 || api > 100 || version > 20 || id < 1 || id > 200 || uint32(id)+10 > size {
		return no
	}
	name := b[14:min(len(b), 14+id)]
	for _, c := range name {
		if c < 0x20 || c > 0x7e {
			return no
		}
	}
	if len(name) < id {
		return more
	}
	return yes
}

// amqpHeader: the protocol header of AMQP 0-9-1 and 1.0.
func amqpHeader(b []byte) answer {
	if a := prefix(b, "AMQP"); a != yes {
		return a
	}
	if len(b) < 8 {
		return more
	}
	return yes
}

// mqttConnect: a CONNECT with its protocol name (MQTT 5.0 section 3.1).
func mqttConnect(b []byte) answer {
	if a := prefix(b, "\x10"); a != yes {
		return a
	}
	i := 1
	for i < len(b) && i < 5 && b[i]&0x80 != 0 {
		i++
	}
	i++
	if i >= len(b) {
		return more
	}
	return anyOf("\x00\x04MQTT", "\x00\x06MQIsdp")(b[i:])
}

// redisCommand: an array of bulk strings (RESP).
func redisCommand(b []byte) answer {
	i, ok := digits(b, '*')
	switch {
	case !ok:
		return no
	case i >= len(b):
		return more
	}
	if a := prefix(b[i:], "\r\n$"); a != yes {
		return a
	}
	j, ok := digits(b[i+2:], '$')
	switch {
	case !ok:
		return no
	case i+2+j >= len(b):
		return more
	}
	return prefix(b[i+2+j:], "\r\n")
}

// digits reads mark and then one to nine digits; it returns where they end.
func digits(b []byte, mark byte) (int, bool) {
	if len(b) == 0 || b[0] != mark {
		return 0, false
	}
	i := 1
	for i < len(b) && i < 10 && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i, i > 1 || len(b) == 1
}

// redisReply: the reply types of RESP2 and RESP3 in one line.
func redisReply(b []byte) answer {
	if len(b) == 0 || !bytes.ContainsRune([]byte("+-:$*%~,#_(="), rune(b[0])) {
		return no
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > 512 {
			return no
		}
		return more
	}
	if end < 1 || b[end-1] != '\r' {
		return no
	}
	return yes
}

// socks5Methods: version, count, methods, and no more (RFC 1928 section 3).
func socks5Methods(b []byte) answer {
	if a := prefix(b, "\x05"); a != yes {
		return a
	}
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return more
	}
	if b[1] == 0 || len(b) > 2+int(b[1]) {
		return no
	}
	return yes
}

// socks4Request: version 4, CONNECT or BIND, ending with a NUL.
func socks4Request(b []byte) answer {
	if a := anyOf("\x04\x01", "\x04\x02")(b); a != yes {
		return a
	}
	if len(b) < 9 {
		return more
	}
	if b[len(b)-1] != 0 || len(b) > 600 {
		return no
	}
	return yes
}

// dnsOverTCP: a length and a message of that length (RFC 7766 section 8).
func dnsOverTCP(b []byte) answer {
	if len(b) < 19 {
		if len(b) > 0 && b[0] > 16 || len(b) > 7 && (b[6] != 0 || b[7] != 1) {
			return no
		}
		return more
	}
	if size := int(b[0])<<8 | int(b[1]); size < 17 || len(b) > size+2 || !dnsMessage(b[2:]) {
		return no
	}
	return yes
}

// incompleteProxy keeps a PROXY header that is not whole yet from being judged.
func incompleteProxy(b []byte) answer {
	if a := anyOf(proxyV1, proxyV2)(b); a != yes {
		return a
	}
	if len(b) > 4096 {
		return no
	}
	return more
}

const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// proxyHeader returns the size of a PROXY protocol header of version 1 or 2 that b
// begins with: what follows it is the connection proper
// (haproxy.org/download/3.0/doc/proxy-protocol.txt).
func proxyHeader(b []byte) (size int, a answer) {
	switch {
	case bytes.HasPrefix(b, []byte(proxyV1)):
		end := bytes.Index(b[:min(len(b), 108)], []byte("\r\n"))
		if end < 0 {
			return 0, more
		}
		return end + 2, yes
	case bytes.HasPrefix(b, []byte(proxyV2)):
		if len(b) < 16 {
			return 0, more
		}
		size = 16 + int(b[14])<<8 + int(b[15])
		if len(b) < size {
			return 0, more
		}
		return size, yes
	}
	return 0, no
}
