package pipeline_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// issued returns a certificate of a server from a template whose period of validity is relative to captureStart.
func issued(t *testing.T, from, to time.Duration) tls.Certificate {
	t.Helper()
	ca, err := capturetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(&x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "cart"}, DNSNames: []string{"cart"}, NotBefore: captureStart.Add(from), NotAfter: captureStart.Add(to),
	})
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// present records TLS of a version whose server has a certificate. The client does not verify it.
func present(t *testing.T, version uint16, cert tls.Certificate) []capturetest.Frame {
	t.Helper()
	return agree(t, &tls.Config{ServerName: "cart", MaxVersion: version}, &tls.Config{Certificates: []tls.Certificate{cert}})
}

func TestCertificateExpired(t *testing.T) {
	const id, day = "certificate-expired", 24 * time.Hour
	expired := issued(t, -2*day, -time.Second)
	got := judge(t, present(t, tls.VersionTLS12, expired))
	got.fires(t, id, 73, "with an expired certificate to cart (10.1.0.20) port 443; the server's certificate expired at 2026-01-01 11:59:59Z")

	near := judge(t, present(t, tls.VersionTLS12, issued(t, -2*day, 0))) // valid until now, inclusive
	near.silent(t, id, false)

	encrypted := judge(t, present(t, tls.VersionTLS13, expired))
	encrypted.silent(t, id, true)
	lost := judge(t, withoutFirst(t, true, present(t, tls.VersionTLS12, expired)))
	lost.silent(t, id, true)
}

func TestCertificateExpiring(t *testing.T) {
	const id, hour = "certificate-expiring", time.Hour
	expiring := issued(t, -22*hour, 2*hour)
	got := judge(t, present(t, tls.VersionTLS12, expiring))
	got.fires(t, id, 47, "the server's certificate expires at 2026-01-01 14:00:00Z, with less than a tenth of its lifetime left.")
	if of := got.rule("certificate-expired"); of != nil {
		t.Errorf("findings %q", of)
	}

	near := judge(t, present(t, tls.VersionTLS12, issued(t, -21*hour, 3*hour)))
	near.silent(t, id, false)
	over := judge(t, present(t, tls.VersionTLS12, issued(t, -24*hour, -hour)))
	over.silent(t, id, false)

	encrypted := judge(t, present(t, tls.VersionTLS13, expiring))
	encrypted.silent(t, id, true)
	lost := judge(t, withoutFirst(t, true, present(t, tls.VersionTLS12, expiring)))
	lost.silent(t, id, true)
}

// selfSigned returns a certificate with an RSA key of the given size and a signature by that key.
func selfSigned(t *testing.T, bits int, algorithm x509.SignatureAlgorithm) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits) //nolint:gosec // weak keys are what is tested
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4), Subject: pkix.Name{CommonName: "cart"}, SignatureAlgorithm: algorithm,
		NotBefore: captureStart.Add(-time.Hour), NotAfter: captureStart.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestCertificateWeak(t *testing.T) {
	const id = "certificate-weak"
	small := selfSigned(t, 1024, x509.SHA256WithRSA)
	got := judge(t, present(t, tls.VersionTLS12, small))
	got.fires(t, id, 47, "to cart (10.1.0.20) port 443; the server's certificate has an RSA key of 1024 bits.")
	old := judge(t, present(t, tls.VersionTLS12, selfSigned(t, 2048, x509.SHA1WithRSA)))
	old.fires(t, id, 47, "the server's certificate is signed with SHA1-RSA.")

	near := judge(t, present(t, tls.VersionTLS12, selfSigned(t, 2048, x509.SHA256WithRSA)))
	near.silent(t, id, false)

	encrypted := judge(t, present(t, tls.VersionTLS13, small))
	encrypted.silent(t, id, true)
	lost := judge(t, withoutFirst(t, true, present(t, tls.VersionTLS12, small)))
	lost.silent(t, id, true)
}

func TestIdentityMismatch(t *testing.T) {
	const id = "identity-mismatch"
	ca, err := capturetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	asks := func(version uint16, want, spiffe, name string) []capturetest.Frame {
		cert, err := ca.Issue(spiffe, name)
		if err != nil {
			t.Fatal(err)
		}
		return agree(t, &tls.Config{ServerName: want, MaxVersion: version}, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	const cart, db = "cart.shop.svc.cluster.local", "spiffe://cluster.local/ns/data/sa/db"
	got := judge(t, asks(tls.VersionTLS12, cart, db, "db.data.svc.cluster.local"))
	got.fires(t, id, 73, "the client asked for cart.shop.svc.cluster.local, and the certificate is of db.data.svc.cluster.local and others.")

	for name, near := range map[string][]capturetest.Frame{
		"the same name":        asks(tls.VersionTLS12, cart, db, cart),
		"in other letter case": asks(tls.VersionTLS12, "CART.shop.svc.cluster.local", db, cart),
		"a wildcard":           asks(tls.VersionTLS12, cart, db, "*.shop.svc.cluster.local"),
		"the same namespace":   asks(tls.VersionTLS12, cart, "spiffe://cluster.local/ns/shop/sa/default", "web.shop.svc"),
		"Istio's form":         asks(tls.VersionTLS12, "outbound_.80_._."+cart, "spiffe://cluster.local/ns/shop/sa/cart", "x"),
		"no namespace":         asks(tls.VersionTLS12, "cart.example.com", db, "x"),
		"Open Service Mesh":    asks(tls.VersionTLS12, "cart.shop.svc.cluster.local", db, "account.shop.cluster.local"),
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(t, near)
			got.silent(t, id, false)
		})
	}

	encrypted := judge(t, asks(tls.VersionTLS13, cart, db, "db.data.svc.cluster.local"))
	encrypted.silent(t, id, true)
	lost := judge(t, withoutFirst(t, true, asks(tls.VersionTLS12, cart, db, "db.data.svc.cluster.local")))
	lost.silent(t, id, true)
}
