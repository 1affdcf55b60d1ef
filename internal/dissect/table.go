package dissect

// recognizer knows one protocol by the first bytes that its client and its server
// send. Each function only looks at a bounded prefix; nil never matches. yes names the
// protocol by itself: it takes some forty bits that random bytes would have to hit.
type recognizer struct {
	protocol       string
	kind           Kind
	client, server func(b []byte) answer
	upgrades       bool // TLS may follow in the same stream
	middle         bool // yes holds at the start of any segment, not of the stream alone
}

func (r *recognizer) ask(f func([]byte) answer, b []byte) answer {
	if f == nil {
		return no
	}
	return f(b)
}

// recognizers is the table of protocols, most telling first. At most 64.
var recognizers = []recognizer{
	{protocol: "http", kind: KindPlain, client: httpRequest, server: httpResponse, middle: true},
	{protocol: "http2", kind: KindPlain, client: literal(http2Preface), server: weak(http2Settings)},
	{protocol: "http2", kind: KindPlain, client: http2Frames, server: http2Frames, middle: true},
	{protocol: "ssh", kind: KindEncrypted, client: sshBanner, server: sshBanner},
	{protocol: "postgresql", kind: KindPlain, client: postgresRequest, server: postgresChoice, upgrades: true},
	{protocol: "postgresql", kind: KindPlain, client: postgresStartup, server: postgresAuth},
	{protocol: "postgresql", kind: KindPlain, client: postgresQuery, server: postgresReply, middle: true},
	{protocol: "mysql", kind: KindPlain, client: mysqlSSLRequest, server: mysqlGreeting, upgrades: true},
	{protocol: "mysql", kind: KindPlain, client: mysqlLogin},
	{protocol: "mysql", kind: KindPlain, client: mysqlQuery, server: weak(mysqlReply), middle: true},
	{protocol: "smtp", kind: KindPlain, client: anyFold("EHLO ", "HELO ", "LHLO ", "MAIL FROM:<"), server: smtpGreeting, upgrades: true, middle: true},
	{protocol: "imap", kind: KindPlain, client: weak(imapCommand), server: anyOf("* OK ", "* PREAUTH "), upgrades: true},
	{protocol: "pop3", kind: KindPlain, client: weak(anyFold("USER ", "CAPA\r\n", "STLS\r\n", "AUTH", "APOP ")), server: pop3Greeting, upgrades: true},
	{protocol: "ftp", kind: KindPlain, client: weak(anyFold("USER ", "AUTH ", "FEAT\r\n")), server: ftpGreeting, upgrades: true},
	{protocol: "xmpp", kind: KindPlain, client: xmppStream, server: xmppStream, upgrades: true},
	{protocol: "irc", kind: KindPlain, client: weak(anyOf("NICK ", "USER ", "CAP LS", "PASS ", "STARTTLS")), server: weak(ircServer), upgrades: true},
	{protocol: "ldap", kind: KindPlain, client: ldapRequest, server: weak(ldapResponse), upgrades: true},
	{protocol: "rdp", kind: KindPlain, client: rdpRequest, server: weak(rdpConfirm), upgrades: true},
	{protocol: "mongodb", kind: KindPlain, client: mongoMessage, server: mongoMessage, middle: true},
	{protocol: "kafka", kind: KindPlain, client: kafkaRequest, server: weak(kafkaReply), middle: true},
	{protocol: "amqp", kind: KindPlain, client: amqpHeader, server: amqpHeader, upgrades: true},
	{protocol: "amqp", kind: KindPlain, client: amqpFrames, server: amqpFrames, middle: true},
	{protocol: "nats", kind: KindPlain, client: weak(anyOf("CONNECT {", "PING\r\n", "PONG\r\n", "SUB ", "PUB ", "HPUB ")), server: natsServer, upgrades: true},
	{protocol: "mqtt", kind: KindPlain, client: mqttConnect, server: weak(mqttAck)},
	{protocol: "redis", kind: KindPlain, client: redisCommand, server: weak(redisReply), middle: true},
	{protocol: "memcached", kind: KindPlain, client: memcachedCommand, server: memcachedReply, middle: true},
	{protocol: "socks5", kind: KindPlain, client: weak(socks5Methods), server: weak(socks5Choice), upgrades: true},
	{protocol: "socks4", kind: KindPlain, client: weak(socks4Request), server: weak(socks4Reply), upgrades: true},
	{protocol: "dns", kind: KindPlain, client: dnsOverTCP, server: dnsOverTCP, middle: true},
}

// sameProtocol tells that two names stand for one protocol.
func sameProtocol(a, b string) bool { return a == b || a == "grpc" && b == "http2" }

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

// begins takes the yes of a prefix for more: what it stands before has still to come.
func begins(a answer) answer {
	if a == no {
		return no
	}
	return more
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

// anyFold is anyOf without regard to the case of letters; wants are in upper case.
func anyFold(wants ...string) func([]byte) answer {
	return func(b []byte) answer {
		best := no
		for _, w := range wants {
			best = max(best, prefixFold(b, w))
		}
		return best
	}
}

func prefixFold(b []byte, want string) answer {
	n := min(len(b), len(want))
	for i := range n {
		c := b[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != want[i] {
			return no
		}
	}
	if n < len(want) {
		return more
	}
	return yes
}

// plainLine returns b's first line, without its end. It must be text: whole is no where
// it is not, and more where it has not ended within limit bytes.
func plainLine(b []byte, limit int) (line []byte, whole answer) {
	for i, c := range b {
		switch {
		case c == '\n' && i > 0 && b[i-1] == '\r':
			return b[:i-1], yes
		case c == '\n':
			return b[:i], yes
		case c < 0x20 && c != '\t' && c != '\r' || c == 0x7f, i >= limit:
			return nil, no
		}
	}
	return nil, more
}
