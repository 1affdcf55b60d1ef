package scenarios_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// scenario is a part of the day. play adds pods, starts the taps of some, and lets the pods talk. It fails the test if a pod did
// not experience what the scenario says.
type scenario struct {
	name, story string // the story is in the golden file
	play        func(t *testing.T, l *lab)
}

var scenarios = []scenario{
	{"healthy mesh", "shop (Go) and till (OpenSSL) speak mutual TLS to cart, versions 1.2 and 1.3. shop and cart have taps.", healthy},
	{"permissive drift", "shop speaks mutual TLS to cart and then plaintext, which cart accepts at the same port. Both have taps.", drift},
	{"a pod without sidecar", "shop speaks mutual TLS to cart. batch, which has no proxy, speaks plaintext to the same port. cart and batch have taps.", noSidecar},
	{"expired certificate", "The certificate of cart ended yesterday, and shop does not verify it, once with TLS 1.2 and once with TLS 1.3, which encrypts certificates. Both have taps.", expiredCertificate},
	{"wrong trust domain", "stranger has a certificate of another authority, which cart refuses, with TLS 1.2 and 1.3. cart has a tap.", wrongTrustDomain},
	{"refused client", "batch has no certificate and cart requires one, with TLS 1.2 and 1.3. cart has a tap.", refusedClient},
	{"resumption only", "The tap of cart starts when shop already has a session ticket. All connections that it sees resume that session.", resumptionOnly},
	{"plaintext database", "api logs in to db in plaintext by the protocol of PostgreSQL. Nothing is expected. api has a tap.", database},
	{"public HTTPS", "shop requests a public web site. shop has a tap.", publicHTTPS},
	{"probes and scrapes", "The node probes cart, and prometheus scrapes it. cart has a tap and declares both ports.", probes},
	{"a scanner", "scanner connects to closed and open ports of cart, sends nothing, text, and hellos that it does not finish. cart has a tap.", scanner},
	{"rollout", "shop speaks mutual TLS to two replicas of cart, which end and are replaced by two at other addresses. shop has a tap.", rollout},
	{"10,000 edges", "10,000 clients speak mutual TLS to cart, and 50 of them later plaintext. cart has a tap.", manyEdges},
}

func healthy(t *testing.T, l *lab) {
	shop, cart, till := l.add(t, "shop", "10.99.0.1"), l.add(t, "cart", "10.99.0.2"), l.add(t, "till", "10.99.0.3")
	cfg := l.client(t, "shop")
	cart.serve(t, 8443, l.server(t, "cart"), false)
	shop.start(t)
	cart.start(t)
	shop.get(t, cart.at(8443), version(cfg, tls.VersionTLS13), 20)
	shop.get(t, cart.at(8443), version(cfg, tls.VersionTLS12), 5)
	till.openssl(t, cart.at(8443), "till", 3, "-tls1_3")
	till.openssl(t, cart.at(8443), "till", 3, "-tls1_2")
	shop.keepAlive(t, cart.at(8443), cfg, 50)
}

// keepAlive sends n requests on one connection.
func (p *pod) keepAlive(t *testing.T, to string, cfg *tls.Config, n int) {
	t.Helper()
	dials := 0
	tr := &http.Transport{MaxConnsPerHost: 1, TLSClientConfig: cfg, DialContext: func(_ context.Context, _, to string) (net.Conn, error) {
		dials++
		return p.dial(to)
	}}
	defer tr.CloseIdleConnections()
	for range n {
		res, err := (&http.Client{Transport: tr, Timeout: eventually.Limit}).Get("https://" + to) //nolint:noctx // the client has a timeout
		must(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		must(t, err)
	}
	if dials != 1 {
		t.Fatalf("%d connections for %d requests, want 1", dials, n)
	}
}

func drift(t *testing.T, l *lab) {
	shop, cart := l.add(t, "shop", "10.99.0.1"), l.add(t, "cart", "10.99.0.2")
	cart.serve(t, 8443, l.server(t, "cart"), true)
	shop.start(t)
	cart.start(t)
	shop.get(t, cart.at(8443), l.client(t, "shop"), 5)
	shop.get(t, cart.at(8443), nil, 3)
}

func noSidecar(t *testing.T, l *lab) {
	shop, cart, batch := l.add(t, "shop", "10.99.0.1"), l.add(t, "cart", "10.99.0.2"), l.add(t, "batch", "10.99.0.3")
	cart.serve(t, 8443, l.server(t, "cart"), true)
	cart.start(t)
	batch.start(t)
	shop.get(t, cart.at(8443), l.client(t, "shop"), 3)
	batch.get(t, cart.at(8443), nil, 3)
}

func expiredCertificate(t *testing.T, l *lab) {
	shop, cart := l.add(t, "shop", "10.99.0.1"), l.add(t, "cart", "10.99.0.2")
	cfg := l.server(t, "cart")
	cfg.Certificates = l.expired(t, "cart")
	cart.serve(t, 8443, version(cfg, tls.VersionTLS12), false)
	cart.serve(t, 9443, version(cfg, tls.VersionTLS13), false)
	shop.start(t)
	cart.start(t)
	shop.get(t, cart.at(8443), l.client(t, "shop"), 2)
	shop.get(t, cart.at(9443), l.client(t, "shop"), 2)
}

// refused fails the test unless the server refuses the client with an alert that contains these words.
func (p *pod) refused(t *testing.T, to string, cfg *tls.Config, words string) {
	t.Helper()
	if err := p.try(to, cfg); err == nil || !strings.Contains(err.Error(), words) {
		t.Fatalf("%s to %s: %v, want a refusal: %s", p.name, to, err, words)
	}
}

func wrongTrustDomain(t *testing.T, l *lab) {
	stranger, cart := l.add(t, "stranger", "10.99.0.1"), l.add(t, "cart", "10.99.0.2")
	other, err := standin.NewAuthority()
	must(t, err)
	id, err := other.Identity("lab", "stranger")
	must(t, err)
	cart.serve(t, 8443, l.server(t, "cart"), false)
	cart.start(t)
	cfg := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id.Certificates()[0], nil }} //nolint:gosec // the server is to refuse
	stranger.refused(t, cart.at(8443), version(cfg, tls.VersionTLS12), "certificate")
	stranger.refused(t, cart.at(8443), version(cfg, tls.VersionTLS13), "certificate")
}

