package pipeline_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// TestRejectionWasLost: a client rejects a certificate, and its alert is not captured. Nothing then shows that the client used TLS with
// this server, so no rule about sessions fires, and all of them are blind.
func TestRejectionWasLost(t *testing.T) {
	other, err := capturetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	expired := issued(t, -48*time.Hour, -time.Second)
	talk, err := capturetest.Record(
		capturetest.HTTPClient(&tls.Config{RootCAs: other.Pool, ServerName: "web", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, 10), //nolint:gosec // the old version is tested
		capturetest.HTTPServer(&tls.Config{Certificates: []tls.Certificate{expired}, MinVersion: tls.VersionTLS10}, 10))                             //nolint:gosec // the old version is tested
	if err == nil {
		t.Fatal("the client accepted an expired certificate of another authority")
	}
	lost := judge(t, withoutLast(t, false, frames(talk)))
	for _, id := range []string{"certificate-expired", "identity-mismatch", "tls-version-weak", "cipher-weak", "key-exchange-downgrade", "handshake-failed"} {
		lost.silent(t, id, true)
	}
}
