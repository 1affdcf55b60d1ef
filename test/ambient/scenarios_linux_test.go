package ambient_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// world is the lab with its mesh. The pods a and b are enrolled, and c is outside. The pod broken has the label but
// no redirection. waypoint and gateway are proxies in pods of their own.
type world struct {
	*lab
	a, b, c, broken, waypoint, gateway *host
	authority, stranger                *standin.Authority
}

// service is the address of a service in another cluster. It is reached through the gateway.
var service = netip.MustParseAddrPort("10.88.9.9:8080")

func newWorld(t *testing.T, folder string) *world {
	w := &world{lab: newLab(t, folder)}
	for _, p := range []**host{&w.a, &w.b, &w.c, &w.broken, &w.waypoint, &w.gateway} {
		*p = w.add(t, podNames[len(w.pods)])
	}
	must(t, w.node.ns.RewriteProbes(w.b.address))
	var err error
	w.authority, err = standin.NewAuthority()
	must(t, err)
	w.stranger, err = standin.NewAuthority()
	must(t, err)
	w.a.env = []string{"TAP_AMBIENT=istio"}
	w.b.env = []string{"TAP_AMBIENT=istio", "TAP_PROBE_PORTS=8080/healthz"}
	w.broken.env = []string{"TAP_AMBIENT=istio"}
	return w
}

// at returns a pod's address with a port.
func at(p *host, port uint16) netip.AddrPort { return netip.AddrPortFrom(p.address, port) }

// start starts the mesh, the applications and the taps.
func (w *world) start(t *testing.T, tap string) {
	t.Helper()
	hbone := func(p *host) netip.AddrPort { return at(p, standin.PortHBONE) }
	mesh := standin.Mesh{
		at(w.b, 8080): {Via: hbone(w.b)},
		at(w.b, 8081): {Via: hbone(w.waypoint)},
		service:       {Via: hbone(w.gateway), Inner: true, To: hbone(w.b)},
	}
	for p, account := range map[*host]string{w.a: "client", w.b: "server", w.waypoint: "waypoint", w.gateway: "gateway"} {
		id, err := w.authority.Identity("lab", account)
		must(t, err)
		p.proxy = &standin.Proxy{Pod: p.ns, Address: p.address, Identity: id, Mesh: mesh, Log: p.log}
		t.Cleanup(func() { p.proxy.Close() })
	}
	w.waypoint.proxy.Mesh = standin.Mesh{at(w.b, 8081): {Via: hbone(w.b)}}
	w.waypoint.proxy.Sessions = tls.NewLRUClientSessionCache(8)
	for _, p := range []*host{w.a, w.b} {
		must(t, p.ns.Redirect())
		must(t, p.proxy.Start())
	}
	must(t, w.waypoint.proxy.StartGateway(false))
	must(t, w.gateway.proxy.StartGateway(true))
	w.b.serve(t, 8080, "") // the proxies log incoming connections of an enrolled pod
	w.b.serve(t, 8081, "")
	w.a.serve(t, 8080, "")
	w.c.serve(t, 8080, appIn)
	for _, p := range w.pods {
		w.startTap(t, p, tap)
	}
}

// scenario is a step in the lab. events is the number of lines that the step adds to each pod's log; the step is
// complete when all of these lines are there.
type scenario struct {
	name   string
	run    func(t *testing.T, w *world)
	events map[string]int
	oneWay bool // the application itself sends TLS, without a client certificate
}