func refusedClient(t *testing.T, l *lab) {
	batch, cart := l.add(t, "batch", "10.99.0.1"), l.add(t, "cart", "10.99.0.2")
	cart.serve(t, 8443, l.server(t, "cart"), false)
	cart.start(t)
	cfg := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the server is to refuse
	batch.refused(t, cart.at(8443), version(cfg, tls.VersionTLS12), "handshake failure")
	batch.refused(t, cart.at(8443), version(cfg, tls.VersionTLS13), "certificate required")
}

func resumptionOnly(t *testing.T, l *lab) {
	shop, cart := l.add(t, "shop", "10.99.0.1"), l.add(t, "cart", "10.99.0.2")
	cart.serve(t, 8443, l.server(t, "cart"), false)
	cfg := l.client(t, "shop")
	cfg.ClientSessionCache, cfg.ServerName = tls.NewLRUClientSessionCache(4), "cart"
	shop.get(t, cart.at(8443), cfg, 1)
	cart.start(t)
	resumed := 0
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if s.DidResume {
			resumed++
		}
		return nil
	}
	shop.get(t, cart.at(8443), cfg, 5)
	if resumed != 5 {
		t.Fatalf("%d of 5 connections resumed a session", resumed)
	}
}

// database plays a login by the protocol of PostgreSQL, version 3 (PostgreSQL documentation, "Message Flow"): the server has no
// TLS and requests the password itself.
func database(t *testing.T, l *lab) {
	api, db := l.add(t, "api", "10.99.0.1"), l.add(t, "db", "10.99.0.2")
	listener := db.listen(t, 5432)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go answerDatabase(c)
		}
	}()
	api.start(t, "TAP_EXPECT=")
	for range 2 {
		c, err := api.dial(db.at(5432))
		must(t, err)
		must(t, askDatabase(c))
		c.Close()
	}
}

// The messages of the exchange, with their lengths.
const (
	sslRequest    = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	startup       = "\x00\x00\x00\x21\x00\x03\x00\x00user\x00shop\x00database\x00shop\x00\x00"
	askPassword   = "R\x00\x00\x00\x08\x00\x00\x00\x03"
	password      = "p\x00\x00\x00\x0ctr0ub4d\x00"
	welcome       = "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"
	query         = "Q\x00\x00\x00\x0dselect 1\x00"
	queryComplete = "C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I"
)

func answerDatabase(c net.Conn) {
	defer c.Close()
	for _, step := range [...][2]string{{sslRequest, "N"}, {startup, askPassword}, {password, welcome}, {query, queryComplete}} {
		if _, err := io.ReadFull(c, make([]byte, len(step[0]))); err != nil {
			return
		}
		io.WriteString(c, step[1])
	}
}

func askDatabase(c net.Conn) error {
	for _, step := range [...][2]string{{sslRequest, "N"}, {startup, askPassword}, {password, welcome}, {query, queryComplete}} {
		if _, err := io.WriteString(c, step[0]); err != nil {
			return err
		}
		b := make([]byte, len(step[1]))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != step[1] {
			return fmt.Errorf("the server answered %q: %w", b, err)
		}
	}
	return nil
}

