package verdict_test

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// conn returns a connection from a client at the given address.
func conn(id uint64, from string) *flow.Conn {
	return &flow.Conn{
		ID: id, Transport: 6, First: int64(id) * 1e9, Last: int64(id)*1e9 + 1e6, State: flow.SF,
		Orig: flow.Endpoint{Addr: netip.MustParseAddr(from), Port: 40000, Packets: 9},
		Resp: flow.Endpoint{Addr: netip.MustParseAddr("10.0.0.2"), Port: 443, Packets: 9},
	}
}

func feed(s *dissect.Session, chunks []capturetest.Chunk) {
	var at [2]int64
	for _, c := range chunks {
		side := dissect.Originator
		if c.FromServer {
			side = dissect.Responder
		}
		s.Data(side, at[side], c.Data, int64(c.Read), 0)
		at[side] += int64(len(c.Data))
	}
}

// judged judges a whole conversation, which both ends closed.
func judged(j *verdict.Judge, c *flow.Conn, chunks []capturetest.Chunk) verdict.Judged {
	s := dissect.New()
	feed(s, chunks)
	s.Closed(dissect.Originator, false)
	s.Closed(dissect.Responder, false)
	return j.Judge(c, s, "eth0", true)
}

func talk(t testing.TB, version uint16, auth capturetest.ClientAuth) *capturetest.Conversation {
	t.Helper()
	talks, err := capturetest.TLSTalk(version, auth, 1)
	if err != nil && auth != capturetest.Required {
		t.Fatal(err)
	}
	return talks[0]
}

func TestVerdictTable(t *testing.T) {
	for _, c := range []struct {
		name    string
		version uint16
		auth    capturetest.ClientAuth
		want    verdict.Verdict
		client  string
		basis   string
		outcome string
	}{
		{"1.3 mutual", tls.VersionTLS13, capturetest.Presented, verdict.MTLS, verdict.AuthPresented, verdict.BasisInferred, verdict.OutcomeEstablished},
		{"1.3 one-way", tls.VersionTLS13, capturetest.NotRequested, verdict.TLS, verdict.AuthNotRequested, verdict.BasisInferred, verdict.OutcomeEstablished},
		{"1.3 declined", tls.VersionTLS13, capturetest.Declined, verdict.TLS, verdict.AuthDeclined, verdict.BasisInferred, verdict.OutcomeEstablished},
		{"1.3 refused after a request", tls.VersionTLS13, capturetest.Required, verdict.TLS, verdict.AuthDeclined, verdict.BasisInferred, verdict.OutcomeIncomplete},
		{"1.2 mutual", tls.VersionTLS12, capturetest.Presented, verdict.MTLS, verdict.AuthPresented, verdict.BasisObserved, verdict.OutcomeEstablished},
		{"1.2 one-way", tls.VersionTLS12, capturetest.NotRequested, verdict.TLS, verdict.AuthNotRequested, verdict.BasisObserved, verdict.OutcomeEstablished},
		{"1.2 declined", tls.VersionTLS12, capturetest.Declined, verdict.TLS, verdict.AuthDeclined, verdict.BasisObserved, verdict.OutcomeEstablished},
		{"1.2 refused", tls.VersionTLS12, capturetest.Required, verdict.Failed, verdict.AuthDeclined, verdict.BasisObserved, verdict.OutcomeRejected},
		{"1.0 mutual", tls.VersionTLS10, capturetest.Presented, verdict.MTLS, verdict.AuthPresented, verdict.BasisObserved, verdict.OutcomeEstablished},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judged(verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), talk(t, c.version, c.auth).Chunks)
			x := got.TLS
			if got.Verdict != c.want || x.ClientAuth != c.client || x.ClientAuthBasis != c.basis || x.Outcome != c.outcome || !got.Settled {
				t.Errorf("%s %s/%s %s %v, want %s %s/%s %s", got.Verdict, x.ClientAuth, x.ClientAuthBasis, x.Outcome, got.Reasons, c.want, c.client, c.basis, c.outcome)
			}
			if len(got.Reasons) == 0 {
				t.Error("no reason given")
			}
		})
	}
}

