//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// kind is a kind of connection of the mixed capture.
type kind struct {
	name    string
	share   int    // percent of the connections
	version uint16 // version of TLS; 0 means HTTP in plaintext
	mutual  bool
	rsa     bool // the server's key is RSA; otherwise it is ECDSA
}

var kinds = []kind{
	{"TLS 1.3, mutual", 30, tls.VersionTLS13, true, false},
	{"TLS 1.3", 20, tls.VersionTLS13, false, false},
	{"TLS 1.2, RSA", 10, tls.VersionTLS12, false, true},
	{"TLS 1.2, mutual", 10, tls.VersionTLS12, true, false},
	{"HTTP", 30, 0, false, false},
}

// talker records conversations between a client and a server. Its own authority signs their certificates.
type talker struct {
	random  *rand.Rand
	pool    *x509.CertPool
	servers [2]tls.Certificate // one certificate with an ECDSA key and one with an RSA key
	client  tls.Certificate
	body    []byte // each answer is a prefix of body
}

func newTalker(random *rand.Rand) (*talker, error) {
	t := &talker{random: random, body: make([]byte, bulkBytes)}
	for i := range t.body {
		t.body[i] = "0123456789abcdef"[random.IntN(16)]
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(crand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(crand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	if ca, err = x509.ParseCertificate(root); err != nil {
		return nil, err
	}

	t.pool = x509.NewCertPool()
	t.pool.AddCert(ca)
	issue := func(name string, public, private any) (c tls.Certificate, err error) {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".shop.svc.cluster.local"},
			URIs:      []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/" + name}},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		}
		der, err := x509.CreateCertificate(crand.Reader, leaf, ca, public, caKey)
		return tls.Certificate{Certificate: [][]byte{der, root}, PrivateKey: private}, err
	}

	if t.servers[0], err = issue("cart", &serverKey.PublicKey, serverKey); err != nil {
		return nil, err
	}
	if t.servers[1], err = issue("cart", &rsaKey.PublicKey, rsaKey); err != nil {
		return nil, err
	}
	t.client, err = issue("web", &serverKey.PublicKey, serverKey)
	return t, err
}

// connection returns the i-th connection of the mixed capture. The client is the pod if i is even, and a peer if i is
// odd.
func (t *talker) connection(i int) (*connection, error) {
	k, answers := t.kind(), t.answers()
	if every := mixConnections / mixBulk; i%every == every/2 {
		k, answers = kinds[i/every%2*4], []int{bulkBytes} // alternately TLS 1.3 and HTTP
	}
	talk, err := t.talk(k, answers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	n := i % mixPeers
	port := uint16(8000 + n%5)
	from, to := pod, peer(n)
	if i%2 == 1 {
		from, to = to, from
	}
	return &connection{
		client: netip.AddrPortFrom(from, uint16(20000+i)), server: netip.AddrPortFrom(to, port), talk: talk,
		seq: [2]uint32{t.random.Uint32(), t.random.Uint32()}, delay: 100 + t.random.Int64N(1500),
	}, nil
}

// kind draws a kind of connection at random; the probabilities are the shares of the kinds.
func (t *talker) kind() kind {
	n := t.random.IntN(100)
	for _, k := range kinds {
		if n -= k.share; n < 0 {
			return k
		}
	}
	return kinds[0]
}

// answers draws the number of a connection's answers, 1 to 4, and the size of each in bytes.
func (t *talker) answers() []int {
	out := make([]int, 1+t.random.IntN(4))
	for i := range out {
		out[i] = 240 << t.random.IntN(9) // 240 bytes to 60 KiB
	}
	return out
}

// talk records a connection of kind k. answers has the sizes of the answers that the client requests.
func (t *talker) talk(k kind, answers []int) (*capturetest.Conversation, error) {
	client := func(c net.Conn) error { return ask(c, len(answers)) }
	server := func(c net.Conn) error { return t.answer(c, answers) }
	if k.version == 0 {
		return capturetest.Record(client, server)
	}
	ours := &tls.Config{RootCAs: t.pool, ServerName: "cart.shop.svc.cluster.local", MinVersion: k.version, MaxVersion: k.version}
	theirs := &tls.Config{Certificates: t.servers[:1], ClientCAs: t.pool, MinVersion: k.version, MaxVersion: k.version}
	if k.rsa {
		theirs.Certificates = t.servers[1:]
	}
	if k.mutual {
		ours.Certificates = []tls.Certificate{t.client}
		theirs.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return capturetest.Record(
		func(c net.Conn) error {
			s := tls.Client(c, ours)
			return firstOf(func() error { return client(s) }, s.CloseWrite, func() error { return drained(s) })
		},
		func(c net.Conn) error {
			s := tls.Server(c, theirs)
			return firstOf(func() error { return server(s) }, func() error { return drained(s) }, s.CloseWrite)
		})
}

// firstOf runs the steps in order and returns the first error.
func firstOf(steps ...func() error) error {
	for _, do := range steps {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// drained reads until the other end's close_notify.
func drained(c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// ask sends n requests. It waits for the answer to each before it sends the next.
func ask(c net.Conn, n int) error {
	in := bufio.NewReader(c)
	for i := range n {
		_, err := fmt.Fprintf(c, "GET /items/%d HTTP/1.1\r\nHost: cart.shop.svc.cluster.local\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", i)
		if err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err = io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
	}
	return nil
}

// answer answers one request for each size.
func (t *talker) answer(c net.Conn, answers []int) error {
	in := bufio.NewReader(c)
	for _, n := range answers {
		if _, err := http.ReadRequest(in); err != nil {
			return err
		}

		out := bufio.NewWriterSize(c, 64<<10)
		fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", n)
		if _, err := io.Copy(out, bytes.NewReader(t.body[:n])); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}
