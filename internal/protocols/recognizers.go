package protocols

import (
	"strings"
)

// Recognizer recognizes one protocol by the first bytes that its client and its server send. Its functions get at least one byte and
// examine a bounded prefix. They must return Yes only if random bytes would match with a probability of about 2^-40 or less.
type Recognizer struct {
	Protocol string
	Form     Form
	Upgrades bool // TLS may follow in the same stream

	first          string               // the bytes that a match can begin with; empty for any
	client, server func(b []byte) Match // nil never matches
	middle         bool                 // matches are valid at the start of any segment, not only of the stream
	lines          bool                 // lines of text: later segments of unrecognized text are matched, too
	answers        bool                 // the server sends nothing before the client does
}

// Form is the form in which a recognized protocol sends its data.
type Form uint8

// Forms in which a protocol sends its data.
const (
	Plain     Form = iota // plaintext
	Greeting              // a plaintext greeting; the protocol encrypts what follows by its own means
	Encrypted             // encrypted by the protocol's own means
)

// Client matches b against the client's messages.
func (r *Recognizer) Client(b []byte) Match {
	if r.client == nil {
		return No
	}
	return r.client(b)
}

// Server matches b against the server's messages.
func (r *Recognizer) Server(b []byte) Match {
	if r.server == nil {
		return No
	}
	return r.server(b)
}

// Answers reports whether the server sends nothing before the client does.
func (r *Recognizer) Answers() bool { return r.answers }

// StartingWith returns the recognizers of TCP whose matches can begin with c, at the start of a direction.
func StartingWith(c byte) *Set { return &byFirst[c] }

// MiddleStartingWith returns the recognizers of TCP whose matches can begin with c, at the start of any segment.
func MiddleStartingWith(c byte) *Set { return &middleByFirst[c] }

// LinesStartingWith returns the recognizers of line-based text protocols that can match bytes whose first byte is c.
func LinesStartingWith(c byte) *Set { return &linesByFirst[c] }

// OfLines returns the recognizer of a text protocol of lines over TCP, or nil if there is none with this name.
func OfLines(protocol string) *Recognizer {
	for i := range TCP {
		if r := &TCP[i]; r.lines && r.Protocol == protocol {
			return r
		}
	}
	return nil
}

// byFirst holds the recognizers of TCP by the first byte of their matches.
var byFirst = indexByFirst(TCP, func(*Recognizer) bool { return true })

// middleByFirst holds the recognizers of TCP that can match at the start of any segment.
var middleByFirst = indexByFirst(TCP, func(r *Recognizer) bool { return r.middle })

// linesByFirst holds the recognizers of TCP for protocols that consist of lines of text.
var linesByFirst = indexByFirst(TCP, func(r *Recognizer) bool { return r.lines })

// indexByFirst returns the wanted recognizers of a table, by the first byte of their matches.
func indexByFirst(table []Recognizer, wanted func(*Recognizer) bool) (index [256]Set) {
	for i := range table {
		r := &table[i]
		for c := range index {
			if wanted(r) && (r.first == "" || strings.IndexByte(r.first, byte(c)) >= 0) {
				index[c].Add(i)
			}
		}
	}
	return index
}

// First bytes of text protocols.
const (
	decimal = "0123456789"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	either  = upper + "abcdefghijklmnopqrstuvwxyz"
	tags    = either + decimal + "."
)

// ascii is the bytes from 0 to 0x7f. As a constant, the tables below need less code.
const ascii = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f" +
	" !\"#$%&'()*+,-./" + decimal + ":;<=>?@" + upper + "[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f"

