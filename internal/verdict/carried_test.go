package verdict_test

import (
	"bytes"
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

func udp() *flow.Conn {
	c := conn(1, "10.0.0.1")
	c.Transport = 17
	return c
}

// overUDP judges a whole conversation of datagrams.
func overUDP(chunks []capturetest.Chunk) verdict.Judged {
	s := dissect.New()
	for _, c := range chunks {
		side := dissect.Originator
		if c.FromServer {
			side = dissect.Responder
		}
		s.Datagram(side, c.Data)
	}
	return verdict.New(verdict.Config{}).Judge(udp(), s, "eth0", true)
}

// TestDTLS12 checks that a handshake of DTLS 1.2 shows the same facts as one of TLS 1.2, for any fragmentation of
// its messages.
func TestDTLS12(t *testing.T) {
	for _, c := range []struct {
		name    string
		auth    capturetest.ClientAuth
		want    verdict.Verdict
		client  string
		outcome string
	}{
		{"mutual", capturetest.Presented, verdict.MTLS, verdict.AuthPresented, verdict.OutcomeEstablished},
		{"one-way", capturetest.NotRequested, verdict.TLS, verdict.AuthNotRequested, verdict.OutcomeEstablished},
		{"declined", capturetest.Declined, verdict.TLS, verdict.AuthDeclined, verdict.OutcomeEstablished},
		{"refused", capturetest.Required, verdict.Failed, verdict.AuthDeclined, verdict.OutcomeRejected},
	} {
		all := capturetest.Datagrams(capturetest.DTLS(talk(t, tls.VersionTLS12, c.auth)), 300)
		got := overUDP(all)
		if got.Verdict != c.want || got.Protocol != "dtls" || got.TLS.ClientAuth != c.client || got.TLS.Outcome != c.outcome || got.TLS.Version != "1.2" || got.TLS.VersionProtocol != "dtls" {
			t.Errorf("%s: %s %s %+v %v", c.name, got.Verdict, got.Protocol, got.TLS, got.Reasons)
		}
		if got.TLS.JA4[0] != 'd' || got.TLS.JA3 == "" || got.TLS.ServerName == "" || got.TLS.Server == nil {
			t.Errorf("%s: %+v", c.name, got.TLS)
		}
		// lost messages are never called absent, and never make a connection mutual
		for lost := range all {
			less := overUDP(slices.Delete(slices.Clone(all), lost, lost+1))
			if less.Verdict == verdict.MTLS && c.want != verdict.MTLS {
				t.Errorf("%s without datagram %d: mtls", c.name, lost)
			}
			if x := less.TLS; x != nil && c.auth == capturetest.Presented && (x.ClientAuth == verdict.AuthNotRequested || x.ClientAuth == verdict.AuthDeclined) {
				t.Errorf("%s without datagram %d: %s %v", c.name, lost, x.ClientAuth, less.Reasons)
			}
		}
	}
}

// TestDTLSConnectionID checks records with a connection ID, which hide their content type (RFC 9146): one of them is
// the Finished.
func TestDTLSConnectionID(t *testing.T) {
	for auth, want := range map[capturetest.ClientAuth]verdict.Verdict{
		capturetest.Presented: verdict.MTLS, capturetest.Declined: verdict.TLS, capturetest.Required: verdict.Failed,
	} {
		messages := capturetest.DTLS(talk(t, tls.VersionTLS12, auth))
		hidden := 0
		for i := range messages {
			r := messages[i].Record
			if len(r) < 13 || r[4] == 0 { // not encrypted: epoch 0
				continue
			}
			hidden++
			messages[i].Record = slices.Concat([]byte{25}, r[1:11], []byte("cid1"), r[11:])
		}
		got := overUDP(capturetest.Datagrams(messages, 300))
		if got.Verdict != want || hidden == 0 {
			t.Errorf("%s %s %v, want %s; %d records hidden", got.Verdict, got.TLS.ClientAuth, got.Reasons, want, hidden)
		}
	}
}

// TestDTLSMessageInTwoForms sends a datagram with a certificate that the client does not have. The receiver drops
// the datagram, for example because its checksum is wrong. Then the client sends its real messages with the same
// sequence numbers, and only these count.
func TestDTLSMessageInTwoForms(t *testing.T) {
	declined := capturetest.DTLS(talk(t, tls.VersionTLS12, capturetest.Declined))
	at := slices.IndexFunc(declined, func(m capturetest.DTLSMessage) bool { return !m.FromServer && m.Type == 11 })
	var seq uint16 // sequence number of the client's Certificate
	for _, m := range declined[:at] {
		if !m.FromServer && m.Record == nil {
			seq++
		}
	}
	forged := []byte(certificates)
	fake := func(typ byte, n uint16, body []byte) capturetest.DTLSMessage {
		return capturetest.DTLSMessage{Record: capturetest.DTLSRecord(22, 0, capturetest.DTLSFragment(typ, len(body), n, 0, body))}
	}
	all := slices.Insert(slices.Clone(declined), at, fake(11, seq, forged), fake(16, seq+1, []byte("k")), fake(15, seq+2, []byte("v")))
	got := overUDP(capturetest.Datagrams(all, 1200))
	if got.Verdict != verdict.TLS || got.TLS.ClientAuth != verdict.AuthUnknown || !slices.Contains(got.Reasons, "conflicting_bytes") {
		t.Errorf("%s %s %v", got.Verdict, got.TLS.ClientAuth, got.Reasons)
	}
	twice := slices.Insert(slices.Clone(declined), at, fake(11, seq, declined[at].Body))
	if got := overUDP(capturetest.Datagrams(twice, 1200)); got.TLS.ClientAuth != verdict.AuthDeclined {
		t.Errorf("the same message twice: %s %v", got.TLS.ClientAuth, got.Reasons)
	}
}

// TestQUICHeaderIsNoProof checks that a long QUIC header proves nothing if nobody replies and no key decrypts the
// packet.
func TestQUICHeaderIsNoProof(t *testing.T) {
	b := append([]byte{0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e}, make([]byte, 1182)...)
	if got := overUDP([]capturetest.Chunk{{Data: b}}); got.Verdict != verdict.Unknown || got.Protocol != "quic" {
		t.Errorf("%s %s %v", got.Verdict, got.Protocol, got.Reasons)
	}
	got := overUDP([]capturetest.Chunk{{Data: b}, {FromServer: true, Data: b}})
	if got.Verdict != verdict.TLS || got.TLS.ClientAuth != verdict.AuthUnknown || got.TLS.Version != "1.3" {
		t.Errorf("answered: %s %+v %v", got.Verdict, got.TLS, got.Reasons)
	}
}

// TestCleartextBehindAHello checks that plaintext remains plaintext after a client's first datagram that is TLS, or
// looks like it.
func TestCleartextBehindAHello(t *testing.T) {
	header := append([]byte{0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e}, make([]byte, 1182)...)
	hello := capturetest.DTLSRecord(22, 0, capturetest.DTLSFragment(1, 100, 0, 0, make([]byte, 100)))
	text := []byte("this is text, and long enough to be so")
	for _, first := range [][]byte{header, hello} {
		talk := []capturetest.Chunk{{Data: first}, {FromServer: true, Data: text}, {Data: text}, {FromServer: true, Data: text}, {Data: text}}
		if got := overUDP(talk); got.Verdict != verdict.Plaintext || !slices.Contains(got.Reasons, "cleartext_answer_to_hello") || got.TLS != nil {
			t.Errorf("%x: %s %v", first[:4], got.Verdict, got.Reasons)
		}
	}
	for want, binary := range map[verdict.Verdict][]byte{
		verdict.Plaintext: append([]byte{0x41, 0, 1}, make([]byte, 60)...),
		verdict.Unknown:   append([]byte{0x41, 0, 1}, bytes.Repeat([]byte{0xa7}, 60)...),
	} {
		talk := []capturetest.Chunk{{Data: header}, {FromServer: true, Data: binary}, {Data: binary}, {FromServer: true, Data: binary}, {Data: binary}}
		if got := overUDP(talk); got.Verdict != want {
			t.Errorf("%s %v, want %s", got.Verdict, got.Reasons, want)
		}
	}
}

func TestStartTLSIsMutual(t *testing.T) {
	chunks := []capturetest.Chunk{
		{FromServer: true, Data: []byte("INFO {\"server_id\":\"x\",\"tls_required\":true}\r\n")},
	}
	shift := len(chunks[0].Data)
	for _, c := range talk(t, tls.VersionTLS13, capturetest.Presented).Chunks {
		if !c.FromServer {
			c.Read += shift
		}
		chunks = append(chunks, c)
	}
	got, _ := watched(chunks, true)
	if got.Verdict != verdict.MTLS || got.TLS.UpgradedFrom != "nats" || !slices.Contains(got.Reasons, "starttls") {
		t.Errorf("%s %+v %v", got.Verdict, got.TLS, got.Reasons)
	}
}

// TestTLSBehindAnyText checks that the verdict on unrecognized text does not settle while TLS may follow, for text
// of any length and from either end.
func TestTLSBehindAnyText(t *testing.T) {
	long := strings.Repeat("You may not be here unless you may be here.\r\n", 120)
	for _, c := range []struct {
		from           string
		greeting, word string
		answer         string
	}{
		{"smtp", "220 mail.example.org at your service, whoever you are\r\n", "EHLO me\r\n", "250 STARTTLS\r\n"},
		{"ftp", "220-" + strings.Repeat("#", 79) + "\r\n220 \r\n", "AUTH TLS\r\n", "234 go\r\n"},
		{"pop3", "+OK Hello there, this is a friendly mail server.\r\n", "STLS\r\n", "+OK\r\n"},
		{"nntp", "200 news.example.org is ready and you may post here\r\n", "STARTTLS\r\n", "382 go\r\n"},
		{"", "Welcome to the Foo server, please speak now\r\n", "GO\r\n", "OK\r\n"},
		{"", long, "GO\r\n", "OK\r\n"},
		{"ftp", "220-" + long + "220 \r\n", "AUTH TLS\r\n", "234 go\r\n"},
	} {
		chunks := []capturetest.Chunk{
			{FromServer: true, Data: []byte(c.greeting)}, {Data: []byte(c.word), Read: len(c.greeting)}, {FromServer: true, Data: []byte(c.answer), Read: len(c.word)},
		}
		for _, x := range talk(t, tls.VersionTLS13, capturetest.Presented).Chunks {
			if x.FromServer {
				x.Read += len(c.word)
			} else {
				x.Read += len(c.greeting) + len(c.answer)
			}
			chunks = append(chunks, x)
		}
		for _, finish := range []bool{true, false} {
			got, _ := watched(chunks, finish)
			if got.Verdict != verdict.MTLS || got.TLS.UpgradedFrom != c.from {
				t.Errorf("%.30q: %s %+v %v", c.greeting, got.Verdict, got.TLS, got.Reasons)
			}
		}
	}
}

// TestWhenCleartextIsSettled checks that the verdict plaintext does not settle while TLS may follow, and settles at
// once if TLS cannot follow.
func TestWhenCleartextIsSettled(t *testing.T) {
	for _, c := range []struct {
		name, client, server string
		settled              bool
	}{
		{"http request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", true},
		{"http connect", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "", false},
		{"http connect, granted", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", false},
		{"http connect, refused", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n", true},
		{"postgresql without TLS", "\x00\x00\x00\x12\x00\x03\x00\x00user\x00me\x00\x00", "R\x00\x00\x00\x08\x00\x00\x00\x00", true},
		{"postgresql that requests TLS", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "", false},
		{"smtp", "EHLO a\r\n", "220 a ESMTP\r\n", false},
		{"redis", "*1\r\n$4\r\nPING\r\n", "+PONG\r\n", true},
		{"text", "a protocol without a name says hello\n", "", false},
		{"text that mentions TLS", "a protocol without a name\nSTARTTLS\n", "", false},
		{"text of 2 KiB from one end", strings.Repeat("a protocol without a name says hello\n", 60), "", false},
		{"text of 2 KiB, answered", strings.Repeat("a protocol without a name says hello\n", 60), "OK\n", false},
		{"text of 64 KiB from one end", strings.Repeat("a protocol without a name says hello\n", 1800), "", true},
		{"a greeting of 3 KiB", "", "220-" + strings.Repeat("#", 3000) + "\r\n220 ready\r\n", false},
	} {
		s := dissect.New()
		feed(s, []capturetest.Chunk{{Data: []byte(c.client)}, {FromServer: true, Read: len(c.client), Data: []byte(c.server)}})
		j := verdict.New(verdict.Config{})
		got := j.Judge(conn(1, "10.0.0.1"), s, "eth0", false)
		if got.Verdict != verdict.Plaintext || got.Settled != c.settled {
			t.Errorf("%s: %s, settled %v", c.name, got.Verdict, got.Settled)
		}
		if c.client == "" || c.server == "" || strings.HasPrefix(c.client, "CONNECT") {
			continue
		}
		s.Data(dissect.Originator, int64(len(c.client)), []byte(strings.Repeat("and so it goes on\n", 120)), int64(len(c.server)), 0)
		if got := j.Judge(conn(1, "10.0.0.1"), s, "eth0", false); got.Verdict != verdict.Plaintext || !got.Settled {
			t.Errorf("%s, and 2 KiB more of both: %s, settled %v", c.name, got.Verdict, got.Settled)
		}
	}
}

// TestECHIsNoted checks that a server name is marked as the outer one if ECH was offered: ECH hides the real name.
func TestECHIsNoted(t *testing.T) {
	chunks := talk(t, tls.VersionTLS13, capturetest.NotRequested).Chunks
	hello := slices.Clone(chunks[0].Data)
	// the hello grows by an empty extension, so three lengths grow too
	at := 5 + 4 + 2 + 32
	at += 1 + int(hello[at])
	at += 2 + int(hello[at])<<8 + int(hello[at+1])
	at += 1 + int(hello[at])
	hello = append(hello, 0xfe, 0x0d, 0, 0)
	for _, i := range []int{3, 7, at} {
		n := int(hello[i])<<8 + int(hello[i+1]) + 4
		hello[i], hello[i+1] = byte(n>>8), byte(n)
	}
	s := dissect.New()
	s.Data(dissect.Originator, 0, hello, 0, 0)
	got := verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true)
	if got.TLS == nil || !got.TLS.ECHOffered || !slices.Contains(got.Reasons, "ech_offered") || got.TLS.ServerName == "" {
		t.Errorf("%+v %v", got.TLS, got.Reasons)
	}
}
