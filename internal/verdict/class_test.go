package verdict

import (
	"cmp"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestClass checks that each class needs at least two facts: if one of them is missing, the connection has another
// class.
func TestClass(t *testing.T) {
	const pod, node, gateway, peer, llocal = "10.1.1.2", "10.0.0.7", "10.1.1.1", "10.1.1.9", "169.254.7.127"
	cfg := Config{
		Local: []netip.Prefix{netip.MustParsePrefix(pod + "/32")}, Nodes: []netip.Addr{netip.MustParseAddr(node)},
		APIServer: netip.MustParseAddrPort("10.96.0.1:443"), Listen: 9469, Resolvers: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Probed: []Probe{{8080, ""}, {9000, ""}, {3306, ""}, {7777, "/status"}, {7777, ""}}, Scraped: []uint16{8081}, Meshes: []string{"istio", "linkerd", "osm"},
		Ambient: true,
	}
	http := func(path string) Judged { return Judged{Protocol: "http", HTTP: &HTTPInfo{Path: path}} }
	by := func(path, agent string) Judged {
		return Judged{Protocol: "http", HTTP: &HTTPInfo{Path: path, UserAgent: agent}}
	}
	at := func(host string) Judged { return Judged{Protocol: "grpc", HTTP: &HTTPInfo{Host: host}} }
	sni := func(name string, alpn ...string) Judged {
		return Judged{Protocol: "tls", TLS: &TLSInfo{ServerName: name, ALPNOffered: alpn}}
	}
	// a server speaks first to a client that sends nothing and closes
	greeted := func(bytes uint64, ended, whole bool) Judged {
		return Judged{Protocol: "mysql", Ended: ended, MissedStart: !whole, Source: Endpoint{Bytes: bytes}}
	}
	dns := Judged{Protocol: "dns"}
	istio, linkerd := "istiod.istio-system.svc", "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"
	for _, c := range []struct {
		name     string
		j        Judged
		from, to string
		port     uint16
		want     string
	}{
		{"nothing", Judged{}, pod, peer, 80, "workload"},
		{"HTTP", http("/"), pod, peer, 80, "workload"},
		{"from the node", http("/"), node, pod, 80, "workload"},

		{"probe", http("/healthz"), node, pod, 8080, "probe"},
		{"probe from a link-local address", http("/healthz"), llocal, pod, 8080, "probe"},
		{"probe in ambient mode over IPv6", http("/healthz"), "fd16:9254:7127:1337:ffff:ffff:ffff:ffff", pod, 8080, "probe"},
		{"probe rewritten by Istio", http("/app-health/web/readyz"), node, pod, 15020, "probe"},
		{"probe of Envoy", by("/other", "kube-probe/1.37"), node, pod, 15021, "probe"},
		{"probe of Linkerd", by("/other", "kube-probe/1.37"), node, pod, 4191, "probe"},
		{"probe of OSM", Judged{Protocol: "tls", TLS: &TLSInfo{}}, node, pod, 15901, "workload, claims probe"},
		{"probe of Kuma", http("/8080/status"), node, pod, 9000, "probe"},
		{"probe by gRPC", http("/grpc.health.v1.Health/Check"), node, pod, 9000, "probe"},
		{"probe by the kubelet's name", by("/status", "kube-probe/1.37"), node, pod, 8080, "probe"},
		{"probe of a server that speaks first", greeted(0, true, true), node, pod, 3306, "probe"},
		{"a client of it on the node", greeted(80, true, true), node, pod, 3306, "workload"},
		{"probe through a bridge", by("/healthz", "kube-probe/1.37"), gateway, pod, 8080, "probe"},
		{"gRPC probe through a bridge", by("/grpc.health.v1.Health/Check", "kube-probe/1.37 grpc-go/1.75.0"), gateway, pod, 9000, "probe"},
		{"gRPC health behind SNAT", http("/grpc.health.v1.Health/Check"), gateway, pod, 9000, "workload"},
		{"a path like Kuma's behind SNAT", http("/8080/status"), gateway, pod, 9000, "workload"},
		{"probe of Envoy through a bridge", by("/healthz/ready", "kube-probe/1.37"), gateway, pod, 15021, "probe"},
		{"TCP probe through a bridge", greeted(0, true, true), gateway, pod, 3306, "probe"},
		{"a client behind SNAT", http("/"), gateway, pod, 8080, "workload"},
		{"a client behind SNAT at a path of probes", http("/healthz"), gateway, pod, 8080, "workload"},
		{"a client behind SNAT, greeted", greeted(0, false, true), gateway, pod, 3306, "workload"},
		{"a client behind SNAT, answering", greeted(80, true, true), gateway, pod, 3306, "workload"},
		{"a client behind SNAT, seen in part", greeted(0, true, false), gateway, pod, 3306, "workload"},
		{"a scrape behind SNAT", http("/metrics"), gateway, pod, 8080, "workload"},
		{"to the gateway", by("/", "kube-probe/1.37"), pod, gateway, 80, "workload"},
		{"nothing asked by a workload", greeted(0, true, true), peer, pod, 3306, "workload"},
		{"the kubelet's name alone", by("/status", "kube-probe/1.37"), peer, pod, 8080, "workload"},
		{"the kubelet's name and a path", by("/healthz", "kube-probe/1.37"), peer, pod, 8080, "workload"},
		{"a probe's path alone", http("/healthz"), peer, pod, 8080, "workload"},
		{"a probe's port alone", http("/"), peer, pod, 15021, "workload"},
		{"Kuma's port alone", http("/status"), node, pod, 9000, "workload"},

		{"xDS", Judged{Protocol: "grpc", HTTP: &HTTPInfo{Path: "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"}}, pod, peer, 15010, "workload, claims mesh_control"},
		{"istiod by SNI", sni(istio), pod, peer, 15012, "workload, claims mesh_control"},
		{"istiod of a revision", sni("istiod-1-24.istio-system.svc"), pod, peer, 15012, "workload, claims mesh_control"},
		{"istiod by authority", at(istio), pod, peer, 15010, "workload, claims mesh_control"},
		{"istiod by its certificate", Judged{Protocol: "tls", TLS: &TLSInfo{Server: &Certificate{AlternativeNames: []string{"x", istio}}}}, pod, peer, 15012, "workload, claims mesh_control"},
		{"istiod's name alone", sni(istio), pod, peer, 443, "workload"},
		{"istiod's port alone", sni("web.shop"), pod, peer, 15012, "workload"},
		{"a bare istiod", sni("istiod"), pod, peer, 15012, "workload"},
		{"xDS on another port", http("/envoy.service.discovery.v3.X/Y"), pod, peer, 8080, "workload"},
		{"Linkerd", sni(linkerd), pod, peer, 8080, "workload, claims mesh_control"},
		{"Linkerd's destinations", sni("linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"), pod, peer, 8086, "workload, claims mesh_control"},
		{"Linkerd in plaintext", http("/io.linkerd.proxy.destination.Destination/Get"), pod, peer, 8086, "workload, claims mesh_control"},
		{"Linkerd's port alone", sni("web.shop.serviceaccount.identity.linkerd.cluster.local"), pod, peer, 8080, "workload"},
		{"Consul", sni("server.dc1.consul"), pod, peer, 8502, "workload, claims mesh_control"},
		{"a server that is not Consul's", sni("server.example.org"), pod, peer, 8502, "workload"},
		{"Kuma", sni("kuma-control-plane.kuma-system"), pod, peer, 5678, "workload, claims mesh_control"},
		{"OSM", sni("osm-controller.osm-system.svc.cluster.local"), pod, peer, 15128, "workload, claims mesh_control"},

		{"metrics from the node", http("/metrics"), node, pod, 8080, "workload, claims metrics"},
		{"metrics of Envoy", http("/stats/prometheus"), peer, pod, 15090, "metrics"},
		{"metrics of Linkerd from the node", http("/metrics"), node, pod, 4191, "metrics"},
		{"metrics by a scraper's name", by("/metrics", "Prometheus/3.5.0"), peer, pod, 8080, "workload, claims metrics"},
		{"a scraper's name alone", by("/", "Prometheus/3.5.0"), peer, pod, 8080, "workload"},
		{"their path alone", http("/metrics"), peer, pod, 8080, "workload"},
		{"their port alone", http("/"), peer, pod, 15090, "workload"},
		{"a scrape over TLS", sni("web.shop"), peer, pod, 15090, "workload"},

		{"DNS", dns, pod, "10.96.0.10", 53, "dns"},
		{"an answer of DNS whose question was not seen", Judged{Protocol: "dns", Transport: "udp", Source: Endpoint{Port: 53}}, pod, peer, 4000, "dns"},
		{"a client's message from DNS's port", Judged{Protocol: "dns", Transport: "tcp", Source: Endpoint{Port: 53}}, pod, peer, 8080, "workload"},
		{"multicast DNS", dns, pod, "224.0.0.251", 5353, "dns"},
		{"DNS of Istio's agent", dns, pod, "127.0.0.1", 15053, "dns"},
		{"DNS of the node", dns, pod, "169.254.20.10", 53, "dns"},
		{"DNS of the node, not recognized", Judged{}, pod, "169.254.20.10", 53, "workload, claims dns"},
		{"DNS of GCP", dns, pod, "169.254.169.254", 53, "dns"},
		{"DNS over TLS", sni("dns.example", "dot"), pod, "9.9.9.9", 853, "workload, claims dns"},
		{"its port alone, over TLS", sni("dns.example"), pod, "9.9.9.9", 853, "workload"},
		{"its port alone", http("/"), pod, peer, 53, "workload"},
		{"its port alone, not recognized", Judged{}, pod, peer, 53, "workload"},
		{"DNS on another port", dns, pod, peer, 8080, "workload"},

		{"API server", Judged{}, pod, "10.96.0.1", 443, "kubernetes_api"},
		{"its address, another port", Judged{}, pod, "10.96.0.1", 80, "workload"},
		{"its name, where the address is known", sni("kubernetes.default.svc"), pod, peer, 443, "workload"},

		{"metadata", http("/latest/meta-data/"), pod, "169.254.169.254", 80, "cloud_metadata"},
		{"metadata over IPv6", http("/latest/"), pod, "fd00:ec2::254", 80, "cloud_metadata"},
		{"its address, another port", Judged{}, pod, "100.100.100.200", 8080, "workload"},

		{"to the node", http("/"), pod, node, 10250, "node"},
		{"to a link-local address", http("/"), pod, "169.254.1.1", 80, "workload, claims node"},
		{"from a link-local address", http("/"), llocal, pod, 80, "workload, claims node"},

		{"a declared path", http("/status"), gateway, pod, 7777, "probe"},
		{"gRPC beside a declared path", http("/grpc.health.v1.Health/Check"), gateway, pod, 7777, "probe"},
		{"another path than the declared one", by("/healthz", "kube-probe/1.37"), node, pod, 7777, "workload"},
		{"the kubelet's name behind SNAT, and any path", by("/transfer", "kube-probe/1.37"), gateway, pod, 8080, "workload, claims probe"},
		{"a probe at a port that is not declared", http("/healthz"), node, pod, 8082, "workload, claims probe"},
		{"a probe from a neighbor's link-local address", http("/healthz"), "fe80::1", pod, 8080, "workload, claims probe"},
		{"a probe's path, posted to", Judged{HTTP: &HTTPInfo{Path: "/healthz", Method: "POST"}}, node, pod, 8080, "workload, claims probe"},
		{"a scrape at a declared port", http("/metrics"), peer, pod, 8081, "metrics"},
		{"another path of it", http("/transfer"), peer, pod, 8081, "workload"},
		{"a peer's declared port", http("/metrics"), pod, peer, 8081, "workload, claims metrics"},
		{"metrics of a proxy that is not here", http("/metrics"), peer, pod, 20200, "workload, claims metrics"},
		{"a NodePort", http("/"), pod, node, 30080, "workload, claims node"},
		{"metadata's address as the client", http("/"), "100.100.100.200", pod, 80, "workload"},

		{"the tap's own", http("/metrics"), peer, pod, 9469, "tap"},
		{"its port elsewhere", http("/"), pod, peer, 9469, "workload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := New(cfg)
			j.SetGateways([]netip.Addr{netip.MustParseAddr(gateway)})
			c.j.Transport, c.j.Verdict = cmp.Or(c.j.Transport, "tcp"), MTLS
			c.j.Source.Addr, c.j.Source.Port, c.j.Destination = netip.MustParseAddr(c.from), cmp.Or(c.j.Source.Port, 40000), Endpoint{Addr: netip.MustParseAddr(c.to), Port: c.port}
			c.j.Direction, c.j.Scope = j.locate(&c.j, &flow.Conn{Orig: flow.Endpoint{Addr: c.j.Source.Addr}, Resp: flow.Endpoint{Addr: c.j.Destination.Addr}})
			c.j.only = onlyKind{request: c.j.HTTP != nil, dns: c.j.Protocol == "dns", asks: c.j.Protocol == "dns"}
			if h := c.j.HTTP; h != nil && h.Method == "" {
				h.Method = map[bool]string{false: "GET", true: "POST"}[h.Path == grpcHealth]
			}
			said := func() string {
				class, claimed := j.class(&c.j)
				if claimed == "" || !strings.Contains(c.want, ", claims ") {
					return class
				}
				return class + ", claims " + claimed
			}
			if got := said(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			c.j.PeerName, c.j.PeerNameBasis = istio, "dns"
			if got := said(); got != c.want {
				t.Errorf("with a name from DNS %q, want %q", got, c.want)
			}
		})
	}
}

// TestMetadataAmongPods checks that an address of a metadata service counts as a pod's address if it is in the declared
// range of pods.
func TestMetadataAmongPods(t *testing.T) {
	o := Judged{Direction: DirectionEgress, HTTP: &HTTPInfo{Path: "/"}, Destination: Endpoint{Addr: netip.MustParseAddr("100.100.100.200"), Port: 80}}
	for want, cluster := range map[string][]netip.Prefix{"cloud_metadata": nil, "workload": {netip.MustParsePrefix("100.64.0.0/10")}} {
		if got, _ := New(Config{Cluster: cluster}).class(&o); got != want {
			t.Errorf("%v: %s, want %s", cluster, got, want)
		}
	}
}

// TestClassInACapture checks classes in a capture file, where the surroundings are unknown. A name and a port
// count as a claim, and link-local addresses count as ordinary peers.
func TestClassInACapture(t *testing.T) {
	j := New(Config{})
	o := Judged{TLS: &TLSInfo{ServerName: "kubernetes.default.svc"}, Destination: Endpoint{Addr: netip.MustParseAddr("10.96.0.1"), Port: 443}}
	if got, claimed := j.class(&o); got != "workload" || claimed != "kubernetes_api" {
		t.Errorf("%q, claimed %q", got, claimed)
	}
	o = Judged{HTTP: &HTTPInfo{Path: "/"}, Source: Endpoint{Addr: netip.MustParseAddr("fe80::1")}, Destination: Endpoint{Addr: netip.MustParseAddr("fe80::2"), Port: 80}}
	if got, claimed := j.class(&o); got != "workload" || claimed != "" {
		t.Errorf("%q, claimed %q", got, claimed)
	}
}

// TestAmbientProbes checks that the address that istio-cni gives to probes counts only in pods that are enrolled
// in ambient mode. In other pods, a neighbor may have the address.
func TestAmbientProbes(t *testing.T) {
	for ambient, want := range map[bool]string{true: "probe", false: "workload"} {
		for _, from := range ambientProbes {
			j := New(Config{Ambient: ambient, Probed: []Probe{{8080, "/healthz"}}})
			o := Judged{
				Transport: "tcp", Direction: DirectionIngress, Scope: ScopeWire, Protocol: "http", HTTP: &HTTPInfo{Method: "GET", Path: "/healthz"}, only: onlyKind{request: true},
				Source: Endpoint{Addr: from, Port: 40000}, Destination: Endpoint{Addr: netip.MustParseAddr("10.1.1.2"), Port: 8080},
			}
			if got, _ := j.class(&o); got != want {
				t.Errorf("from %s, enrolled %v: %s, want %s", from, ambient, got, want)
			}
		}
	}
}