func publicHTTPS(t *testing.T, l *lab) {
	shop, site := l.add(t, "shop", "10.99.0.1"), l.add(t, "site", "203.0.113.10")
	cfg := l.server(t, "site")
	cfg.ClientAuth = tls.NoClientCert
	site.serve(t, 443, cfg, false)
	shop.start(t)
	shop.get(t, site.at(443), &tls.Config{InsecureSkipVerify: true, ServerName: "www.example.com"}, 5) //nolint:gosec // the test judges the wire
}

func probes(t *testing.T, l *lab) {
	cart, prometheus := l.add(t, "cart", "10.99.0.2"), l.add(t, "prometheus", "10.99.0.3")
	cart.serve(t, 8080, nil, false)
	cart.serve(t, 9090, nil, false)
	cart.start(t, "TAP_PROBE_PORTS=8080/healthz", "TAP_METRICS_PORTS=9090")
	l.node.get(t, cart.at(8080)+"/healthz", nil, 5, "User-Agent", "kube-probe/1.34")
	prometheus.get(t, cart.at(9090)+"/metrics", nil, 5, "User-Agent", "Prometheus/3.5.0", "Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4", "X-Prometheus-Scrape-Timeout-Seconds", "10")
}

func scanner(t *testing.T, l *lab) {
	scanner, cart := l.add(t, "scanner", "10.99.0.9"), l.add(t, "cart", "10.99.0.2")
	cart.serve(t, 8443, l.server(t, "cart"), false)
	cart.start(t)
	for port := 8000; port < 8040; port++ {
		if _, err := scanner.dial(cart.at(port)); err == nil {
			t.Fatalf("port %d is open", port)
		}
	}
	for _, sent := range []string{"", "\r\n\r\n", "HELP\r\n", "\x00\x00\x00\x10random bytes"} {
		c, err := scanner.dial(cart.at(8443))
		must(t, err)
		io.WriteString(c, sent)
		must(t, c.(*net.TCPConn).CloseWrite())
		io.Copy(io.Discard, c)
		c.Close()
	}
	for range 3 { // a hello, and the end as soon as the server answers
		c, err := scanner.dial(cart.at(8443))
		must(t, err)
		half := tls.Client(c, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return io.EOF }}) //nolint:gosec // the handshake is not finished
		if half.Handshake() == nil {
			t.Fatal("the handshake was finished")
		}
		c.Close()
	}
}

func rollout(t *testing.T, l *lab) {
	shop := l.add(t, "shop", "10.99.0.1")
	cfg := l.client(t, "shop")
	shop.start(t)
	for _, generation := range [][]string{{"10.99.1.1", "10.99.1.2"}, {"10.99.2.1", "10.99.2.2"}} {
		for i, address := range generation {
			replica := l.add(t, fmt.Sprint("cart-", i), address)
			server := replica.serve(t, 8443, l.server(t, "cart"), false)
			shop.get(t, replica.at(8443), cfg, 5)
			open, err := shop.dial(replica.at(8443))
			must(t, err)
			c := tls.Client(open, cfg)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: cart\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
				t.Fatal(err)
			}
			server.Close() // ends the open connection too
			io.Copy(io.Discard, open)
			open.Close()
		}
	}
}

const (
	manyClients = 10000
	manyPlain   = 50
)

func manyEdges(t *testing.T, l *lab) {
	clients, cart := l.add(t, "clients", "10.99.0.1"), l.add(t, "cart", "10.99.0.2")
	must(t, clients.ns.Run("ip route add local 10.100.0.0/16 dev lo"))
	must(t, cart.ns.Run("ip route add 10.100.0.0/16 via 10.99.0.1"))
	must(t, clients.ns.Command("1", "tee", "/proc/sys/net/ipv4/ip_nonlocal_bind"))
	cart.serve(t, 8443, l.server(t, "cart"), true)
	cart.start(t)
	cfg := l.client(t, "shop")
	for i := range manyClients { // one after the other, so that the tap always evicts the same edges
		must(t, clients.hello(address(i), cart.at(8443), cfg))
	}
	for i := range manyPlain {
		must(t, clients.hello(address(i*manyClients/manyPlain), cart.at(8443), nil))
	}
}

// address returns the address of one of many clients.
func address(i int) string { return fmt.Sprintf("10.100.%d.%d", i/250, i%250+1) }

// hello sends a request from an address of the pod, and waits for the response.
func (p *pod) hello(from, to string, cfg *tls.Config) error {
	c, err := p.dialFrom(from, to)
	if err != nil {
		return err
	}
	defer c.Close()
	if cfg != nil {
		c = tls.Client(c, cfg)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n")
	b, err := io.ReadAll(c)
	if err == nil && !strings.HasSuffix(string(b), answer) {
		err = fmt.Errorf("%s received %.80q", from, b)
	}
	return err
}