// TestNoPrefixClaimsMore checks every prefix of a conversation. Each prefix shows the same client authentication as the
// whole conversation, or none. It shows mtls only after the server's reaction.
func TestNoPrefixClaimsMore(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, auth := range []capturetest.ClientAuth{capturetest.NotRequested, capturetest.Declined, capturetest.Presented, capturetest.Required} {
			chunks := talk(t, version, auth).Chunks
			whole := judged(verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), chunks)
			s := dissect.New()
			j := verdict.New(verdict.Config{})
			var at [2]int64
			for _, c := range chunks {
				side := dissect.Originator
				if c.FromServer {
					side = dissect.Responder
				}
				for piece := range slices.Chunk(c.Data, 7) {
					s.Data(side, at[side], piece, int64(c.Read), 0)
					at[side] += int64(len(piece))
					got := j.Judge(conn(1, "10.0.0.1"), s, "eth0", false)
					if got.Verdict == verdict.MTLS && whole.Verdict != verdict.MTLS {
						t.Fatalf("%x %d: mtls after %v bytes", version, auth, at)
					}
					if got.TLS != nil && got.TLS.ClientAuth == verdict.AuthPresented && whole.TLS.ClientAuth != verdict.AuthPresented {
						t.Fatalf("%x %d: presented after %v bytes: %v", version, auth, at, got.Reasons)
					}
					if got.Settled && got.Verdict != whole.Verdict {
						t.Fatalf("%x %d: settled on %s after %v bytes, the whole is %s", version, auth, got.Verdict, at, whole.Verdict)
					}
				}
			}
		}
	}
}

// TestOrderOfTheCaptureIsNoAnchor checks a capture in which the client's flight precedes the ServerHello. The
// flight is found by acknowledgements, not by the order of the packets.
func TestOrderOfTheCaptureIsNoAnchor(t *testing.T) {
	chunks := talk(t, tls.VersionTLS13, capturetest.NotRequested).Chunks
	s := dissect.New()
	var client, server []capturetest.Chunk
	for _, c := range chunks {
		if c.FromServer {
			server = append(server, c)
		} else {
			client = append(client, c)
		}
	}
	feed(s, client)
	at := int64(0)
	for _, c := range server {
		s.Data(dissect.Responder, at, c.Data, int64(c.Read), 0)
		at += int64(len(c.Data))
	}
	got := verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true)
	if got.Verdict != verdict.TLS || got.TLS.ClientAuth != verdict.AuthNotRequested {
		t.Errorf("%s %s %v", got.Verdict, got.TLS.ClientAuth, got.Reasons)
	}
}

func TestLostFlightIsUnknown(t *testing.T) {
	chunks := talk(t, tls.VersionTLS13, capturetest.NotRequested).Chunks
	s := dissect.New()
	var at [2]int64
	lost := false
	for _, c := range chunks {
		side := dissect.Originator
		if c.FromServer {
			side = dissect.Responder
		}
		gap := int64(0)
		if side == dissect.Originator && at[0] > 0 && !lost {
			lost = true // the segment with the Finished
			at[0] += int64(len(c.Data))
			continue
		}
		if side == dissect.Originator && lost && at[0] > 0 {
			gap = at[0] - int64(len(chunks[0].Data))
		}
		s.Data(side, at[side], c.Data, int64(c.Read), gap)
		at[side] += int64(len(c.Data))
	}
	got := verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true)
	if got.Verdict == verdict.MTLS || got.TLS.ClientAuth != verdict.AuthUnknown {
		t.Errorf("%s %s %v", got.Verdict, got.TLS.ClientAuth, got.Reasons)
	}
}

func TestInheritance(t *testing.T) {
	mutual, err := capturetest.TLSTalk(tls.VersionTLS13, capturetest.Presented, 2)
	if err != nil {
		t.Fatal(err)
	}
	oneway, err := capturetest.TLSTalk(tls.VersionTLS13, capturetest.NotRequested, 2)
	if err != nil {
		t.Fatal(err)
	}
	j := verdict.New(verdict.Config{})
	judged(j, conn(1, "10.0.0.1"), mutual[0].Chunks)
	got := judged(j, conn(2, "10.0.0.1"), mutual[1].Chunks)
	if got.Verdict != verdict.MTLS || got.TLS.ClientAuthBasis != verdict.BasisInherited || !got.TLS.Resumed {
		t.Errorf("resumed mutual: %s %s/%s %v", got.Verdict, got.TLS.ClientAuth, got.TLS.ClientAuthBasis, got.Reasons)
	}
	got = judged(j, conn(3, "10.0.0.9"), mutual[1].Chunks)
	if got.Verdict != verdict.TLS || got.TLS.ClientAuth != verdict.AuthUnknown {
		t.Errorf("another address inherits: %s %s", got.Verdict, got.TLS.ClientAuth)
	}
	// another client behind SNAT shares the address, and presents no certificate
	judged(j, conn(4, "10.0.0.1"), oneway[0].Chunks)
	got = judged(j, conn(5, "10.0.0.1"), mutual[1].Chunks)
	if got.Verdict != verdict.TLS || got.TLS.ClientAuth != verdict.AuthUnknown || !slices.Contains(got.Reasons, "disagreeing_handshakes") {
		t.Errorf("one client's proof became another's: %s %s %v", got.Verdict, got.TLS.ClientAuth, got.Reasons)
	}
}

