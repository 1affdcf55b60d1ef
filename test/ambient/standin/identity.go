package standin

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// Authority is the mesh's certificate authority.
type Authority struct{ *capturetest.Authority }

// NewAuthority creates an authority.
func NewAuthority() (*Authority, error) {
	a, err := capturetest.NewAuthority()
	return &Authority{a}, err
}

// Identity is a workload's certificate, spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT.
type Identity struct {
	SPIFFE string
	cert   tls.Certificate
	pool   *x509.CertPool
}

// Identity issues the certificate of a service account. Like istiod's, the certificate has no subject and is valid
// for a day. names are DNS names, which istiod's certificates do not have.
func (a *Authority) Identity(namespace, account string, names ...string) (*Identity, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	id := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/" + namespace + "/sa/" + account}
	cert, err := a.Sign(&x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{id}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return &Identity{id.String(), cert, a.Pool}, err
}

// client returns the settings of an HBONE client: it sends no server name, and only h2 as ALPN. If cache is not nil,
// it resumes sessions, as Envoy and therefore waypoints do. ztunnel never resumes sessions.
func (id *Identity) client(cache tls.ClientSessionCache) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{id.cert},
		InsecureSkipVerify: true, //nolint:gosec // there is no name to verify: VerifyConnection verifies the chain
		VerifyConnection:   id.verify, ClientSessionCache: cache,
	}
}

// verify verifies the server's chain. HBONE names no server, so the name is not checked.
func (id *Identity) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: id.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

// server returns the settings of an HBONE server.
func (id *Identity) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{id.cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: id.pool,
	}
}

// spiffeOf returns the SPIFFE ID in the peer's certificate, or "".
func spiffeOf(s *tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 || len(s.PeerCertificates[0].URIs) == 0 {
		return ""
	}
	return s.PeerCertificates[0].URIs[0].String()
}

// Certificates returns the identity's certificate, for a test's own client or server.
func (id *Identity) Certificates() []tls.Certificate { return []tls.Certificate{id.cert} }

// OneWay returns the settings of a server that does not request a certificate.
func (id *Identity) OneWay(alpn ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: alpn, Certificates: []tls.Certificate{id.cert}}
}

// Files writes the identity to a folder, as NAME.pem, NAME.key and NAME.ca, for proxies that read files.
func (id *Identity) Files(a *Authority, folder, name string) error {
	key, err := x509.MarshalPKCS8PrivateKey(id.cert.PrivateKey)
	if err != nil {
		return err
	}
	var errs []error
	for suffix, data := range map[string][]byte{
		".pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Certificate[0]}),
		".key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), ".ca": a.PEM(),
	} {
		errs = append(errs, os.WriteFile(filepath.Join(folder, name+suffix), data, 0o600))
	}
	return errors.Join(errs...)
}
