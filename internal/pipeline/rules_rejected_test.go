package pipeline_test

import (
	"crypto/tls"
	"net/netip"
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

// TestRefusalWasLost: a server refuses a client without a certificate, and its alert is not captured. Nothing then shows that the
// server accepts such clients: it may well demand mutual TLS.
func TestRefusalWasLost(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			talk, err := capturetest.Record(
				capturetest.HTTPClient(&tls.Config{InsecureSkipVerify: true, ServerName: "web", MaxVersion: version}, 10),
				capturetest.HTTPServer(&tls.Config{Certificates: []tls.Certificate{workload(t)}, ClientAuth: tls.RequireAnyClientCert}, 10))
			if err == nil {
				t.Fatal("the server accepted a client without a certificate")
			}
			lost := judge(t, withoutLast(t, true, frames(talk)))
			lost.silent(t, "tls-not-mutual", true)
			mutual := talkTLS(t, version)
			later := talk.Packets(capturetest.Options{
				Client: netip.MustParseAddrPort("10.1.0.7:40001"), Server: netip.MustParseAddrPort("10.1.0.20:443"), Start: captureStart.Add(time.Minute),
			})
			after := judge(t, append(mutual, withoutLast(t, true, later)...))
			if of := after.rule("mtls-downgrade"); of != nil {
				t.Errorf("findings %q", of)
			}
		})
	}
}
