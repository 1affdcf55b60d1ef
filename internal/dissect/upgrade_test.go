package dissect_test

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

func client(s string) capturetest.Chunk { return capturetest.Chunk{Data: []byte(s)} }
func server(s string) capturetest.Chunk {
	return capturetest.Chunk{Data: []byte(s), FromServer: true}
}

// follow returns a conversation that comes after other messages. Its acknowledgements include the bytes of these messages.
func follow(before []capturetest.Chunk, talk *capturetest.Conversation) *capturetest.Conversation {
	out := &capturetest.Conversation{}
	var sent [2]int
	for _, c := range before {
		i := 0
		if c.FromServer {
			i = 1
		}
		c.Read = sent[1-i]
		sent[i] += len(c.Data)
		out.Chunks = append(out.Chunks, c)
	}
	for _, c := range talk.Chunks {
		if c.FromServer {
			c.Read += sent[0]
		} else {
			c.Read += sent[1]
		}
		out.Chunks = append(out.Chunks, c)
	}
	return out
}

// tunnels has conversations in plaintext protocols that TLS can follow.
var tunnels = []struct {
	name   string
	from   string // the expected result of UpgradedFrom
	before []capturetest.Chunk
}{
	{"smtp", "smtp", []capturetest.Chunk{
		server("220 mail.example ESMTP ready\r\n"), client("EHLO me\r\n"), server("250-mail.example\r\n250-STARTTLS\r\n250 OK\r\n"), client("STARTTLS\r\n"), server("220 go ahead\r\n"),
	}},
	{"smtp that does not name itself", "smtp", []capturetest.Chunk{
		server("220 mail.example ready\r\n"), client("EHLO me\r\n"), server("250 STARTTLS\r\n"), client("STARTTLS\r\n"), server("220 go\r\n"),
	}},
	{"imap", "imap", []capturetest.Chunk{
		server("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"), client("a1 STARTTLS\r\n"), server("a1 OK begin\r\n"),
	}},
	{"pop3", "pop3", []capturetest.Chunk{server("+OK POP3 ready\r\n"), client("STLS\r\n"), server("+OK begin\r\n")}},
	{"pop3 that does not name itself", "pop3", []capturetest.Chunk{server("+OK ready\r\n"), client("CAPA\r\n"), server("+OK\r\nSTLS\r\n.\r\n"), client("STLS\r\n"), server("+OK begin\r\n")}},
	{"ftp", "ftp", []capturetest.Chunk{server("220 FTP server\r\n"), client("AUTH TLS\r\n"), server("234 Proceed\r\n")}},
	{"ldap", "ldap", []capturetest.Chunk{
		client("0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037"),
		server("0\x24\x02\x01\x01x\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20037"),
	}},
	{"xmpp", "xmpp", []capturetest.Chunk{
		client("<?xml version='1.0'?><stream:stream to='x' xmlns='jabber:client' version='1.0'>"),
		server("<?xml version='1.0'?><stream:stream from='x' version='1.0'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"),
		client("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), server("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
	}},
	{"irc", "irc", []capturetest.Chunk{
		client("CAP LS 302\r\n"), server(":irc.example CAP * LS :tls\r\n"), client("STARTTLS\r\n"), server(":irc.example 670 * :STARTTLS successful\r\n"),
	}},
	{"postgresql", "postgresql", []capturetest.Chunk{client("\x00\x00\x00\x08\x04\xd2\x16\x2f"), server("S")}},
	{"mysql", "mysql", []capturetest.Chunk{
		server("\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00abcdefgh\x00\xff\xff\xff\x02\x00\xff\xdf\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00caching_sha2_password\x00"),
		client("\x20\x00\x00\x01\x05\xae\xff\x01\x00\x00\x00\x01\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
	}},
	{"socks5", "socks5", []capturetest.Chunk{
		client("\x05\x01\x00"), server("\x05\x00"), client("\x05\x01\x00\x03\x0bexample.org\x01\xbb"), server("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"),
	}},
	{"socks4", "socks4", []capturetest.Chunk{client("\x04\x01\x01\xbb\x0a\x00\x00\x01me\x00"), server("\x00\x5a\x01\xbb\x0a\x00\x00\x01")}},
	{"socks4a", "socks4", []capturetest.Chunk{client("\x04\x01\x01\xbb\x00\x00\x00\x01me\x00example.org\x00"), server("\x00\x5a\x00\x00\x00\x00\x00\x00")}},
	{"http connect", "http", []capturetest.Chunk{
		client("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n"), server("HTTP/1.1 200 Connection established\r\n\r\n"),
	}},
	{"http connect, authenticated at the second try", "http", []capturetest.Chunk{
		client("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"),
		server("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: NTLM\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("<p>no</p>\n", 300)),
		client("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nProxy-Authorization: NTLM c2VjcmV0\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n"),
	}},
	{"rdp", "rdp", []capturetest.Chunk{
		client("\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"), server("\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x00\x08\x00\x01\x00\x00\x00"),
	}},
	{"amqp", "amqp", []capturetest.Chunk{client("AMQP\x02\x01\x00\x00"), server("AMQP\x02\x01\x00\x00")}},
	{"nats", "nats", []capturetest.Chunk{server("INFO {\"server_id\":\"x\",\"tls_required\":true}\r\n")}},
	{"smtp with a long greeting that names nothing", "smtp", []capturetest.Chunk{
		server("220 mail.example.org ready and at your service, whoever you are\r\n"), client("EHLO me.example.org\r\n"), server("250-mail.example.org\r\n250 STARTTLS\r\n"), client("STARTTLS\r\n"), server("220 go\r\n"),
	}},
	{"lmtp", "lmtp", []capturetest.Chunk{
		server("220 store.example.org delivery agent at your service\r\n"), client("LHLO me\r\n"), server("250-store.example.org\r\n250 STARTTLS\r\n"), client("STARTTLS\r\n"), server("220 go\r\n"),
	}},
	{"ftp of FileZilla's kind", "ftp", []capturetest.Chunk{
		server("220-A server of files 1.8.0\r\n220 Please visit https://example.org/\r\n"), client("AUTH TLS\r\n"), server("234 Using authentication type TLS.\r\n"),
	}},
	{"ftp after a line of hashes", "ftp", []capturetest.Chunk{
		server("220-" + strings.Repeat("#", 79) + "\r\n220 \r\n"), client("AUTH SSL\r\n"), server("234 AUTH SSL OK.\r\n"),
	}},
	{"ftp after 4 KiB of legal notice", "ftp", []capturetest.Chunk{
		server(strings.Repeat("220-You may not be here unless you may be here.\r\n", 90) + "220 ready\r\n"), client("AUTH TLS\r\n"), server("234 Proceed\r\n"),
	}},
	{"pop3 with a long greeting", "pop3", []capturetest.Chunk{
		server("+OK Hello there, this is a friendly mail server.\r\n"), client("STLS\r\n"), server("+OK Begin\r\n"),
	}},
	{"pop3 with APOP", "pop3", []capturetest.Chunk{
		server("+OK <1896.697170952@dbc.mtview.ca.us>\r\n"), client("STLS\r\n"), server("+OK Begin\r\n"),
	}},
	{"nntp", "nntp", []capturetest.Chunk{
		server("200 news.example.org ready, posting allowed\r\n"), client("CAPABILITIES\r\n"), server("101 Capability list:\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n"), client("STARTTLS\r\n"), server("382 Continue with TLS negotiation\r\n"),
	}},
	{"sieve", "sieve", []capturetest.Chunk{
		server("\"IMPLEMENTATION\" \"Example\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n"), client("STARTTLS\r\n"), server("OK \"Begin TLS negotiation now.\"\r\n"),
	}},
	{"acap", "acap", []capturetest.Chunk{
		server("* ACAP (IMPLEMENTATION \"Example\") (STARTTLS)\r\n"), client("a1 STARTTLS\r\n"), server("a1 OK \"begin\"\r\n"),
	}},
	{"text of no known protocol", "", []capturetest.Chunk{
		server("Welcome to the Foo server, please speak now\r\n"), client("GO\r\n"), server("OK\r\n"),
	}},
	{"text of no known protocol that goes on for long", "", []capturetest.Chunk{
		server(strings.Repeat("Welcome to the Foo server, please speak now\r\n", 70)), client("GO\r\n"), server("OK\r\n"),
	}},
	{"three digits of no known protocol", "", []capturetest.Chunk{
		server("999 Welcome to the Foo server, please speak now\r\n"), client("UPGRADE\r\n"), server("299 as you wish\r\n"),
	}},
	{"consul", "", []capturetest.Chunk{client("\x03")}},
}

// TestTLSAfterPlaintext checks that TLS after plaintext is found however the bytes are split into segments, even if the hello shares a
// segment with plaintext before it.
func TestTLSAfterPlaintext(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.Presented)
	for _, c := range tunnels {
		t.Run(c.name, func(t *testing.T) {
			whole := follow(c.before, talk)
			for _, size := range []int{1, 2, 3, 5, 11, 12, 100, 1448} {
				s := dissect.New()
				play(s, whole, size)
				upgraded(t, s, c.from, size)
			}
		})
	}
}

func upgraded(t *testing.T, s *dissect.Session, from string, size int) {
	t.Helper()
	x := s.TLS()
	if x == nil || x.Hello == nil || x.Server == nil {
		kind, protocol := s.Kind(dissect.Originator)
		t.Fatalf("segments of %d: no handshake after it; the client is of kind %d %q: %+v", size, kind, protocol, x)
	}
	if x.Hello.ServerName == "" || x.Certs[0] == nil || x.Certs[1] == nil || !x.Finished[0] || !x.Finished[1] {
		t.Errorf("segments of %d: the handshake is incomplete: %+v", size, x)
	}
	if s.UpgradedFrom() != from || !s.Upgraded() || s.AnsweredInPlaintext() {
		t.Errorf("segments of %d: upgraded %v from %q, AnsweredInPlaintext %v", size, s.Upgraded(), s.UpgradedFrom(), s.AnsweredInPlaintext())
	}
}

// TestTLSAfterPlaintextSplitAtEveryByte splits the client's last plaintext message and its hello into segments, at every byte in turn.
func TestTLSAfterPlaintextSplitAtEveryByte(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.Presented)
	hello := talk.Chunks[0].Data
	for _, c := range tunnels {
		whole := follow(c.before, talk)
		at := len(c.before)
		for cut := 1; cut < len(hello); cut += 1 + cut/16 {
			chunks := slices.Clone(whole.Chunks)
			first, second := chunks[at], chunks[at]
			first.Data, second.Data = hello[:cut], hello[cut:]
			s := dissect.New()
			play(s, &capturetest.Conversation{Chunks: slices.Insert(chunks[:at:at], at, append([]capturetest.Chunk{first, second}, chunks[at+1:]...)...)}, 1<<16)
			upgraded(t, s, c.from, cut)
		}
	}
}

// TestHelloInTheSegmentBefore checks a hello in the same segment as the request for TLS. Clients of MySQL and SOCKS do not wait for an
// answer, and offloading merges segments.
func TestHelloInTheSegmentBefore(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.Presented)
	for _, c := range tunnels {
		last := c.before[len(c.before)-1]
		if last.FromServer {
			continue
		}
		whole := follow(c.before, talk)
		at := len(c.before)
		merged := whole.Chunks[at-1]
		merged.Data = slices.Concat(merged.Data, whole.Chunks[at].Data)
		chunks := append(slices.Clone(whole.Chunks[:at-1]), merged)
		s := dissect.New()
		play(s, &capturetest.Conversation{Chunks: append(chunks, whole.Chunks[at+1:]...)}, 1<<16)
		upgraded(t, s, c.from, 0)
	}
}

