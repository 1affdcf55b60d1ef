package dissect_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// play passes a conversation to a session in pieces of at most size bytes.
func play(s *dissect.Session, talk *capturetest.Conversation, size int) {
	var at [2]int64
	for _, c := range talk.Chunks {
		side := dissect.Originator
		if c.FromServer {
			side = dissect.Responder
		}
		for piece := range slices.Chunk(c.Data, size) {
			s.Data(side, at[side], piece, int64(c.Read), 0)
			at[side] += int64(len(piece))
		}
	}
}

func record(t *testing.T, version uint16, auth capturetest.ClientAuth) *capturetest.Conversation {
	t.Helper()
	talks, err := capturetest.TLSTalk(version, auth, 1)
	if err != nil {
		t.Fatal(err)
	}
	return talks[0]
}

func TestHandshakeWhateverTheSegments(t *testing.T) {
	for _, size := range []int{1, 2, 3, 5, 6, 7, 100, 1448, 1 << 16} {
		s := dissect.New()
		play(s, record(t, tls.VersionTLS12, capturetest.Presented), size)
		x := s.TLS()
		if x == nil || x.Hello == nil || x.Server == nil {
			t.Fatalf("pieces of %d: no handshake", size)
		}
		if x.Hello.ServerName != "cart.shop.svc.cluster.local" || x.Server.Version != tls.VersionTLS12 || !x.CertificateRequest || !x.ServerHelloDone || !x.CertificateVerify {
			t.Errorf("pieces of %d: %+v", size, x)
		}
		for _, side := range []dissect.Side{dissect.Originator, dissect.Responder} {
			if c := x.Certs[side]; c == nil || c.Length != 1 || c.Leaf == nil || !x.Finished[side] {
				t.Errorf("pieces of %d: side %d: certificate %v, finished %v", size, side, c, x.Finished[side])
			}
		}
	}
}

func TestProtectedRecordsCarryTheirAcknowledgement(t *testing.T) {
	s := dissect.New()
	play(s, record(t, tls.VersionTLS13, capturetest.Presented), 1448)
	x := s.TLS()
	list, complete := x.Records(dissect.Originator)
	if !complete || len(list) < 4 {
		t.Fatalf("records %v, complete %v", list, complete)
	}
	for _, r := range list {
		if r.Ack < x.ServerHelloEnd {
			t.Errorf("record %+v does not acknowledge the ServerHello's end %d", r, x.ServerHelloEnd)
		}
	}
	if list[2].Length != 53 {
		t.Errorf("third record has %d bytes, want a Finished of 53: %v", list[2].Length, list)
	}
}

// TestPrefixesOfHelloAreIncomplete checks that every strict prefix of a hello is an incomplete hello, and not another protocol.
func TestPrefixesOfHelloAreIncomplete(t *testing.T) {
	talk := record(t, tls.VersionTLS13, capturetest.NotRequested)
	hello := talk.Chunks[0].Data
	for n := 1; n < len(hello); n++ {
		s := dissect.New()
		s.Data(dissect.Originator, 0, hello[:n], 0, 0)
		s.Conclude()
		kind, name := s.Kind(dissect.Originator)
		if kind != dissect.KindNone && kind != dissect.KindTLS {
			t.Fatalf("prefix of %d bytes is of kind %d %q", n, kind, name)
		}
		if x := s.TLS(); x != nil && (x.Hello != nil || x.Server != nil) {
			t.Fatalf("prefix of %d bytes is a complete hello", n)
		}
	}
}

func TestHelloSplitOverRecords(t *testing.T) {
	hello := record(t, tls.VersionTLS13, capturetest.NotRequested).Chunks[0].Data
	body := hello[5:]
	for _, size := range []int{-2, -1, 1, 3, 4, 5, 6, 50, 700} {
		if size < 0 { // the last record contains one byte, which is also the type of a hello
			body, size = append(slices.Clip(body[:len(body)-1]), byte(-size)), 1
		}
		var wire []byte
		for part := range slices.Chunk(body, size) {
			wire = append(wire, 22, 3, 1, byte(len(part)>>8), byte(len(part)))
			wire = append(wire, part...)
		}
		s := dissect.New()
		s.Data(dissect.Originator, 0, wire, 0, 0)
		if x := s.TLS(); x == nil || x.Hello == nil || x.Hello.ServerName == "" {
			t.Errorf("records of %d bytes: no hello", size)
		}
	}
}

func TestGapInsideOfRecordKeepsTheLayer(t *testing.T) {
	rec := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	hello := record(t, tls.VersionTLS13, capturetest.NotRequested)
	s := dissect.New()
	play(s, &capturetest.Conversation{Chunks: hello.Chunks[:2]}, 1<<16)
	before, _ := s.TLS().Records(dissect.Responder)
	base := int64(len(hello.Chunks[1].Data))
	wire := append(rec(1000), rec(53)...)
	s.Data(dissect.Responder, base, wire[:200], 1, 0)
	s.Data(dissect.Responder, base+900, wire[900:], 1, 700)
	list, complete := s.TLS().Records(dissect.Responder)
	if !complete || len(list) != len(before)+2 || list[len(list)-1].Length != 53 {
		t.Errorf("after a gap inside of a record: %v, complete %v", list, complete)
	}
}

func TestGapOverHeaderEndsTheList(t *testing.T) {
	rec := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	hello := record(t, tls.VersionTLS13, capturetest.NotRequested)
	s := dissect.New()
	play(s, &capturetest.Conversation{Chunks: hello.Chunks[:2]}, 1<<16)
	before, _ := s.TLS().Records(dissect.Originator)
	wire := append(rec(53), rec(700)...)
	s.Data(dissect.Originator, 5000, wire, 1, 3000)
	list, complete := s.TLS().Records(dissect.Originator)
	if complete || len(list) != len(before) {
		t.Errorf("records after a gap are listed: %v, complete %v", list, complete)
	}
}

