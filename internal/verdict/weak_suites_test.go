package verdict_test

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/iana"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// suiteCases maps suites that a server may choose to the expected verdict, for a handshake in which the client
// presented a certificate.
var suiteCases = map[uint16]verdict.Verdict{
	0xff87: verdict.Plaintext, 0x0082: verdict.Plaintext, 0x0083: verdict.Plaintext, 0x001c: verdict.Plaintext, 0x00fe: verdict.Plaintext, 0x002e: verdict.Plaintext,
	0x0047: verdict.Unknown, 0x1399: verdict.Unknown, 0xff00: verdict.Unknown, 0xff86: verdict.Unknown, 0xc0fe: verdict.Unknown,
	0x00ff: verdict.Unknown, 0x5600: verdict.Unknown, 0x0a0a: verdict.Unknown, 0xfafa: verdict.Unknown,
	0xff85: verdict.MTLS, 0x0081: verdict.MTLS, 0xc100: verdict.MTLS, 0xc102: verdict.MTLS, 0x0084: verdict.MTLS, 0xc050: verdict.MTLS, 0xc0ae: verdict.MTLS,
	0xc0ff: verdict.MTLS, 0xccae: verdict.MTLS, 0x0003: verdict.MTLS, 0x0009: verdict.MTLS, 0x0062: verdict.MTLS, 0xfeff: verdict.MTLS,
}

func checkSuite(t *testing.T, name string, suite uint16, want verdict.Verdict, got verdict.Judged) {
	t.Helper()
	reasons := map[verdict.Verdict]string{verdict.Plaintext: "cipher_without_encryption", verdict.Unknown: "unfamiliar_suite"}
	if got.Verdict != want || got.TLS == nil || got.TLS.ClientAuth != verdict.AuthPresented || !got.TLS.Established {
		t.Errorf("%s: %#04x: %s, want %s", name, suite, said(got), want)
	}
	for v, reason := range reasons {
		if slices.Contains(got.Reasons, reason) != (v == want) {
			t.Errorf("%s: %#04x: %v", name, suite, got.Reasons)
		}
	}
}

// TestUnfamiliarSuites checks suites that are not known to encrypt. They never mean mutual TLS, over TCP or UDP,
// even if the client presented a certificate.
func TestUnfamiliarSuites(t *testing.T) {
	finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	for suite, want := range suiteCases {
		w := newPlayer(t, hello{old: true}, hello{old: true, suite: suite})
		server := serverMutual
		if !strings.HasPrefix(iana.CipherSuiteName(suite), "TLS_ECDHE") {
			server = strings.Replace(server, clear12(12, "\x03\x00\x1d"), "", 1)
		}
		w.send(1, server, -1)
		w.send(0, clientMutual+finished, -1)
		w.send(1, finished, -1)
		checkSuite(t, "TLS", suite, want, w.play("C 30 | S 30").judge(verdict.New(verdict.Config{}), 1, true))

		messages := capturetest.DTLS(talk(t, tls.VersionTLS12, capturetest.Presented))
		var chunks []capturetest.Chunk
		for _, c := range capturetest.Datagrams(messages, 1200) {
			c.Data = choosing(c.Data, suite)
			chunks = append(chunks, c)
		}
		checkSuite(t, "DTLS", suite, want, overUDP(chunks))
	}
}

// choosing replaces the suite in a datagram that begins with a ServerHello. It returns other datagrams unchanged.
func choosing(b []byte, suite uint16) []byte {
	const body = 13 + 12 // headers of the record and of the message
	if len(b) < body+35 || b[0] != 22 || b[13] != 2 {
		return b
	}
	b = slices.Clone(b)
	at := body + 34 + 1 + int(b[body+34])
	copy(b[at:], u16(suite))
	return b
}

// TestTextUnderUnfamiliarSuite checks that a connection with an unfamiliar suite is examined until its end, because it
// may be plaintext.
func TestTextUnderUnfamiliarSuite(t *testing.T) {
	finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	w := newPlayer(t, hello{old: true}, hello{old: true, suite: 0xff86})
	w.send(1, strings.Replace(serverMutual, clear12(12, "\x03\x00\x1d"), "", 1), -1)
	w.send(0, clientMutual+finished, -1)
	w.send(1, finished, -1)
	w.play("C 30 | S 30")
	j, c := verdict.New(verdict.Config{}), conn(1, "10.0.0.1")
	got := j.Judge(c, w.s, "eth0", false)
	if got.Verdict != verdict.Unknown || !got.Settled {
		t.Fatal(said(got))
	}
	w.s.Finish()
	conclusion := j.Conclude(c, w.s)
	if conclusion == nil || !conclusion.TailCounts() {
		t.Fatal("the conclusion does not follow later records")
	}
	w.send(1, record(23, login), -1)
	if got := j.Judge(c, w.s, "eth0", true); got.Verdict != verdict.Plaintext {
		t.Error(said(got))
	}
}

// TestOffersPlainOnly checks a client that offers only suites without encryption. Over TCP and UDP, its connection
// is plaintext even if the ServerHello was not captured.
func TestOffersPlainOnly(t *testing.T) {
	suites := func(all ...uint16) (out string) {
		for _, s := range all {
			out += u16(s)
		}
		return out
	}
	for _, c := range []struct {
		name, offers string
		plain        bool
	}{
		{"one", suites(0x003b), true},
		{"many, and signals", suites(0x0a0a, 0xc010, 0xff87, 0x0083, 0x00ff, 0x5600), true},
		{"RFC 9150", suites(0xc0b4, 0xc0b5), true},
		{"mixed", suites(0x003b, 0x002f), false},
		{"mixed with an unfamiliar one", suites(0x003b, 0x0047), false},
		{"signals alone", suites(0x00ff, 0x5600), false},
		{"usual ones", "", false},
	} {
		for lost, packets := range map[string]string{"hello": "S lost 90 | S 30 | C 30 | S 30", "all": "S lost 900 | C 100 100 | S 100"} {
			w := &player{t: t, memory: new(dissect.Pool)}
			w.s = w.memory.New()
			w.send(0, hello{old: true, offers: c.offers}.bytes(true), -1)
			got := w.play(packets).judge(verdict.New(verdict.Config{}), 1, true)
			if plain := got.Verdict == verdict.Plaintext && slices.Contains(got.Reasons, "cipher_without_encryption"); plain != c.plain {
				t.Errorf("%s, %s lost: %s", c.name, lost, said(got))
			}
		}
		w := &player{t: t, s: dissect.New()}
		w.send(0, hello{old: true, offers: c.offers}.bytes(true), -1)
		w.send(1, record(21, "\x02\x28"), -1)
		if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict != verdict.Failed {
			t.Errorf("%s, refused: %s", c.name, said(got))
		}
		body := hello{old: true, offers: c.offers}.bytes(true)[5+4:]
		cookie := 2 + 32 + 1
		body = "\xfe\xfd" + body[2:cookie] + "\x00" + body[cookie:]
		sealed := capturetest.DTLSRecord(23, 1, []byte(strings.Repeat("\xa7", 40)))
		got := overUDP([]capturetest.Chunk{{Data: capturetest.DTLSRecord(22, 0, capturetest.DTLSFragment(1, len(body), 0, 0, []byte(body)))}, {Data: sealed}, {FromServer: true, Data: sealed}})
		if plain := got.Verdict == verdict.Plaintext; plain != c.plain || got.Protocol != "dtls" {
			t.Errorf("%s, DTLS: %s %s %v", c.name, got.Verdict, got.Protocol, got.Reasons)
		}
	}
}
