package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// caller creates an authority and a client certificate that the authority signed. It returns the authority in PEM, and
// the certificate.
func caller(t *testing.T, name string) ([]byte, tls.Certificate) {
	t.Helper()
	a, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return a.pem, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// calls calls the server with client certificates. It returns the error, or nil if the server responded.
func calls(t *testing.T, s *server, certificates ...tls.Certificate) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.tls())
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute}
	go web.Serve(l)
	defer web.Close()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}, DisableKeepAlives: true, //nolint:gosec // the test is about the client certificate
	}}
	response, err := client.Get("https://" + l.Addr().String() + "/inject")
	if err == nil {
		response.Body.Close()
	}
	return err
}

// Only clients with a certificate of the authority and one of the names get a response.
func TestClientCertificate(t *testing.T) {
	ours, apiserver := caller(t, "kube-apiserver")
	_, stranger := caller(t, "kube-apiserver")
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, ours, 0o600); err != nil {
		t.Fatal(err)
	}
	authority, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	own, err := authority.leaf([]string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := func(c *clients) *server {
		return &server{
			handler: http.NotFoundHandler(), clients: c,
			certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own, nil },
		}
	}
	for name, c := range map[string]struct {
		clients *clients
		with    []tls.Certificate
		want    bool
	}{
		"nobody is asked":            {nil, nil, true},
		"no certificate":             {&clients{file: file}, nil, false},
		"another authority's":        {&clients{file: file}, []tls.Certificate{stranger}, false},
		"the API server's":           {&clients{file: file}, []tls.Certificate{apiserver}, true},
		"the API server's, by name":  {&clients{file: file, names: []string{"kube-apiserver"}}, []tls.Certificate{apiserver}, true},
		"another name":               {&clients{file: file, names: []string{"somebody"}}, []tls.Certificate{apiserver}, false},
		"the authority is not there": {&clients{file: "/nowhere"}, []tls.Certificate{apiserver}, false},
		"a server's certificate":     {&clients{file: file}, []tls.Certificate{*own}, false},
	} {
		if err := calls(t, server(c.clients), c.with...); (err == nil) != c.want {
			t.Errorf("%s: %v, answered should be %t", name, err, c.want)
		}
	}
}

// A changed file is read again. If its new content is invalid, the earlier authority stays valid.
func TestClientAuthorityChanges(t *testing.T) {
	first, _ := caller(t, "x")
	second, _ := caller(t, "x")
	file := filepath.Join(t.TempDir(), "ca.crt")
	c := &clients{file: file}
	put := func(text []byte, at time.Time) *x509.CertPool {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
		pool, err := c.authorities()
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	begin := time.Now()
	a := put(first, begin)
	if b := put(second, begin.Add(time.Second)); a.Equal(b) {
		t.Error("the second authority was not taken in")
	}
	if b := put([]byte("nonsense"), begin.Add(2*time.Second)); a.Equal(b) {
		t.Error("nonsense brought back the first authority")
	}
}
