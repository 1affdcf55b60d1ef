package verdict_test

import (
	"crypto/tls"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Plaintext of honest ends.
const (
	login    = "POST /login HTTP/1.1\r\nHost: bank\r\nAuthorization: Basic dXNlcjpwYXNz\r\nContent-Length: 0\r\n\r\n"
	response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	setKey   = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\nsecret\r\n"
	textLine = "this is a protocol of lines without a name, spoken by one end\r\n"
)

// fakes returns bytes that one end can send to make a connection look encrypted.
func fakes() map[string]string {
	cipher := func(n int) string { return record(23, strings.Repeat("\xa7", n)) }
	old := hello{old: true, suite: 0x002f}
	finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	return map[string]string{
		"empty records":           strings.Repeat(record(23, ""), 3),
		"records too small":       strings.Repeat(record(23, "\r\n"), 5),
		"records":                 cipher(300) + cipher(900) + cipher(40) + cipher(77),
		"alerts":                  strings.Repeat(record(21, "\x02\x28"), 4),
		"sealed alerts":           strings.Repeat(record(21, strings.Repeat("\xa7", 19)), 4),
		"an SSH banner":           capturetest.SSHBanner,
		"an SSH key exchange":     capturetest.SSHBanner + string(capturetest.SSHKexInit()),
		"a ClientHello":           hello{}.bytes(true),
		"a refused ClientHello":   hello{}.bytes(true) + record(21, "\x02\x28"),
		"a hello of SSL 2.0":      v2Hello(2),
		"a ServerHello":           hello{}.bytes(false),
		"a client's handshake":    hello{}.bytes(true) + clientMutual + finished + cipher(300) + cipher(300),
		"a server's handshake":    old.bytes(false) + serverOneWay + finished + cipher(300) + cipher(300),
		"a server of TLS 1.3":     hello{}.bytes(false) + record(20, "\x01") + cipher(32) + cipher(900) + cipher(286) + cipher(53) + cipher(239) + cipher(300),
		"a server without cipher": hello{old: true, suite: 0x003b}.bytes(false) + serverOneWay + finished + cipher(300),
		"both hellos":             hello{}.bytes(true) + hello{}.bytes(false) + cipher(300) + cipher(300),
	}
}

// encrypted reports whether a verdict claims encryption.
func encrypted(j verdict.Judged) bool {
	return j.Verdict == verdict.MTLS || j.Verdict == verdict.TLS && j.TLS.Outcome == verdict.OutcomeEstablished || j.Verdict == verdict.Encrypted
}

// TestOneEndAlone checks that the bytes of one end never make a connection encrypted or settle its verdict.
// Plaintext of either end is found even if it comes late: an end that has closed its direction can still receive
// plaintext.
func TestOneEndAlone(t *testing.T) {
	for name, fake := range fakes() {
		for _, liar := range []int{0, 1} {
			for _, late := range []bool{false, true} {
				for _, midstream := range []bool{false, true} {
					for _, size := range []int{1448, 11} {
						c := conn(1, "10.0.0.1")
						c.MissedStart = midstream
						play := func(half bool) *player {
							w := &player{t: t, s: dissect.New()}
							for piece := range slices.Chunk([]byte(fake), size) {
								w.send(liar, string(piece), -1)
							}
							if half {
								w.s.Closed(dissect.Side(liar), false)
							}
							return w
						}
						j := verdict.New(verdict.Config{})
						w := play(late)
						if got := j.Judge(c, w.s, "eth0", false); encrypted(got) || got.Settled || j.Settled(c, w.s) {
							t.Errorf("%s of side %d, mid-stream %v: settled %v on %s %v", name, liar, midstream, got.Settled, got.Verdict, got.Reasons)
						}
						w.send(1-liar, []string{login, response}[1-liar], 0)
						if got := j.Judge(c, w.s, "eth0", true); got.Verdict != verdict.Plaintext {
							t.Errorf("%s of side %d, mid-stream %v: %s %v, the other end spoke plaintext", name, liar, midstream, got.Verdict, got.Reasons)
						}
						if late {
							continue
						}
						w = play(false)
						if got := j.Judge(c, w.s, "eth0", true); encrypted(got) || got.Verdict == verdict.Plaintext && name != "a server without cipher" {
							t.Errorf("%s of side %d alone, mid-stream %v: %s %v", name, liar, midstream, got.Verdict, got.Reasons)
						}
					}
				}
			}
		}
	}
}

// TestShortAnswers checks a few bytes in response to a claim of encryption. They refute the claim, unless they claim
// encryption too.
func TestShortAnswers(t *testing.T) {
	binary := func(name string) bool { return strings.HasPrefix(name, "\x00") }
	for name, fake := range fakes() {
		for _, liar := range []int{0, 1} {
			for _, said := range []string{"ERROR\r\n", "-\r\n", "\x00\x01\x02"} {
				w := &player{t: t, s: dissect.New()}
				w.send(liar, fake, -1)
				w.send(1-liar, said, -1)
				j := verdict.New(verdict.Config{})
				for side := range dissect.Side(2) {
					w.s.Closed(side, false)
				}
				if got := w.judge(j, 1, false); got.Settled && got.Verdict != verdict.Plaintext {
					t.Errorf("%s of side %d, answered %q: settled on %s %v", name, liar, said, got.Verdict, got.Reasons)
				}
				got := w.judge(j, 1, true)
				if binary(said) && (got.Verdict == verdict.Unknown || name == "a server without cipher") {
					continue
				}
				if got.Verdict != verdict.Plaintext || binary(said) {
					t.Errorf("%s of side %d, answered %q: %s %v", name, liar, said, got.Verdict, got.Reasons)
				}
			}
		}
	}
	// a greeting is not a response
	w := &player{t: t, s: dissect.New()}
	w.send(1, "220 hi\r\n", -1)
	w.send(0, hello{}.bytes(true), 0)
	if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict != verdict.TLS {
		t.Errorf("a hello after a greeting: %s", said(got))
	}
}

// TestStructuredAnswers checks binary plaintext of an unknown protocol in response to a claim of encryption. It is
// distinguished from ciphertext.
func TestStructuredAnswers(t *testing.T) {
	for name, fake := range fakes() {
		for _, liar := range []int{0, 1} {
			for _, midstream := range []bool{false, true} {
				for _, cipher := range []bool{false, true} {
					c := conn(1, "10.0.0.1")
					c.MissedStart = midstream
					w := &player{t: t, s: dissect.New()}
					w.send(liar, fake, -1)
					r := rand.New(rand.NewPCG(1, 2))
					for i := range 12 {
						b := []byte("\xfe\x01\x00\x07cust\x00\x00\x00" + string(rune('a'+i)) + strings.Repeat("\x00\x00\x00\x02\x03\x00\x00\x00\x01", 40))
						for k := range b {
							if cipher {
								b[k] = byte(r.Uint32())
							}
						}
						w.send(1-liar, string(b), -1)
					}
					got := verdict.New(verdict.Config{}).Judge(c, w.s, "eth0", true)
					if encrypted(got) || (got.Verdict == verdict.Plaintext) == cipher && name != "a server without cipher" {
						t.Errorf("%s of side %d, mid-stream %v, ciphertext %v: %s %v", name, liar, midstream, cipher, got.Verdict, got.Reasons)
					}
				}
			}
		}
	}
}

// TestOneEndGoesOn checks an end that claims encryption and then continues in plaintext, while the bytes of the
// other end prove nothing. The plaintext is found.
func TestOneEndGoesOn(t *testing.T) {
	for name, fake := range fakes() {
		if name == "both hellos" {
			continue // both hellos come from one end
		}
		for what, text := range map[string]string{"http": login, "redis": setKey, "text": textLine} {
			for liar := range 2 {
				for _, silent := range []bool{false, true} {
					w := &player{t: t, s: dissect.New()}
					w.send(liar, fake, -1)
					if !silent {
						w.send(1-liar, strings.Repeat("\x00\x01\x02\xff", 50), -1)
					}
					for range 3 {
						w.send(liar, text, -1)
					}
					if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict != verdict.Plaintext {
						t.Errorf("%s of side %d, then %s, silent %v: %s %v", name, liar, what, silent, got.Verdict, got.Reasons)
					}
				}
			}
		}
	}
}

// TestRecordsWithoutAHello checks streams that begin with protected records. If the start was captured, they are not
// TLS. If the start was not captured, records of both ends settle the verdict; a stream with records of only one end is
// TLS with unknown outcome.
func TestRecordsWithoutAHello(t *testing.T) {
	records := "C 100 200 | C 300"
	for _, c := range []struct {
		name     string
		start    bool // the start was captured
		packets  string
		verdict  verdict.Verdict
		settled  bool
		reasons  string
		responds bool // packets of the responder were captured
	}{
		{"both, from the start", true, records + " | S 100 | S 400 | S 300", verdict.Unknown, false, "unrecognized_data", true},
		{"both, mid-stream", false, records + " | S 100 | S 400", verdict.TLS, true, "mid_stream_records", true},
		{"one, from the start", true, records, verdict.Unknown, false, "unrecognized_data", true},
		{"one, mid-stream", false, records, verdict.TLS, false, "one_end_only", true},
		{"one direction of them", false, records, verdict.TLS, false, "one_direction_only", false},
		{"one record is not enough of the other", false, records + " | S 100", verdict.TLS, false, "mid_stream_records", true},
		{"small ones of the other", false, records + " | S 0 0 0 | S 2", verdict.TLS, false, "one_end_only", true},
		{"small ones of both", false, "C 0 0 0 | S 0 0 0", verdict.Unknown, false, "too_little_data", true},
		{"loss before the first", true, "C lost 300 | " + records + " | S lost 200 | S 100 | S 400", verdict.TLS, true, "mid_stream_records", true},
	} {
		w := (&player{t: t, s: dissect.New()}).play(c.packets)
		k := conn(1, "10.0.0.1")
		k.MissedStart = !c.start
		if !c.responds {
			k.Resp.Packets = 0
		}
		j := verdict.New(verdict.Config{})
		if got := j.Settled(k, w.s); got != c.settled {
			t.Errorf("%s: settled %v", c.name, got)
		}
		got := j.Judge(k, w.s, "eth0", true)
		if got.Verdict != c.verdict || !slices.Contains(got.Reasons, c.reasons) || got.TLS != nil && got.TLS.Outcome != verdict.OutcomeIncomplete {
			t.Errorf("%s: %s %v %+v", c.name, got.Verdict, got.Reasons, got.TLS)
		}
	}
}

// TestSSHTakesBothEnds checks that SSH is encrypted only once both ends have sent their key exchange.
func TestSSHTakesBothEnds(t *testing.T) {
	banner, kex := capturetest.SSHBanner, string(capturetest.SSHKexInit())
	for _, c := range []struct {
		name, client, server string
		verdict              verdict.Verdict
		reason               string
	}{
		{"both", banner + kex, banner + kex, verdict.Encrypted, "ssh_banner"},
		{"banners", banner, banner, verdict.Unknown, "too_little_data"},
		{"banners and one key exchange", banner + kex, banner, verdict.Unknown, "too_little_data"},
		{"a health check", "", banner, verdict.Unknown, "one_end_only"},
		{"one end", "", banner + kex, verdict.Unknown, "one_end_only"},
		{"something else answers", banner + kex, strings.Repeat("\x00\x01\x02\xff", 50), verdict.Unknown, "unrecognized_data"},
	} {
		w := &player{t: t, s: dissect.New()}
		w.send(0, c.client, -1)
		w.send(1, c.server, -1)
		j := verdict.New(verdict.Config{})
		if got := j.Settled(conn(1, "10.0.0.1"), w.s); got != (c.verdict == verdict.Encrypted) {
			t.Errorf("%s: settled %v", c.name, got)
		}
		got := w.judge(j, 1, true)
		if got.Verdict != c.verdict || got.Protocol != "ssh" && c.reason != "unrecognized_data" || !slices.Contains(got.Reasons, c.reason) {
			t.Errorf("%s: %s %q %v", c.name, got.Verdict, got.Protocol, got.Reasons)
		}
	}
}

// TestNullSuites checks that an established handshake with a suite that does not encrypt is plaintext, with the
// client authentication that was observed.
func TestNullSuites(t *testing.T) {
	finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	for _, suite := range []uint16{0x0001, 0x0002, 0x003b, 0x00b0, 0xc006, 0xc010, 0xc015, 0xc03b} {
		for client, auth := range map[string]string{clientMutual: verdict.AuthPresented, clientOneWay: verdict.AuthDeclined} {
			w := newPlayer(t, hello{old: true}, hello{old: true, suite: suite})
			w.send(1, serverMutual, -1)
			if client == clientOneWay {
				client = record(22, message(11, sized(3, ""))) + client
			}
			w.send(0, client+finished, -1)
			w.send(1, finished, -1)
			got := w.play("C 30 | S 30").judge(verdict.New(verdict.Config{}), 1, true)
			if got.Verdict != verdict.Plaintext || got.TLS.ClientAuth != auth || got.TLS.Outcome != verdict.OutcomeEstablished || !slices.Contains(got.Reasons, "cipher_without_encryption") {
				t.Errorf("%#x: %s, want %s", suite, said(got), auth)
			}
		}
	}
	for _, suite := range []uint16{0x0003, 0x0018, 0x002f, 0xc016, 0xc018} { // export and anonymous suites encrypt
		got := newPlayer(t, hello{old: true}, hello{old: true, suite: suite}).judge(verdict.New(verdict.Config{}), 1, true)
		if got.Verdict == verdict.Plaintext || slices.Contains(got.Reasons, "cipher_without_encryption") {
			t.Errorf("%#x: %s", suite, said(got))
		}
	}
	refused := newPlayer(t, hello{old: true}, hello{old: true, suite: 0x003b})
	refused.send(0, record(21, "\x02\x28"), -1)
	if got := refused.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict != verdict.Failed {
		t.Errorf("refused: %s", said(got))
	}
}

// TestTextInRecords checks that text in TLS records is plaintext after any handshake.
func TestTextInRecords(t *testing.T) {
	nonce := "\x80\x81\x82\x83\x84\x85\x86\x87"
	text := record(23, nonce+login+strings.Repeat("\xa7", 16))
	check := func(name string, got verdict.Judged, auth string) {
		t.Helper()
		if got.Verdict != verdict.Plaintext || !got.Settled || got.TLS == nil || got.TLS.ClientAuth != auth ||
			!slices.Contains(got.Reasons, "cipher_without_encryption") || !slices.Contains(got.Reasons, "text_in_records") {
			t.Errorf("%s: %s %v", name, got.Verdict, got.Reasons)
		}
	}
	w := newPlayer(t, hello{}, hello{}).play(goAsks + "C 517 97 53")
	w.send(0, text, -1)
	check("TLS 1.3", w.judge(verdict.New(verdict.Config{}), 1, false), verdict.AuthPresented)
	w = newPlayer(t, hello{old: true}, hello{old: true, suite: 0xc02f})
	w.send(1, text, -1)
	check("TLS 1.2", w.judge(verdict.New(verdict.Config{}), 1, false), verdict.AuthUnknown)
	w = (&player{t: t, s: dissect.New()}).play("C 100 | S 100")
	w.send(0, text, -1)
	late := conn(1, "10.0.0.1")
	late.MissedStart = true
	check("mid-stream", verdict.New(verdict.Config{}).Judge(late, w.s, "eth0", false), verdict.AuthUnknown)

	// a forged handshake proves nothing to a resumption
	chunks := talk(t, tls.VersionTLS13, capturetest.Presented).Chunks
	made := append(slices.Clone(chunks[:len(chunks)-1]), capturetest.Chunk{FromServer: true, Read: 1 << 20, Data: []byte(text)})
	check("a whole handshake", judged(verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), made), verdict.AuthPresented)
}