// TestProxyHeader checks that TLS after a PROXY header is not reported as an upgrade, because the header only precedes the proxied
// connection.
func TestProxyHeader(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.Presented)
	for _, header := range []string{
		"PROXY TCP4 10.1.2.3 10.4.5.6 40000 443\r\n",
		"PROXY UNKNOWN\r\n",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x0a\x01\x02\x03\x0a\x04\x05\x06\x9c\x40\x01\xbb",
		"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
	} {
		for _, size := range []int{1, 7, 1448} {
			s := dissect.New()
			play(s, follow([]capturetest.Chunk{client(header)}, talk), size)
			if x := s.TLS(); x == nil || x.Hello == nil || !x.Finished[0] || s.Upgraded() || s.UpgradedFrom() != "" {
				t.Errorf("after %q in segments of %d: %+v, upgraded %v", header, size, x, s.Upgraded())
			}
		}
	}
}

// TestProxyHeaderTwice checks that each proxy of a chain may send a header. TLS after the second header is reported as an upgrade from the
// PROXY protocol.
func TestProxyHeaderTwice(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.Presented)
	header := client("PROXY TCP4 10.1.2.3 10.4.5.6 40000 443\r\n")
	for _, size := range []int{1, 7, 1448} {
		s := dissect.New()
		play(s, follow([]capturetest.Chunk{header, header}, talk), size)
		upgraded(t, s, "proxy_protocol", size)
	}
}

