package verdict_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// v2Hello returns a CLIENT-HELLO of SSL 2.0 that offers a version and two suites.
func v2Hello(version uint16) string {
	body := "\x01" + u16(version) + u16(6) + u16(0) + u16(16) + "\x00\x00\x2f\x07\x00\xc0" + strings.Repeat("c", 16)
	return u16(0x8000|uint16(len(body))) + body
}

// TestSSL2 checks that a hello of SSL 2.0 is TLS. With an SSL 2.0 server, client authentication is unknown. With a TLS
// server, the later messages show it.
func TestSSL2(t *testing.T) {
	for _, size := range []int{1, 7, 1000} {
		w := &player{t: t, s: dissect.New()}
		drip := func(side int, b string) {
			for ; len(b) > size; b = b[size:] {
				w.send(side, b[:size], -1)
			}
			w.send(side, b, -1)
		}
		drip(0, v2Hello(2))
		body := "\x04\x00\x01" + u16(2) + u16(4) + u16(3) + u16(8) + "abcd" + "\x07\x00\xc0" + "sessions"
		drip(1, u16(0x8000|uint16(len(body)))+body)
		drip(0, strings.Repeat("\x80\x30\xa7\xa7", 50))
		got := w.judge(verdict.New(verdict.Config{}), 1, true)
		if got.Verdict != verdict.TLS || got.TLS.ClientAuth != verdict.AuthUnknown || got.TLS.Version != "2.0" || got.TLS.VersionProtocol != "ssl" || got.TLS.Server == nil {
			t.Errorf("pieces of %d: %s %+v", size, said(got), got.TLS)
		}
	}
	w := &player{t: t, s: dissect.New()}
	w.send(0, v2Hello(0x0301), -1)
	w.send(1, hello{old: true, suite: 0x002f}.bytes(false)+serverMutual, -1)
	finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	w.send(0, clientMutual+finished, -1)
	w.send(1, finished, -1)
	if got := w.play("C 100 | S 100").judge(verdict.New(verdict.Config{}), 1, true); got.Verdict != verdict.MTLS || got.TLS.ClientAuthBasis != verdict.BasisObserved {
		t.Error(said(got))
	}
}

// TestNoCertificateAlert checks the warning by which an SSL 3.0 client declines to send a certificate. The warning does
// not end the handshake, and without a CertificateRequest it means nothing.
func TestNoCertificateAlert(t *testing.T) {
	for server, want := range map[string]string{serverMutual: verdict.AuthDeclined, serverOneWay: verdict.AuthNotRequested} {
		w := newPlayer(t, hello{old: true}, hello{old: true, suite: 0x002f})
		finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
		w.send(1, server, -1)
		w.send(0, record(21, "\x01\x29")+clientOneWay+finished, -1)
		w.send(1, finished, -1)
		got := w.play("C 100 | S 100").judge(verdict.New(verdict.Config{}), 1, true)
		if got.Verdict != verdict.TLS || got.TLS.ClientAuth != want || got.TLS.Outcome != verdict.OutcomeEstablished {
			t.Errorf("%s, want %s", said(got), want)
		}
	}
}

// TestDrafts checks the drafts of TLS 1.3, which are judged like TLS 1.3. Drafts before 22 have the version in the
// ServerHello itself, without session id and compression method.
func TestDrafts(t *testing.T) {
	old := record(22, message(2, u16(0x7f12)+strings.Repeat("r", 32)+u16(0x1301)+sized(2, u16(51)+sized(2, u16(29)+sized(2, strings.Repeat("k", 32))))))
	late := hello{old: true, extensions: map[uint16]string{extVersions: u16(0x7f1c)}}.bytes(false)
	for name, server := range map[string]string{"18": old, "28": late} {
		for packets, want := range map[string]string{mutualFlight: "mtls presented established", oneWayFlight: "tls not_requested established"} {
			w := &player{t: t, s: dissect.New()}
			w.send(0, hello{}.bytes(true), -1)
			w.send(1, server, -1)
			got := w.play(packets).judge(verdict.New(verdict.Config{}), 1, true)
			if !strings.HasPrefix(said(got), want) || got.TLS.Version != "1.3" {
				t.Errorf("draft %s: %s %q, want %s", name, said(got), got.TLS.Version, want)
			}
		}
	}
}

// TestNoEncryption checks that a suite without encryption means plaintext, with its reason.
func TestNoEncryption(t *testing.T) {
	for suite, old := range map[uint16]bool{0x003b: true, 0xc006: true, 0xc0b4: false, 0xc0b5: false} {
		got := newPlayer(t, hello{old: old}, hello{old: old, suite: suite}).judge(verdict.New(verdict.Config{}), 1, true)
		if !slices.Contains(got.Reasons, "cipher_without_encryption") {
			t.Errorf("%#x: %s", suite, said(got))
		}
	}
	if got := newPlayer(t, hello{}, hello{}).judge(verdict.New(verdict.Config{}), 1, true); slices.Contains(got.Reasons, "cipher_without_encryption") {
		t.Error(said(got))
	}
}
