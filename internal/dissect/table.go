package dissect

import (
	"math/bits"
	"strings"
)

// recognizer knows one protocol by the first bytes that its client and its server
// send. Each function only looks at a bounded prefix; nil never matches. yes names the
// protocol by itself: it takes some forty bits that random bytes would have to hit.
type recognizer struct {
	protocol       string
	kind           Kind
	first          string // the bytes that a match can begin with; empty: any
	client, server func(b []byte) answer
	upgrades       bool // TLS may follow in the same stream
	middle         bool // yes holds at the start of any segment, not of the stream alone
	words          bool // lines of text: asked again of text that was not recognized at its start
}

func (r *recognizer) ask(f func([]byte) answer, b []byte) answer {
	if f == nil {
		return no
	}
	return f(b)
}

// maxRecognizers bounds the table.
const maxRecognizers = 128

// set holds recognizers by their index in the table.
type set [maxRecognizers / 64]uint64

func (s *set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *set) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }

// next returns the least index in s that is at least i, -1 if there is none.
func (s *set) next(i int) int {
	for w := i / 64; w < len(s); w++ {
		word := s[w]
		if w == i/64 {
			word = word >> (i % 64) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// byFirst holds for each byte the recognizers that can match what begins with it.
var byFirst = indexByFirst(recognizers, func(*recognizer) bool { return true })

// middleByFirst is byFirst for those that match in the middle of a stream.
var middleByFirst = indexByFirst(recognizers, func(r *recognizer) bool { return r.middle })

// wordsByFirst is byFirst for the protocols of lines of text.
var wordsByFirst = indexByFirst(recognizers, func(r *recognizer) bool { return r.words })

func indexByFirst(table []recognizer, wanted func(*recognizer) bool) (index [256]set) {
	for i := range table {
		r := &table[i]
		for c := range index {
			if wanted(r) && (r.first == "" || strings.IndexByte(r.first, byte(c)) >= 0) {
				index[c].add(i)
			}
		}
	}
	return index
}

// span returns the bytes from one to another.
func span(from, to byte) string {
	var b strings.Builder
	for c := int(from); c <= int(to); c++ {
		b.WriteByte(byte(c))
	}
	return b.String()
}

var (
	upper  = span('A', 'Z')
	either = upper + span('a', 'z')
	tags   = either + span('0', '9') + "."
)

// recognizers is the table of protocols, most telling first.
var recognizers = []recognizer{
	{protocol: "http", kind: KindPlain, first: upper + "-_", client: httpRequest, server: httpResponse, middle: true},
	{protocol: "http2", kind: KindPlain, first: "P\x00", client: literal(http2Preface), server: weak(http2Settings)},
	{protocol: "http2", kind: KindPlain, first: "\x00", client: http2Frames, server: http2Frames, middle: true},
	{protocol: "ssh", kind: KindGreeting, first: "S", client: sshBanner, server: sshBanner},
	{protocol: "postgresql", kind: KindPlain, first: "\x00SNG", client: postgresRequest, server: postgresChoice, upgrades: true},
	{protocol: "postgresql", kind: KindPlain, first: "\x00R", client: postgresStartup, server: postgresAuth},
	{protocol: "postgresql", kind: KindPlain, first: either + "123", client: postgresQuery, server: postgresReply, middle: true},
	{protocol: "mysql", kind: KindPlain, client: mysqlSSLRequest, server: mysqlGreeting, upgrades: true},
	{protocol: "mysql", kind: KindPlain, client: mysqlLogin},
	{protocol: "mysql", kind: KindPlain, client: mysqlQuery, server: weak(mysqlReply), middle: true},
	{protocol: "lmtp", kind: KindPlain, first: "Ll2", client: anyFold("LHLO "), server: lmtpGreeting, upgrades: true, middle: true, words: true},
	{protocol: "smtp", kind: KindPlain, first: "EeHhMm2", client: anyFold("EHLO ", "HELO ", "MAIL FROM:<"), server: smtpGreeting, upgrades: true, middle: true, words: true},
	{protocol: "imap", kind: KindPlain, first: tags + "*", client: weak(imapCommand), server: anyOf("* OK ", "* PREAUTH "), upgrades: true, words: true},
	{protocol: "pop3", kind: KindPlain, first: "UuCcSsAa+", client: weak(pop3Command), server: pop3Greeting, upgrades: true, words: true},
	{protocol: "ftp", kind: KindPlain, first: "UuAaFf2", client: weak(ftpCommand), server: ftpGreeting, upgrades: true, words: true},
	{protocol: "nntp", kind: KindPlain, first: "CcMmSsGgLlAa2", client: weak(nntpCommand), server: nntpGreeting, upgrades: true, words: true},
	{protocol: "sieve", kind: KindPlain, first: "\"SsAaCcLlOo", client: weak(sieveCommand), server: sieveGreeting, upgrades: true, words: true},
	{protocol: "acap", kind: KindPlain, first: tags + "*", client: weak(imapCommand), server: literal("* ACAP ("), upgrades: true, words: true},
	{protocol: "xmpp", kind: KindPlain, first: "<", client: xmppStream, server: xmppStream, upgrades: true},
	{protocol: "irc", kind: KindPlain, first: "NUCPS:", client: weak(anyOf("NICK ", "USER ", "CAP LS", "PASS ", "STARTTLS")), server: weak(ircServer), upgrades: true, words: true},
	{protocol: "ldap", kind: KindPlain, first: "0", client: ldapRequest, server: weak(ldapResponse), upgrades: true},
	{protocol: "rdp", kind: KindPlain, first: "\x03", client: rdpRequest, server: weak(rdpConfirm), upgrades: true},
	{protocol: "mongodb", kind: KindPlain, client: mongoMessage, server: mongoMessage, middle: true},
	{protocol: "kafka", kind: KindPlain, first: span(0, 6), client: kafkaRequest, server: weak(kafkaReply), middle: true},
	{protocol: "amqp", kind: KindPlain, first: "A", client: amqpHeader, server: amqpHeader, upgrades: true},
	{protocol: "amqp", kind: KindPlain, first: "\x01\x02\x03\x08", client: amqpFrames, server: amqpFrames, middle: true},
	{protocol: "nats", kind: KindPlain, first: "CPSHIM+-", client: weak(anyOf("CONNECT {", "PING\r\n", "PONG\r\n", "SUB ", "PUB ", "HPUB ")), server: natsServer, upgrades: true},
	{protocol: "mqtt", kind: KindPlain, first: "\x10\x20", client: mqttConnect, server: weak(mqttAck)},
	{protocol: "redis", kind: KindPlain, first: "*+-:$%~,#_(=PpAaHhIiQq", client: redisCommand, server: weak(redisReply), middle: true},
	{protocol: "memcached", kind: KindPlain, first: either + "\x80\x81", client: memcachedCommand, server: memcachedReply, middle: true},
	{protocol: "telnet", kind: KindPlain, first: "\xff", client: telnetOptions, server: telnetOptions, upgrades: true},
	{protocol: "bgp", kind: KindPlain, first: "\xff", client: bgpMessage, server: bgpMessage, middle: true},
	{protocol: "zabbix", kind: KindPlain, first: "Z", client: zabbixMessage, server: zabbixMessage, middle: true},
	{protocol: "fix", kind: KindPlain, first: "8", client: anyOf("8=FIX.", "8=FIXT"), server: anyOf("8=FIX.", "8=FIXT"), middle: true},
	{protocol: "rsync", kind: KindPlain, first: "@", client: literal("@RSYNCD: "), server: literal("@RSYNCD: ")},
	{protocol: "rfb", kind: KindPlain, first: "R", client: anyOf("RFB 003.", "RFB 004."), server: anyOf("RFB 003.", "RFB 004."), upgrades: true},
	{protocol: "syslog", kind: KindPlain, first: "<" + span('0', '9'), client: syslogLine, middle: true},
	{protocol: "tds", kind: KindPlain, first: span(1, 0x12), client: tdsMessage, server: tdsReply, upgrades: true},
	{protocol: "tns", kind: KindPlain, first: span(0, 0x20), client: tnsClient, server: tnsServer, upgrades: true},
	{protocol: "cassandra", kind: KindPlain, first: "\x03\x04\x05\x83\x84\x85", client: cqlRequest, server: cqlResponse, middle: true},
	{protocol: "thrift", kind: KindPlain, first: "\x00\x80\x82", client: thriftMessage, server: thriftMessage, middle: true},
	{protocol: "zookeeper", kind: KindPlain, first: "\x00", client: zookeeperClient, server: zookeeperServer, middle: true},
	{protocol: "clickhouse", kind: KindPlain, first: "\x00", client: clickhouseHello, server: clickhouseHello},
	{protocol: "elasticsearch", kind: KindPlain, first: "E", client: transportMessage, server: transportMessage, middle: true},
	{protocol: "openwire", kind: KindPlain, first: "\x00", client: openwireInfo, server: openwireInfo},
	{protocol: "ajp13", kind: KindPlain, first: "\x12A", client: ajpRequest, server: ajpResponse, middle: true},
	{protocol: "erlang", kind: KindPlain, first: "\x00", client: erlangNode, server: erlangNode},
	{protocol: "erlang", kind: KindPlain, first: "\x00", client: weak(erlangData), server: weak(erlangData)},
	{protocol: "redis", kind: KindPlain, first: "R", client: redisBus, server: redisBus, middle: true},
	{protocol: "bolt", kind: KindPlain, first: "\x60\x00", client: boltClient, server: weak(boltServer)},
	{protocol: "nbd", kind: KindPlain, first: "N\x00Ifg\x25", client: nbdClient, server: nbdServer, upgrades: true, middle: true},
	{protocol: "smb", kind: KindPlain, first: "\x00", client: smbMessage, server: smbMessage, middle: true},
	{protocol: "dcerpc", kind: KindPlain, first: "\x05", client: rpcMessage, server: rpcMessage, middle: true},
	{protocol: "oncrpc", kind: KindPlain, first: "\x00\x80", client: oncCall, server: oncReply, upgrades: true, middle: true},
	{protocol: "kerberos", kind: KindPlain, first: "\x00", client: kerberosOverTCP, server: kerberosOverTCP, middle: true},
	{protocol: "drda", kind: KindPlain, first: span(0, 0x7f), client: drdaMessage, server: drdaMessage, middle: true},
	{protocol: "iso8583", kind: KindPlain, first: span(0, 0x10) + "01234I\x60\xf0\xf1\xf2", client: isoMessage, server: isoMessage},
	{protocol: "diameter", kind: KindPlain, first: "\x01", client: diameterMessage, server: diameterMessage, middle: true},
	{protocol: "smpp", kind: KindPlain, first: "\x00", client: smppMessage, server: smppMessage, middle: true},
	{protocol: "hl7", kind: KindPlain, first: "\x0b", client: hl7Message, server: hl7Message, middle: true},
	{protocol: "pulsar", kind: KindPlain, first: "\x00", client: pulsarFrame, server: pulsarFrame, middle: true},
	{protocol: "dubbo", kind: KindPlain, first: "\xda", client: dubboRequest, server: dubboResponse, middle: true},
	{protocol: "zmtp", kind: KindPlain, first: "\xff", client: zmtpGreeting, server: zmtpGreeting},
	{protocol: "giop", kind: KindPlain, first: "G", client: giopMessage, server: giopMessage, middle: true},
	{protocol: "rmi", kind: KindPlain, first: "JN", client: literal("JRMI\x00\x02"), server: rmiAnswer},
	{protocol: "jdwp", kind: KindPlain, first: "J", client: literal("JDWP-Handshake"), server: literal("JDWP-Handshake")},
	{protocol: "gearman", kind: KindPlain, first: "\x00", client: gearmanPacket, server: gearmanPacket, middle: true},
	{protocol: "stomp", kind: KindPlain, first: "CSMRE", client: anyOf("CONNECT\n", "CONNECT\r\n", "STOMP\n", "STOMP\r\n"), server: anyOf("CONNECTED\n", "CONNECTED\r\n")},
	{protocol: "dicom", kind: KindPlain, first: "\x01\x02", client: dicomAssociation, server: dicomAssociation},
	{protocol: "aerospike", kind: KindPlain, first: "\x02", client: aerospikeMessage, server: aerospikeMessage, middle: true},
	{protocol: "tarantool", kind: KindPlain, first: "T", server: literal("Tarantool ")},
	{protocol: "ceph", kind: KindPlain, first: "c", client: literal("ceph v0"), server: literal("ceph v0")},
	{protocol: "hadoop", kind: KindPlain, first: "h", client: hadoopHeader},
	{protocol: "hbase", kind: KindPlain, first: "H", client: literal("HBas\x00\x50")},
	{protocol: "git", kind: KindPlain, first: span('0', '9') + "abcdef", client: gitRequest},
	{protocol: "sip", kind: KindPlain, first: upper + "_", client: sipMessage, server: sipMessage, middle: true},
	{protocol: "rtsp", kind: KindPlain, first: upper + "_", client: rtspMessage, server: rtspMessage, middle: true},
	{protocol: "iec104", kind: KindPlain, first: "\x68", client: anyOf("\x68\x04\x07\x00\x00\x00", "\x68\x04\x43\x00\x00\x00"), server: anyOf("\x68\x04\x0b\x00\x00\x00", "\x68\x04\x83\x00\x00\x00"), middle: true},
	{protocol: "socks5", kind: KindPlain, first: "\x05", client: weak(socks5Methods), server: weak(socks5Choice), upgrades: true},
	{protocol: "socks4", kind: KindPlain, first: "\x04\x00", client: weak(socks4Request), server: weak(socks4Reply), upgrades: true},
	{protocol: "dns", kind: KindPlain, client: dnsOverTCP, server: dnsOverTCP, middle: true},
}

// sameProtocol reports whether two names denote the same protocol.
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
