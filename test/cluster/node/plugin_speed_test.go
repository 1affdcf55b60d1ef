package node_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestPluginFirstVerdict measures the time from the command to the first verdict, for five pods that run, one after the
// other. The image is on the node.
func TestPluginFirstVerdict(t *testing.T) {
	long(t)
	c := installed(t)
	w := newWorkstation(t, c)
	var took []time.Duration
	for range 5 {
		ns := c.Namespace(t, nil)
		x := newTarget(t, c, ns)
		i := w.tap(t, "web", "-n", ns)
		took = append(took, i.says(t, "plaintext: "+ns+"/client to "+ns+"/web:8080"))
		x.tapped(t)
		i.end(t, syscall.SIGINT)
		x.untapped(t)
		x.stop()
	}
	slices.Sort(took)
	t.Logf("from the command to the first verdict: median %v of %v", took[2], took)
	if took[2] > 5*time.Second {
		t.Errorf("median %v, want at most 5s", took[2])
	}
}

// TestPluginOlderConnection: pooled HTTP/2 connections that were open before the tap, one in plaintext and one in mutual
// TLS, with requests on them again and again. Within 60 s the operator learns what was sent on them, or that they are older
// than the tap and what to do. A line tells the verdict of a new connection.
func TestPluginOlderConnection(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	web, client := run(t, c, ns, kit.NewPod("web")), run(t, c, ns, kit.NewPod("client"))
	serverTLS, clientTLS := mutual(t)
	pools := []*pool{
		newPool(t, c, web, client, ":9090", nil, nil),
		newPool(t, c, web, client, ":9443", serverTLS, clientTLS),
	}
	w := newWorkstation(t, c)
	i := w.tap(t, "web", "-n", ns)
	for _, p := range pools {
		i.says(t, " "+ns+"/client to "+ns+"/web"+p.address)
	}
	i.end(t, syscall.SIGINT)
	i.expect(t, 0, "plaintext: "+ns+"/client to "+ns+"/web:9090", "TLS: "+ns+"/client to "+ns+"/web:9443", "2 connections are older than their taps")
	if took := time.Since(i.begin); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	t.Log(i)
	if strings.Contains(i.String(), "mutual TLS: ") {
		t.Error("mutual TLS, but no handshake was captured")
	}
	again := w.tap(t, "web", "-n", ns)
	for _, p := range pools {
		again.says(t, " "+ns+"/client to "+ns+"/web"+p.address)
		p.renew()
	}
	again.says(t, "TLS: "+ns+"/client to "+ns+"/web:9443, TLS 1.3")
	again.says(t, "; connections: 1 TLS, 1 mutual TLS")
	again.end(t, syscall.SIGINT)
	again.expect(t, 0, "plaintext: "+ns+"/client to "+ns+"/web:9090")
	t.Log(again)
	for _, p := range pools {
		p.stop()
		if p.failed > 0 {
			t.Errorf("%d requests on %s failed", p.failed, p.url)
		}
	}
}

// A pool is a client in a pod that sends requests to a server in another pod over one HTTP/2 connection.
type pool struct {
	address string // of the server, without the host
	url     string
	renewal chan chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{}
	failed  int // valid after stop
}

// newPool starts the server and the client. It returns when a request was answered. Without TLS configurations the protocol
// is HTTP/2 in cleartext.
func newPool(t *testing.T, c *kit.Cluster, web, client *corev1.Pod, address string, serverTLS, clientTLS *tls.Config) *pool {
	t.Helper()
	l, err := c.Network(t, process(t, c, web, "app")).Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	p := &pool{address: address, url: "http://" + web.Status.PodIP + address + "/", renewal: make(chan chan struct{}), ended: make(chan struct{})}
	if serverTLS == nil {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP2(true)
		p.url = "https://" + web.Status.PodIP + address + "/"
	}
	server := &http.Server{
		Protocols: &protocols, TLSConfig: serverTLS,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Proto) }),
	}
	if serverTLS == nil {
		go server.Serve(l)
	} else {
		go server.ServeTLS(l, "", "")
	}
	transport := &http.Transport{Protocols: &protocols, TLSClientConfig: clientTLS, DialContext: c.Network(t, process(t, c, client, "app")).Dial}
	pooled := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	if err := request(t.Context(), pooled, p.url); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(p.ended)
		for ctx.Err() == nil {
			if err := request(ctx, pooled, p.url); err != nil && ctx.Err() == nil {
				p.failed++
			}
			select {
			case <-ctx.Done():
			case done := <-p.renewal:
				transport.CloseIdleConnections() // leaves a connection with a request in flight open; here there is none
				close(done)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		p.stop()
		server.Close()
	})
	return p
}

// renew closes the connection between two requests, as a pool does that drains it. The next request opens another one.
func (p *pool) renew() {
	done := make(chan struct{})
	p.renewal <- done
	<-done
}

// stop ends the client's requests and waits for the last one.
func (p *pool) stop() {
	p.cancel()
	<-p.ended
}

// mutual returns configurations of both ends for mutual TLS, with one certificate for both.
func mutual(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"pooled.example"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	certificates, trusted := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, x509.NewCertPool()
	trusted.AddCert(certificate)
	return &tls.Config{Certificates: certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted},
		&tls.Config{Certificates: certificates, RootCAs: trusted, ServerName: "pooled.example"}
}
