package tlsmsg

import (
	"crypto/tls"
	"regexp"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// hellos returns the bodies of the ClientHello and the ServerHello of a real handshake.
func hellos(t testing.TB, version uint16) (bodies [2][]byte) {
	t.Helper()
	talks, err := capturetest.TLSTalk(version, capturetest.NotRequested, 1)
	if err != nil {
		t.Fatal(err)
	}
	var streams [2][]byte
	for _, c := range talks[0].Chunks {
		end := 0
		if c.FromServer {
			end = 1
		}
		streams[end] = append(streams[end], c.Data...)
	}
	for i, b := range streams {
		bodies[i] = b[9 : 9+int(b[7])<<8+int(b[8])]
	}
	return bodies
}

// FuzzHello checks that every hello that can be parsed has well-formed fingerprints, and that the stored ones equal computed ones.
func FuzzHello(f *testing.F) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, hello := range hellos(f, v) {
			f.Add(hello, uint8(OverTCP))
			f.Add(hello, uint8(OverQUIC))
		}
	}
	dtls := hellos(f, tls.VersionTLS12)[0]
	dtls[0], dtls[1] = 0xfe, 0xfd
	at := 2 + 32 + 1 + int(dtls[34])
	f.Add(slices.Insert(dtls, at, 3, 1, 2, 3), uint8(OverDTLS)) // with a cookie
	ja3, ja4 := regexp.MustCompile(`^[0-9a-f]{32}$`), regexp.MustCompile(`^[tdq]([s12][0-3d]|d[123]|00)[di][0-9]{4}..(_[0-9a-f]{12}){2}$`)
	f.Fuzz(func(t *testing.T, body []byte, carrier uint8) {
		over := Over(carrier % 3)
		if h, ok := ParseClientHello(body, over); ok {
			letter := "tdq"[over]
			if !ja3.MatchString(h.JA3()) || !ja4.MatchString(h.JA4(letter)) || len(h.Shape()) != 12 {
				t.Errorf("JA3 %q, JA4 %q, shape %q", h.JA3(), h.JA4(letter), h.Shape())
			}
			if h.JA3() != h.computeJA3() || h.JA4(letter) != h.computeJA4(letter) || h.Shape() != h.computeShape() {
				t.Error("a stored fingerprint differs from the computed one")
			}
		}
		if h, ok := ParseServerHello(body, over); ok && !ja3.MatchString(h.JA3S()) {
			t.Errorf("JA3S %q", h.JA3S())
		}
		ParseV2ClientHello(append([]byte{0x80}, body...))
		ParseV2ServerHello(append([]byte{0x80}, body...))
	})
}

// FuzzCertificate checks that the results of ParseCertificate are within their bounds.
func FuzzCertificate(f *testing.F) {
	authority, err := capturetest.NewAuthority()
	if err != nil {
		f.Fatal(err)
	}
	certificate, err := authority.Issue("spiffe://cluster.local/ns/shop/sa/cart", "cart.shop.svc.cluster.local")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(certificate.Certificate[0])
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, subject, issuer := ParseCertificate(der)
		if len(subject) > maxDN || len(issuer) > maxDN {
			t.Errorf("names of %d and %d bytes", len(subject), len(issuer))
		}
		if leaf == nil {
			return
		}
		bytes := 0
		for _, name := range leaf.AlternativeNames {
			bytes += len(name)
		}
		if len(leaf.AlternativeNames) > maxNames || bytes > maxNameBytes {
			t.Errorf("%d names of %d bytes", len(leaf.AlternativeNames), bytes)
		}
		if leaf.SPIFFE != "" && !isSPIFFE(leaf.SPIFFE) {
			t.Errorf("SPIFFE ID %q", leaf.SPIFFE)
		}
	})
}