func TestPlaintextAnswerToHello(t *testing.T) {
	hello := talk(t, tls.VersionTLS13, capturetest.NotRequested).Chunks[0]
	got := judged(verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), []capturetest.Chunk{hello, {FromServer: true, Read: len(hello.Data), Data: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}})
	if got.Verdict != verdict.Plaintext || !slices.Contains(got.Reasons, "cleartext_answer_to_hello") {
		t.Errorf("%s %v", got.Verdict, got.Reasons)
	}
}

// TestLossBeforeTLSIsUnknown checks bytes that were lost where a protocol was about to change from plaintext to
// TLS. Neither the plaintext before the loss nor the TLS of one end decides the verdict.
func TestLossBeforeTLSIsUnknown(t *testing.T) {
	before := []capturetest.Chunk{
		{FromServer: true, Data: []byte("220 mail.example ESMTP ready\r\n")}, {Data: []byte("EHLO me\r\n")}, {FromServer: true, Data: []byte("250 STARTTLS\r\n")},
		{Data: []byte("STARTTLS\r\n")}, {FromServer: true, Data: []byte("220 go ahead\r\n")},
	}
	chunks := talk(t, tls.VersionTLS12, capturetest.NotRequested).Chunks
	hello, answer, flight := chunks[0], chunks[1], chunks[2]
	play := func(after ...capturetest.Chunk) verdict.Judged {
		s, at := dissect.New(), [2]int64{}
		for _, c := range append(slices.Clone(before), after...) {
			side := dissect.Originator
			if c.FromServer {
				side = dissect.Responder
			}
			gap := int64(0)
			if len(c.Data) == 0 {
				gap = 100
			}
			at[side] += gap
			s.Data(side, at[side], c.Data, at[side.Other()], gap)
			at[side] += int64(len(c.Data))
		}
		return verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true)
	}
	lost := capturetest.Chunk{}
	for name, c := range map[string]struct {
		after []capturetest.Chunk
		want  verdict.Verdict
	}{
		"no loss":                   {nil, verdict.Plaintext},
		"nothing after it":          {[]capturetest.Chunk{lost}, verdict.Unknown},
		"plaintext after it":        {[]capturetest.Chunk{lost, {Data: []byte("MAIL FROM:<me@example>\r\n")}}, verdict.Plaintext},
		"the server's TLS":          {[]capturetest.Chunk{lost, answer}, verdict.Unknown},
		"the TLS of both":           {[]capturetest.Chunk{lost, answer, flight}, verdict.TLS},
		"plaintext response to TLS": {[]capturetest.Chunk{lost, answer, {Data: []byte("this is no TLS at all\r\n")}}, verdict.Plaintext},
	} {
		got := play(c.after...)
		if got.Verdict != c.want || c.want == verdict.Unknown && (!slices.Contains(got.Reasons, "tls_may_follow") || !slices.Contains(got.Reasons, "missed_bytes")) {
			t.Errorf("%s: %s %v, want %s", name, got.Verdict, got.Reasons, c.want)
		}
	}
	if got := play(hello, answer, flight); got.Verdict != verdict.TLS || got.TLS.UpgradedFrom != "smtp" {
		t.Errorf("without a loss: %s %v", got.Verdict, got.Reasons)
	}
}

func TestMidstream(t *testing.T) {
	rec := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	c := conn(1, "10.0.0.1")
	c.MissedStart = true
	got := judged(verdict.New(verdict.Config{}), c, []capturetest.Chunk{{Data: append(rec(100), rec(200)...)}, {FromServer: true, Data: rec(300)}})
	if got.Verdict != verdict.TLS || got.TLS.ClientAuth != verdict.AuthUnknown || !slices.Contains(got.Reasons, "missed_start") {
		t.Errorf("%s %v", got.Verdict, got.Reasons)
	}
}