// TestHelloAnsweredInPlaintext checks that a connection is not TLS if plaintext answers the hello, with or without plaintext before the
// hello.
func TestHelloAnsweredInPlaintext(t *testing.T) {
	hello := record(t, tls.VersionTLS13, capturetest.NotRequested).Chunks[0]
	one := &capturetest.Conversation{Chunks: []capturetest.Chunk{hello}}
	for name, before := range map[string][]capturetest.Chunk{
		"nothing":       nil,
		"smtp banner":   {server("220 mail ESMTP\r\n")},
		"smtp starttls": {server("220 mail ESMTP\r\n"), client("EHLO x\r\n"), server("250 OK\r\n"), client("STARTTLS\r\n"), server("220 go\r\n")},
	} {
		for _, size := range []int{1, 100, 1448} {
			talk := follow(before, one)
			answer := server("500 5.5.1 Invalid command: TLS is not what is spoken here\r\n")
			for _, c := range talk.Chunks {
				if !c.FromServer {
					answer.Read += len(c.Data)
				}
			}
			s := dissect.New()
			play(s, talk, size)
			if s.TLS() == nil || s.AnsweredInPlaintext() {
				t.Errorf("%s: before the answer: %+v, AnsweredInPlaintext %v", name, s.TLS(), s.AnsweredInPlaintext())
			}
			s = dissect.New()
			play(s, &capturetest.Conversation{Chunks: append(talk.Chunks, answer)}, size)
			if !s.AnsweredInPlaintext() {
				t.Errorf("%s: a plaintext answer is not noticed", name)
			}
		}
	}
}