func TestTextInDTLSRecords(t *testing.T) {
	text := capturetest.DTLSRecord(23, 1, []byte("\x80\x81\x82\x83\x84\x85\x86\x87"+login))
	for name, before := range map[string][]capturetest.Chunk{
		"no handshake": {},
		"mutual":       capturetest.Datagrams(capturetest.DTLS(talk(t, tls.VersionTLS12, capturetest.Presented)), 1200),
	} {
		for _, from := range []bool{false, true} {
			got := overUDP(append(slices.Clone(before), capturetest.Chunk{FromServer: from, Data: text}))
			if got.Verdict != verdict.Plaintext || got.Protocol != "dtls" || !slices.Contains(got.Reasons, "cipher_without_encryption") {
				t.Errorf("%s: %s %q %v", name, got.Verdict, got.Protocol, got.Reasons)
			}
		}
	}
}

// TestDTLSRecordsOfOneEnd checks that DTLS records without a handshake prove nothing if the other end replies with
// other bytes.
func TestDTLSRecordsOfOneEnd(t *testing.T) {
	sealed := capturetest.DTLSRecord(23, 1, []byte(strings.Repeat("\xa7", 40)))
	binary := []byte(strings.Repeat("\x00\x01\x02\xff", 20))
	got := overUDP([]capturetest.Chunk{{Data: sealed}, {FromServer: true, Data: binary}, {Data: binary}})
	if got.Verdict != verdict.Unknown {
		t.Errorf("%s %v", got.Verdict, got.Reasons)
	}
	if got := overUDP([]capturetest.Chunk{{Data: sealed}, {FromServer: true, Data: []byte("ERROR\r\n")}}); got.Verdict != verdict.Plaintext {
		t.Errorf("a short answer: %s %v", got.Verdict, got.Reasons)
	}
	if got := overUDP([]capturetest.Chunk{{Data: sealed}, {Data: sealed}}); got.Verdict != verdict.TLS || got.TLS.Outcome != verdict.OutcomeIncomplete {
		t.Errorf("%s %v", got.Verdict, got.Reasons)
	}
}