func TestPlace(t *testing.T) {
	j := verdict.New(verdict.Config{Local: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}})
	http := []capturetest.Chunk{{Data: []byte("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")}}
	for _, c := range []struct{ from, iface, direction, scope string }{
		{"10.0.0.1", "eth0", "ingress", "wire"},
		{"10.0.0.2", "eth0", "internal", "pod"},
		{"10.9.9.9", "lo", "internal", "pod"},
	} {
		s := dissect.New()
		feed(s, http)
		got := j.Judge(conn(1, c.from), s, c.iface, true)
		if got.Direction != c.direction || got.Scope != c.scope || got.Class != "workload" || got.Verdict != verdict.Plaintext {
			t.Errorf("%+v: %s %s %s %s", c, got.Direction, got.Scope, got.Class, got.Verdict)
		}
	}
	// a probe needs its path, the node's address and a declared port
	node := verdict.New(verdict.Config{Local: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}, Nodes: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Probed: []verdict.Probe{{Port: 443}}})
	if got := judged(node, conn(1, "10.0.0.1"), http); got.Class != "probe" {
		t.Errorf("class %q, want probe", got.Class)
	}
}

// TestHelloAnsweredByWhatIsUnknown checks that a ClientHello answered by unknown bytes does not make a connection
// TLS, and that no outcome is reported for it.
func TestHelloAnsweredByWhatIsUnknown(t *testing.T) {
	binary := strings.Repeat("\x00\x01\x02\xff", 50)
	w := &player{t: t, s: dissect.New()}
	w.send(0, hello{}.bytes(true), -1)
	w.send(1, binary, -1)
	w.send(0, binary, -1)
	w.s.Closed(dissect.Originator, false)
	if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict != verdict.Unknown || !slices.Contains(got.Reasons, "unrecognized_data") {
		t.Error(said(got))
	}
	w = newPlayer(t, hello{}, hello{})
	w.send(0, binary, -1)
	w.send(1, binary, -1)
	w.s.Closed(dissect.Originator, false)
	if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict == verdict.Failed || got.TLS.Outcome != verdict.OutcomeIncomplete {
		t.Error(said(got))
	}
}

// TestTLSInsideOfCleartext checks plaintext that carries the bytes of a recorded TLS connection.
func TestTLSInsideOfCleartext(t *testing.T) {
	session := hello{}.bytes(true) + hello{}.bytes(false) + record(23, strings.Repeat("\xa7", 517)) + record(23, strings.Repeat("\xa7", 97)) + record(23, strings.Repeat("\xa7", 53))
	type line struct {
		side int
		text string
	}
	for name, c := range map[string]struct {
		before []line
		put    string
		after  []line
	}{
		"redis": {nil, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000\r\n", []line{{1, "+OK\r\n"}}},
		"http":  {nil, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", []line{{1, "HTTP/1.1 201 Created\r\n\r\n"}}},
		"smtp": {
			[]line{{1, "220 mail ESMTP\r\n"}, {0, "EHLO me\r\n"}, {1, "250-BINARYMIME\r\n250 CHUNKING\r\n"}, {0, "MAIL FROM:<a> BODY=BINARYMIME\r\n"}, {1, "250 OK\r\n"}},
			"BDAT 1000 LAST\r\n", []line{{1, "250 OK\r\n"}, {0, "QUIT\r\n"}},
		},
		"nats": {[]line{{1, "INFO {\"server_id\":\"x\"}\r\n"}, {0, "CONNECT {\"verbose\":false}\r\n"}}, "PUB a 1000\r\n", []line{{0, "PING\r\n"}, {1, "PONG\r\n"}}},
		"text": {[]line{{0, "hello, this is a protocol of lines\r\n"}, {1, "welcome, this is a protocol of lines\r\n"}}, "put 1000\r\n", []line{{1, "done\r\n"}}},
	} {
		for _, whole := range []bool{false, true} {
			w := &player{t: t, s: dissect.New()}
			for _, l := range c.before {
				w.send(l.side, l.text, -1)
			}
			if whole {
				w.send(0, c.put+session, -1)
			} else {
				w.send(0, c.put, -1)
				w.send(0, session, -1)
			}
			for _, l := range c.after {
				w.send(l.side, l.text, -1)
			}
			if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict != verdict.Plaintext {
				t.Errorf("%s, in one segment %v: %s %v", name, whole, got.Verdict, got.Reasons)
			}
		}
	}
}
