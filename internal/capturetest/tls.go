package capturetest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Authority is a certificate authority for tests.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	Pool *x509.CertPool
}

// NewAuthority creates an authority with a new key.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &Authority{cert: cert, key: key, Pool: pool}, nil
}

// PEM returns the authority's certificate in PEM.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Issue issues a leaf certificate with a SPIFFE ID and a DNS name.
func (a *Authority) Issue(spiffe, name string) (tls.Certificate, error) {
	id, err := url.Parse(spiffe)
	if err != nil {
		return tls.Certificate{}, err
	}
	return a.Sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, URIs: []*url.URL{id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	})
}

// Sign issues a leaf certificate with a new key from a template.
func (a *Authority) Sign(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// ClientAuth is how the client authenticates in TLSTalk.
type ClientAuth int

// The ways of client authentication.
const (
	NotRequested ClientAuth = iota
	Presented               // requested, presented, accepted
	Declined                // requested, not presented, accepted
	Required                // required, not presented, rejected
)

// TLSTalk records n HTTP requests between two ends of crypto/tls, each in a TLS connection of its own. Each
// connection after the first one resumes the TLS session. TLSTalk returns the error of the last handshake if it
// was rejected.
func TLSTalk(version uint16, auth ClientAuth, n int) ([]*Conversation, error) {
	ca, err := NewAuthority()
	if err != nil {
		return nil, err
	}
	serverCert, err := ca.Issue("spiffe://cluster.local/ns/shop/sa/cart", "cart.shop.svc.cluster.local")
	if err != nil {
		return nil, err
	}
	clientCert, err := ca.Issue("spiffe://cluster.local/ns/shop/sa/web", "web.shop.svc.cluster.local")
	if err != nil {
		return nil, err
	}

	server := &tls.Config{Certificates: []tls.Certificate{serverCert}, ClientCAs: ca.Pool, MinVersion: version, MaxVersion: version} //nolint:gosec // the test needs old versions
	client := &tls.Config{RootCAs: ca.Pool, ServerName: "cart.shop.svc.cluster.local", MinVersion: version, MaxVersion: version}     //nolint:gosec // as above
	switch auth {
	case Presented:
		server.ClientAuth = tls.RequireAndVerifyClientCert
		client.Certificates = []tls.Certificate{clientCert}
	case Declined:
		server.ClientAuth = tls.VerifyClientCertIfGiven
	case Required:
		server.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if n > 1 {
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}

	var talks []*Conversation
	for range n {
		talk, talkErr := Record(
			func(c net.Conn) error { return RequestOver(tls.Client(c, client)) },
			func(c net.Conn) error { return AnswerOver(tls.Server(c, server)) },
		)
		talks = append(talks, talk)
		err = talkErr
	}
	return talks, err
}

// RequestOver sends one HTTP request and reads the response.
func RequestOver(c net.Conn) error {
	if _, err := io.WriteString(c, "GET /items?card=4111 HTTP/1.1\r\nHost: cart.shop:8080\r\nUser-Agent: test\r\nAuthorization: Bearer secret\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

// AnswerOver reads one HTTP request and sends a response.
func AnswerOver(c net.Conn) error {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return err
	}
	_ = r.Body.Close()
	body := "hello"
	_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

// HTTPTalk records one HTTP request in plaintext.
func HTTPTalk() (*Conversation, error) { return Record(RequestOver, AnswerOver) }