var scenarios = []scenario{
	{name: "HBONE", events: map[string]int{"a": 2, "b": 2}, run: func(t *testing.T, w *world) {
		// a's application sends a request. b's application must see a's own address.
		if got := w.a.get(t, "", "http://"+at(w.b, 8080).String()+"/"); !strings.HasPrefix(got, "hello "+w.a.address.String()+"\n") {
			t.Errorf("the client's address was not preserved: %.40q", got)
		}
	}},
	{name: "HBONE with three streams", events: map[string]int{"a": 1, "b": 4}, run: func(t *testing.T, w *world) {
		tunnel := w.a.proxy.Tunnel(standin.Hop{Via: at(w.b, standin.PortHBONE)})
		for range 3 {
			s, err := tunnel.Open(t.Context(), at(w.b, 8080).String())
			must(t, err)
			fmt.Fprintf(s, "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
			_, err = new(bytes.Buffer).ReadFrom(s)
			must(t, err)
			must(t, s.Close())
		}
		must(t, tunnel.Close())
	}},
	{name: "passthrough to a pod outside the mesh", events: map[string]int{"a": 2, "c": 1}, run: func(t *testing.T, w *world) {
		w.a.get(t, "", "http://"+at(w.c, 8080).String()+"/")
	}},
	{name: "plaintext from a pod outside the mesh", events: map[string]int{"c": 1, "b": 2}, run: func(t *testing.T, w *world) {
		w.c.get(t, appOut, "http://"+at(w.b, 8080).String()+"/")
	}},
	{name: "probe of the kubelet", events: map[string]int{"b": 1}, run: func(t *testing.T, w *world) {
		w.node.get(t, "", "http://"+at(w.b, 8080).String()+"/healthz")

	}},
	{name: "through a waypoint", events: map[string]int{"a": 2, "waypoint": 2, "b": 2}, run: func(t *testing.T, w *world) {
		w.a.get(t, "", "http://"+at(w.b, 8081).String()+"/")
	}},
	{name: "through a waypoint that resumes", events: map[string]int{"a": 2, "waypoint": 2, "b": 2}, run: func(t *testing.T, w *world) {
		w.a.get(t, "", "http://"+at(w.b, 8081).String()+"/")
	}},
	{name: "double HBONE through an east-west gateway", events: map[string]int{"a": 3, "gateway": 2, "b": 2}, run: func(t *testing.T, w *world) {
		w.a.get(t, "", "http://"+service.String()+"/")
	}},
	{name: "a pod whose redirection failed", events: map[string]int{"broken": 1, "b": 2}, run: func(t *testing.T, w *world) {
		w.broken.get(t, appOut, "http://"+at(w.b, 8080).String()+"/")
	}},
	{name: "within the pod", events: map[string]int{"a": 1}, run: func(t *testing.T, w *world) {
		w.a.get(t, within, "http://127.0.0.1:8080/")
	}},
	{name: "the application's own TLS to a pod outside", oneWay: true, events: map[string]int{"a": 2, "c": 1}, run: func(t *testing.T, w *world) {
		oneWayServer(t, w, w.c, 8443, "http/1.1")
		c, err := w.a.dial(t.Context(), at(w.c, 8443).String())
		must(t, err)
		askTLS(t, c, "http/1.1")
	}},
	{name: "CONNECT over one-way TLS at 15008", oneWay: true, events: map[string]int{"broken": 1, "c": 1}, run: func(t *testing.T, w *world) {
		oneWayServer(t, w, w.c, standin.PortHBONE, "h2")
		c, err := w.broken.dial(t.Context(), at(w.c, standin.PortHBONE).String())
		must(t, err)
		w.broken.logConnection(appOut, c.LocalAddr(), c.RemoteAddr())
		askTLS(t, c, "h2")
	}},
	{name: "plaintext at 15008", events: map[string]int{"broken": 1, "c": 1}, run: func(t *testing.T, w *world) {
		w.broken.serve(t, standin.PortHBONE, appIn)
		w.c.get(t, appOut, "http://"+at(w.broken, standin.PortHBONE).String()+"/")
	}},
	{name: "a stranger at 15008", events: map[string]int{"c": 1, "b": 1}, run: func(t *testing.T, w *world) { knock(t, w, w.stranger) }},
	{name: "no certificate at 15008", events: map[string]int{"c": 1, "b": 1}, run: func(t *testing.T, w *world) { knock(t, w, nil) }},
}

// oneWayServer starts a TLS server that responds to requests and does not request a certificate.
func oneWayServer(t *testing.T, w *world, p *host, port uint16, alpn string) {
	t.Helper()
	id, err := w.authority.Identity("lab", "oneway")
	must(t, err)
	l := p.listen(t, port)
	s := &http.Server{
		ReadHeaderTimeout: eventually.Limit, TLSConfig: id.OneWay(alpn),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				p.logConnection(appIn, c.RemoteAddr(), c.LocalAddr())
			}
		},
	}
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
}

// askTLS sends a request over TLS without a certificate and without a server name. The request is GET, or CONNECT if
// the ALPN name is h2.
func askTLS(t *testing.T, raw net.Conn, alpn string) {
	t.Helper()
	tr := &http.Transport{ForceAttemptHTTP2: alpn == "h2", DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}}) //nolint:gosec // there is no name
		return c, c.HandshakeContext(ctx)
	}}
	method := http.MethodGet
	if alpn == "h2" {
		method = http.MethodConnect
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+raw.RemoteAddr().String(), nil)
	must(t, err)
	req.Close = alpn != "h2"
	res, err := tr.RoundTrip(req)
	must(t, err)
	_, err = new(bytes.Buffer).ReadFrom(res.Body)
	must(t, err)
	res.Body.Close()
	raw.Close()
}

// knock opens an HBONE connection that b must refuse, because the client's certificate is missing or another
// authority signed it.
func knock(t *testing.T, w *world, by *standin.Authority) {
	t.Helper()
	c, err := w.c.dial(t.Context(), at(w.b, standin.PortHBONE).String())
	must(t, err)
	w.c.logConnection(standin.Refused, c.LocalAddr(), c.RemoteAddr())
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}} //nolint:gosec // there is no name to verify
	if by != nil {
		id, err := by.Identity("lab", "stranger")
		must(t, err)
		cfg.Certificates = id.Certificates()
	}
	x := tls.Client(c, cfg)
	if err := x.HandshakeContext(t.Context()); err == nil {
		if _, err = x.Read(make([]byte, 1)); err == nil {
			t.Error("b accepted the connection")
		}
	}
	c.Close()
}