func TestCleartext(t *testing.T) {
	for _, c := range []struct {
		name, client, server string
		kind                 dissect.Kind
		protocol             string
	}{
		{"http", "GET /a?b=c HTTP/1.1\r\nHost: h:80\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", dissect.KindPlain, "http"},
		{"http response only", "", "HTTP/1.1 200 OK\r\n\r\n", dissect.KindPlain, "http"},
		{"http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", dissect.KindPlain, "http2"},
		{"ssh", "SSH-2.0-x\r\n", "SSH-2.0-y\r\n", dissect.KindGreeting, "ssh"},
		{"postgresql", "\x00\x00\x00\x20\x00\x03\x00\x00user\x00me\x00", "", dissect.KindPlain, "postgresql"},
		{"text", "hello there, friend\n", "", dissect.KindText, ""},
		{"proxy v1", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n", "", dissect.KindPlain, "http"},
		{"proxy v2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c123456789012GET / HTTP/1.1\r\n\r\n", "", dissect.KindPlain, "http"},
		{"redis", "*1\r\n$4\r\nPING\r\n", "+PONG\r\n", dissect.KindPlain, "redis"},
		{"ldap", "0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00", "0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00\x04\x00", dissect.KindPlain, "ldap"},
		{"mqtt", "\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc", "\x20\x02\x00\x00", dissect.KindPlain, "mqtt"},
		{"nats", "CONNECT {}\r\n", "INFO {\"server_id\":1}\r\n", dissect.KindPlain, "nats"},
		{"amqp", "AMQP\x00\x00\x09\x01", "\x01\x00\x00\x00\x00\x01\xff", dissect.KindPlain, "amqp"},
		{"kafka", "\x00\x00\x00\x14\x00\x12\x00\x03\x00\x00\x00\x01\x00\x03tap\x00\x00\x00\x00\x00\x00\x00", "", dissect.KindPlain, "kafka"},
		{"memcached", "get key1\r\n", "VALUE key1 0 1\r\nx\r\nEND\r\n", dissect.KindPlain, "memcached"},
		{"mongodb", "\x24\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x10ping\x00\x01\x00\x00\x00", "", dissect.KindPlain, "mongodb"},
		{"smtp", "EHLO a\r\n", "220 mail ESMTP ready\r\n", dissect.KindPlain, "smtp"},
		{"ftp", "USER me\r\n", "220 FTP ready\r\n", dissect.KindPlain, "ftp"},
		{"pop3", "USER me\r\n", "+OK POP3 ready\r\n", dissect.KindPlain, "pop3"},
		{"imap", "a1 LOGIN x y\r\n", "* OK IMAP ready\r\n", dissect.KindPlain, "imap"},
		{"mysql greeting", "", "\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00abcdefgh\x00", dissect.KindPlain, "mysql"},
		{"dns over tcp", "\x00\x11\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01", "", dissect.KindPlain, "dns"},
		{"binary", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\xff\xfe\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\xff\xfe\x00\x01\x02\x03\x04", "", dissect.KindUnreadable, ""},
		{"too little binary", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\xff\xfe", "", dissect.KindNone, ""},
		{"too little text", "hello there\n", "", dissect.KindNone, ""},
		{"redis is no pop3", "", "+OK\r\n+OK\r\n+OK\r\n+OK\r\n", dissect.KindText, ""},
	} {
		for _, size := range []int{1, 4, 1000} {
			s := dissect.New()
			play(s, &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: []byte(c.client)}, {Data: []byte(c.server), FromServer: true}}}, size)
			s.Conclude()
			side := dissect.Originator
			if c.client == "" {
				side = dissect.Responder
			}
			if kind, protocol := s.Kind(side); kind != c.kind || protocol != c.protocol {
				t.Errorf("%s in pieces of %d: kind %d %q, want %d %q", c.name, size, kind, protocol, c.kind, c.protocol)
			}
			if c.name == "http" {
				if h := s.HTTP(); h.Host != "h" || h.Path != "/a" || h.Status != 200 || h.Version != "1.1" {
					t.Errorf("http in pieces of %d: %+v", size, h)
				}
			}
		}
	}
}

func TestStartTLS(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.NotRequested)
	greeting := []capturetest.Chunk{
		{FromServer: true, Data: []byte("220 mail ESMTP\r\n")}, {Data: []byte("EHLO me\r\n")},
		{FromServer: true, Data: []byte("250-STARTTLS\r\n250 OK\r\n")}, {Data: []byte("STARTTLS\r\n")}, {FromServer: true, Data: []byte("220 go\r\n")},
	}
	s := dissect.New()
	play(s, &capturetest.Conversation{Chunks: append(greeting, talk.Chunks...)}, 1448)
	if s.TLS() == nil || s.TLS().Server == nil || s.UpgradedFrom() != "smtp" || !s.Upgraded() {
		t.Errorf("STARTTLS not followed: %+v from %q", s.TLS(), s.UpgradedFrom())
	}
}

// TestHelloInsideOfHTTPIsHTTP checks that a body of HTTP that begins like a ClientHello is still HTTP.
func TestHelloInsideOfHTTPIsHTTP(t *testing.T) {
	hello := record(t, tls.VersionTLS13, capturetest.NotRequested).Chunks[0].Data
	s := dissect.New()
	play(s, &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: []byte("PUT /f HTTP/1.1\r\nContent-Length: 9999\r\n\r\n")}, {Data: hello}}}, 1448)
	if s.TLS() != nil {
		t.Error("an upload was taken for TLS")
	}
}
