package verdict

import "testing"

func TestMeshOf(t *testing.T) {
	for _, c := range []struct {
		name string
		info TLSInfo
		port uint16
		want string
	}{
		{"osm", TLSInfo{ALPNOffered: []string{"osm"}}, 80, "osm"},
		{"istio by ALPN", TLSInfo{ALPNOffered: []string{"istio-peer-exchange", "istio"}}, 80, "istio"},
		{"istio by SNI", TLSInfo{ServerName: "outbound_.8080_._.cart.shop.svc.cluster.local"}, 80, "istio"},
		{"istio by SNI with a subset", TLSInfo{ServerName: "outbound_.8080_.v1_.cart.shop.svc.cluster.local"}, 80, "istio"},
		{"istio inbound", TLSInfo{ServerName: "inbound_.80_._.cart"}, 80, "istio"},
		{"like istio, no port", TLSInfo{ServerName: "outbound_.web_._.cart"}, 80, ""},
		{"like istio, no subset", TLSInfo{ServerName: "outbound_.80_.cart"}, 80, ""},
		{"like istio, a dot in the subset", TLSInfo{ServerName: "outbound_.80_.a.b_.cart"}, 80, ""},
		{"linkerd by SNI", TLSInfo{ServerName: "web.shop.serviceaccount.identity.linkerd.cluster.local"}, 80, "linkerd"},
		{"consul", TLSInfo{ServerName: "cart.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul"}, 80, "consul"},
		{"consul of a partition", TLSInfo{ServerName: "cart.default.p.dc1.internal-v1.11111111-2222-3333-4444-555555555555.consul"}, 80, "consul"},
		{"like consul, no UUID", TLSInfo{ServerName: "cart.default.dc1.internal.home.consul"}, 80, ""},
		{"consul's DNS", TLSInfo{ServerName: "11111111-2222-3333-4444-555555555555.consul"}, 80, ""},
		{"ambient", TLSInfo{}, 15008, "istio_ambient"},
		{"its port with a name", TLSInfo{ServerName: "cart"}, 15008, ""},
		{"consul by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://d.consul/ns/default/dc/dc1/svc/cart"}}, 80, "consul"},
		{"istio by SPIFFE", TLSInfo{Client: &Certificate{SPIFFE: "spiffe://cluster.local/ns/shop/sa/web"}}, 80, "istio"},
		{"none", TLSInfo{ServerName: "example.org", ALPNOffered: []string{"h2", "http/1.1"}}, 443, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := meshOf(&Judged{TLS: &c.info, Destination: Endpoint{Port: c.port}}); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