// TestHelloAfterPlaintextLost checks that both sides must show TLS if the ClientHello after plaintext is missing. Until then the
// connection is doubtful, also at its end.
func TestHelloAfterPlaintextLost(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.Presented)
	for _, c := range tunnels {
		if c.from == "nats" || c.from == "" {
			continue // the client was not recognized as plaintext: nothing contradicts the server
		}
		for _, lost := range []int{1, 2, 3} { // 1: the client's hello is missing; 2: the server's hello, too; 3: and the client's next message
			s := dissect.New()
			var at, missed [2]int64
			for i, chunk := range follow(c.before, talk).Chunks {
				side := dissect.Originator
				if chunk.FromServer {
					side = dissect.Responder
				}
				if n := i - len(c.before); n >= 0 && n < lost {
					missed[side] += int64(len(chunk.Data))
					at[side] += int64(len(chunk.Data))
					continue
				}
				if i == len(c.before)+1 && lost == 1 && s.TLS() != nil {
					t.Errorf("%s: TLS before the server's hello", c.name)
				}
				s.Data(side, at[side], chunk.Data, int64(chunk.Read), missed[side])
				at[side], missed[side] = at[side]+int64(len(chunk.Data)), 0
				if i == len(c.before)+1 && lost == 1 && (s.TLS() == nil || s.TLS().Server == nil || !s.AnsweredInPlaintext() || !s.Doubtful()) {
					t.Errorf("%s: at the server's hello: %+v, AnsweredInPlaintext %v, doubtful %v", c.name, s.TLS(), s.AnsweredInPlaintext(), s.Doubtful())
				}
			}
			if x := s.TLS(); x == nil || s.AnsweredInPlaintext() != (lost == 3) || s.Doubtful() != (lost == 3) || !s.Upgraded() || s.UpgradedFrom() != c.from {
				t.Errorf("%s without %d messages: %+v, AnsweredInPlaintext %v, doubtful %v, upgraded from %q", c.name, lost, x, s.AnsweredInPlaintext(), s.Doubtful(), s.UpgradedFrom())
			}
		}
	}
}

// TestLossAfterPlaintext checks that plaintext after a gap is plaintext, and that other bytes leave the connection doubtful.
func TestLossAfterPlaintext(t *testing.T) {
	for _, c := range tunnels {
		if c.name == "consul" {
			continue // a single byte is not enough to be recognized as plaintext
		}
		for next, doubtful := range map[string]bool{
			"250 this is what it says\r\n":             false,
			string(noise(300)):                         true,
			"\x17\x03\x03\x00\x30" + string(noise(10)): true,
			"": true,
		} {
			s := dissect.New()
			play(s, &capturetest.Conversation{Chunks: c.before}, 1448)
			side := dissect.Responder
			if kind, _ := s.Kind(side); kind == dissect.KindNone {
				side = dissect.Originator
			}
			seen, _ := s.Seen(side)
			s.Data(side, seen+100, []byte(next), -1, 100)
			if s.Doubtful() != doubtful {
				t.Errorf("%s, then a loss and %q: doubtful %v", c.name, next, s.Doubtful())
			}
		}
	}
}