// TCP is the table of protocols over TCP. The first match counts, so the more specific protocol comes first.
var TCP = []Recognizer{
	{Protocol: "http", first: either + decimal + "!#$%&'*+-.^_`|~" + whitespace, client: httpRequest, server: HTTPResponse, middle: true},
	{Protocol: "http2", first: "P\x00", client: literal(HTTP2Preface), server: weak(http2Settings)},
	{Protocol: "http2", first: "\x00", client: http2Frames, server: http2Frames, middle: true},
	{Protocol: "ssh", Form: Greeting, first: "S", client: SSHBanner, server: SSHBanner},
	{Protocol: "postgresql", first: "\x00SNG", client: postgresRequest, server: postgresChoice, Upgrades: true},
	{Protocol: "postgresql", first: "\x00R", client: postgresStartup, server: postgresAuth},
	{Protocol: "postgresql", first: either + "123", client: postgresQuery, server: postgresReply, middle: true},
	{Protocol: "mysql", client: mysqlSSLRequest, server: mysqlGreeting, Upgrades: true},
	{Protocol: "mysql", client: mysqlLogin},
	{Protocol: "mysql", client: mysqlQuery, server: weak(mysqlReply), middle: true},
	{Protocol: "lmtp", first: "Ll2", client: anyFold("LHLO "), server: lmtpGreeting, Upgrades: true, middle: true, lines: true},
	{Protocol: "smtp", first: "EeHhMm2", client: anyFold("EHLO ", "HELO ", "MAIL FROM:<"), server: smtpGreeting, Upgrades: true, middle: true, lines: true},
	{Protocol: "imap", first: tags + "*", client: weak(imapCommand), server: anyOf("* OK ", "* PREAUTH "), Upgrades: true, lines: true},
	{Protocol: "pop3", first: "UuCcSsAa+", client: weak(pop3Command), server: pop3Greeting, Upgrades: true, lines: true},
	{Protocol: "ftp", first: "UuAaFf2", client: weak(ftpCommand), server: ftpGreeting, Upgrades: true, lines: true},
	{Protocol: "nntp", first: "CcMmSsGgLlAa2", client: weak(nntpCommand), server: nntpGreeting, Upgrades: true, lines: true},
	{Protocol: "sieve", first: "\"SsAaCcLlOo", client: weak(sieveCommand), server: sieveGreeting, Upgrades: true, lines: true},
	{Protocol: "acap", first: tags + "*", client: weak(imapCommand), server: literal("* ACAP ("), Upgrades: true, lines: true},
	{Protocol: "xmpp", first: "<", client: xmppStream, server: xmppStream, Upgrades: true},
	{Protocol: "irc", first: "NUCPS:", client: weak(anyOf("NICK ", "USER ", "CAP LS", "PASS ", "STARTTLS")), server: weak(ircServer), Upgrades: true, lines: true},
	{Protocol: "ldap", first: "0", client: ldapRequest, server: weak(ldapResponse), Upgrades: true},
	{Protocol: "rdp", first: "\x03", client: rdpRequest, server: weak(rdpConfirm), Upgrades: true},
	{Protocol: "mongodb", client: mongoMessage, server: mongoMessage, middle: true},
	{Protocol: "kafka", first: ascii[:7], client: kafkaRequest, server: weak(kafkaReply), middle: true},
	{Protocol: "amqp", first: "A", client: amqpHeader, server: amqpHeader, Upgrades: true},
	{Protocol: "amqp", first: "\x01\x02\x03\x08", client: amqpFrames, server: amqpFrames, middle: true},
	{Protocol: "nats", first: "CPSHIMcpsh+-", client: weak(anyFold("CONNECT {", "PING\r\n", "PONG\r\n", "SUB ", "PUB ", "HPUB ")), server: natsServer, Upgrades: true, lines: true},
	{Protocol: "mqtt", first: "\x10\x20", client: mqttConnect, server: weak(mqttAck)},
	{Protocol: "redis", first: "*+-:$%~,#_(=PpAaHhIiQqSsCcEe\"'" + whitespace, client: redisCommand, server: weak(redisReply), middle: true, answers: true},
	{Protocol: "pop3", first: "Aa+", client: weak(anyFold("AUTH")), server: pop3Greeting, Upgrades: true, lines: true}, // AUTH of Redis comes before any reply
	{Protocol: "memcached", first: either + "\x80\x81", client: memcachedCommand, server: memcachedReply, middle: true},
	{Protocol: "telnet", first: "\xff", client: telnetOptions, server: telnetOptions, Upgrades: true, lines: true},
	{Protocol: "bgp", first: "\xff", client: bgpMessage, server: bgpMessage, middle: true},
	{Protocol: "zabbix", first: "Z", client: zabbixMessage, server: zabbixMessage, middle: true},
	{Protocol: "fix", first: "8", client: anyOf("8=FIX.", "8=FIXT"), server: anyOf("8=FIX.", "8=FIXT"), middle: true},
	{Protocol: "rsync", first: "@", client: literal("@RSYNCD: "), server: literal("@RSYNCD: ")},
	{Protocol: "rfb", first: "R", client: anyOf("RFB 003.", "RFB 004."), server: anyOf("RFB 003.", "RFB 004."), Upgrades: true},
	{Protocol: "syslog", first: "<" + decimal, client: syslogLine, middle: true},
	{Protocol: "tds", first: ascii[1:0x13], client: tdsMessage, server: tdsReply, Upgrades: true},
	{Protocol: "tns", first: ascii[:0x21], client: tnsClient, server: tnsServer, Upgrades: true},
	{Protocol: "cassandra", first: "\x03\x04\x05\x83\x84\x85", client: cqlRequest, server: cqlResponse, middle: true},
	{Protocol: "thrift", first: "\x00\x80\x82", client: thriftMessage, server: thriftMessage, middle: true},
	{Protocol: "zookeeper", first: "\x00", client: zookeeperClient, server: zookeeperServer, middle: true},
	{Protocol: "clickhouse", first: "\x00", client: clickhouseHello, server: clickhouseHello},
	{Protocol: "elasticsearch", first: "E", client: transportMessage, server: transportMessage, middle: true},
	{Protocol: "openwire", first: "\x00", client: openwireInfo, server: openwireInfo},
	{Protocol: "ajp13", first: "\x12A", client: ajpRequest, server: ajpResponse, middle: true},
	{Protocol: "erlang", first: "\x00", client: erlangNode, server: erlangNode},
	{Protocol: "erlang", first: "\x00", client: weak(erlangData), server: weak(erlangData)},
	{Protocol: "redis", first: "R", client: redisBus, server: redisBus, middle: true},
	{Protocol: "bolt", first: "\x60\x00", client: boltClient, server: weak(boltServer)},
	{Protocol: "nbd", first: "N\x00Ifg\x25", client: nbdClient, server: nbdServer, Upgrades: true, middle: true},
	{Protocol: "smb", first: "\x00", client: smbMessage, server: smbMessage, middle: true},
	{Protocol: "dcerpc", first: "\x05", client: rpcMessage, server: rpcMessage, middle: true},
	{Protocol: "oncrpc", first: "\x00\x80", client: oncCall, server: oncReply, Upgrades: true, middle: true},
	{Protocol: "kerberos", first: "\x00", client: kerberosOverTCP, server: kerberosOverTCP, middle: true},
	{Protocol: "drda", first: ascii, client: drdaMessage, server: drdaMessage, middle: true},
	{Protocol: "iso8583", first: ascii[:0x11] + "01234I\x60\xf0\xf1\xf2", client: isoMessage, server: isoMessage},
	{Protocol: "diameter", first: "\x01", client: diameterMessage, server: diameterMessage, middle: true},
	{Protocol: "smpp", first: "\x00", client: smppMessage, server: smppMessage, middle: true},
	{Protocol: "hl7", first: "\x0b", client: hl7Message, server: hl7Message, middle: true},
	{Protocol: "pulsar", first: "\x00", client: pulsarFrame, server: pulsarFrame, middle: true},
	{Protocol: "dubbo", first: "\xda", client: dubboRequest, server: dubboResponse, middle: true},
	{Protocol: "zmtp", first: "\xff", client: zmtpGreeting, server: zmtpGreeting},
	{Protocol: "giop", first: "G", client: giopMessage, server: giopMessage, middle: true},
	{Protocol: "rmi", first: "JN", client: literal("JRMI\x00\x02"), server: rmiAnswer},
	{Protocol: "jdwp", first: "J", client: literal("JDWP-Handshake"), server: literal("JDWP-Handshake")},
	{Protocol: "gearman", first: "\x00", client: gearmanPacket, server: gearmanPacket, middle: true},
	{Protocol: "stomp", first: "CSMRE", client: anyOf("CONNECT\n", "CONNECT\r\n", "STOMP\n", "STOMP\r\n"), server: anyOf("CONNECTED\n", "CONNECTED\r\n")},
	{Protocol: "dicom", first: "\x01\x02", client: dicomAssociation, server: dicomAssociation},
	{Protocol: "aerospike", first: "\x02", client: aerospikeMessage, server: aerospikeMessage, middle: true},
	{Protocol: "tarantool", first: "T", server: literal("Tarantool ")},
	{Protocol: "ceph", first: "c", client: literal("ceph v0"), server: literal("ceph v0")},
	{Protocol: "hadoop", first: "h", client: hadoopHeader},
	{Protocol: "hbase", first: "H", client: literal("HBas\x00\x50")},
	{Protocol: "git", first: decimal + "abcdef", client: gitRequest},
	{Protocol: "sip", first: upper + "_", client: sipMessage, server: sipMessage, middle: true},
	{Protocol: "rtsp", first: upper + "_", client: rtspMessage, server: rtspMessage, middle: true},
	{Protocol: "iec104", first: "\x68", client: anyOf("\x68\x04\x07\x00\x00\x00", "\x68\x04\x43\x00\x00\x00"), server: anyOf("\x68\x04\x0b\x00\x00\x00", "\x68\x04\x83\x00\x00\x00"), middle: true},
	{Protocol: "socks5", first: "\x05", client: weak(socks5Methods), server: weak(socks5Choice), Upgrades: true},
	{Protocol: "socks4", first: "\x04\x00", client: weak(socks4Request), server: weak(socks4Reply), Upgrades: true},
	{Protocol: "dns", client: dnsOverTCP, server: dnsOverTCP, middle: true},
}

// UDP is the table of protocols over UDP. Its functions get whole datagrams.
var UDP = []Recognizer{
	{Protocol: "dhcp", client: dhcpMessage, server: dhcpMessage},
	{Protocol: "snmp", Form: Encrypted, client: snmpSealed, server: snmpSealed},
	{Protocol: "snmp", client: snmpMessage, server: snmpMessage},
	{Protocol: "kerberos", client: kerberosMessage, server: kerberosMessage},
	{Protocol: "ldap", client: ldapRequest, server: weak(ldapResponse)},
	{Protocol: "radius", client: radiusMessage, server: radiusMessage},
	{Protocol: "memcached", client: memcachedPacket(memcachedCommand), server: memcachedPacket(memcachedReply)},
	{Protocol: "oncrpc", client: oncPacket(oncCall), server: oncPacket(oncReply)},
	{Protocol: "syslog", client: syslogLine},
	{Protocol: "statsd", client: statsdLine},
	{Protocol: "ntp", client: ntpPacket(3), server: ntpPacket(4)},
}

// Same reports whether a is protocol b or a protocol on top of it.
func Same(a, b string) bool { return a == b || a == "grpc" && b == "http2" }
