package pipeline_test

import (
	"crypto/tls"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// TestRefusedSecondHandshake checks a second handshake of a connection that the server refuses, because the client shows no certificate.
func TestRefusedSecondHandshake(t *testing.T) {
	mutual, _ := handshakes(t)
	for version, want := range map[uint16]string{tls.VersionTLS12: "mtls", tls.VersionTLS13: "tls"} {
		talks, err := capturetest.TLSTalk(version, capturetest.Required, 1)
		if err == nil {
			t.Fatal("the client was accepted")
		}
		for first, before := range mutual {
			if got := verdictOf(t, joined(before, talks[0].Chunks)); got != want {
				t.Errorf("%s, then a refusal in %s: %s, want %s", first, tls.VersionName(version), got, want)
			}
		}
	}
}
