package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// clients verifies the callers of the endpoints. A caller needs a client certificate that the authority signed. If
// names are configured, the certificate must have one of them. It is safe for concurrent use.
type clients struct {
	file  string   // path of the authority in PEM; the file is read again when it changes
	names []string // common or DNS names; if empty, any certificate of the authority is accepted

	mu   sync.Mutex
	pool *x509.CertPool
	read time.Time // modification time of the file that pool was read from
}

// ReadClientCA returns the certificates in a PEM file. A file without certificates is an error.
func ReadClientCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: expected certificates in PEM", file)
	}
	return pool, nil
}

// require returns a copy of base that requires and verifies client certificates.
func (c *clients) require(base *tls.Config) *tls.Config {
	out := base.Clone()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := c.authorities()
		if err != nil {
			return nil, err
		}
		one := base.Clone()
		one.ClientAuth, one.ClientCAs, one.VerifyConnection = tls.RequireAndVerifyClientCert, pool, c.named
		one.SessionTicketsDisabled = true // a resumed connection would not be verified against the current authorities
		return one, nil
	}
	return out
}

// authorities returns the certificates in the file. If the file cannot be read, it returns those that were read last.
func (c *clients) authorities() (*x509.CertPool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.file)
	if err == nil && c.pool != nil && info.ModTime().Equal(c.read) {
		return c.pool, nil
	}
	var pool *x509.CertPool
	if err == nil {
		pool, err = ReadClientCA(c.file)
	}
	switch {
	case err == nil:
		c.pool, c.read = pool, info.ModTime()
	case c.pool == nil:
		return nil, err
	}
	return c.pool, nil
}

// named returns an error unless the client's certificate has one of the names.
func (c *clients) named(s tls.ConnectionState) error {
	if len(c.names) == 0 {
		return nil
	}
	leaf := s.PeerCertificates[0]
	for _, name := range append(slices.Clone(leaf.DNSNames), leaf.Subject.CommonName) {
		if slices.Contains(c.names, name) {
			return nil
		}
	}
	return errors.New("the client's certificate has none of the names in WEBHOOK_CLIENT_NAMES")
}
