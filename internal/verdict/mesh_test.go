package verdict

import "testing"

func TestMeshOf(t *testing.T) {
	for _, c := range []struct {
		name string
		info TLSInfo
		port uint16
		want string
	}{
		{"osm", TLSInfo{ALPNOffered: []string{"osm"}}, 80, "osm by alpn"},
		{"istio by ALPN", TLSInfo{ALPNOffered: []string{"istio-peer-exchange", "istio"}}, 80, "istio by alpn"},
		{"istio by SNI", TLSInfo{ServerName: "outbound_.8080_._.cart.shop.svc.cluster.local"}, 80, "istio by sni"},
		{"istio by SNI with a subset", TLSInfo{ServerName: "outbound_.8080_.v1_.cart.shop.svc.cluster.local"}, 80, "istio by sni"},
		{"istio inbound", TLSInfo{ServerName: "inbound_.80_._.cart"}, 80, "istio by sni"},
		{"like istio, no port", TLSInfo{ServerName: "outbound_.web_._.cart"}, 80, ""},
		{"like istio, no subset", TLSInfo{ServerName: "outbound_.80_.cart"}, 80, ""},
		{"like istio, a dot in the subset", TLSInfo{ServerName: "outbound_.80_.a.b_.cart"}, 80, ""},
		{"linkerd by SNI", TLSInfo{ServerName: "web.shop.serviceaccount.identity.linkerd.cluster.local"}, 80, "linkerd by sni"},
		{"consul", TLSInfo{ServerName: "cart.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul"}, 80, "consul by sni"},
		{"consul of a partition", TLSInfo{ServerName: "cart.default.p.dc1.internal-v1.11111111-2222-3333-4444-555555555555.consul"}, 80, "consul by sni"},
		{"like consul, no UUID", TLSInfo{ServerName: "cart.default.dc1.internal.home.consul"}, 80, ""},
		{"consul of a peer", TLSInfo{ServerName: "cart.default.default.peer1.external.11111111-2222-3333-4444-555555555555.consul"}, 80, "consul by sni"},
		{"consul by a prepared query", TLSInfo{ServerName: "cart.default.dc1.query.11111111-2222-3333-4444-555555555555.consul"}, 80, "consul by sni"},
		{"consul's DNS", TLSInfo{ServerName: "11111111-2222-3333-4444-555555555555.consul"}, 80, ""},
		{"ambient", TLSInfo{ALPNOffered: []string{"h2"}}, 15008, "istio_ambient by port"},
		{"ambient, by TLS 1.3", TLSInfo{ALPNOffered: []string{"h2"}, Version: "1.3", VersionProtocol: "tls"}, 15008, "istio_ambient by port"},
		{"TLS 1.2 at its port", TLSInfo{ALPNOffered: []string{"h2"}, Version: "1.2", VersionProtocol: "tls", ClientAuth: AuthPresented}, 15008, ""},
		{"TLS after CONNECT at its port", TLSInfo{ALPNOffered: []string{"h2"}, Version: "1.3", VersionProtocol: "tls", UpgradedFrom: "http"}, 15008, ""},
		{"no certificate asked for at its port", TLSInfo{ALPNOffered: []string{"h2"}, ClientAuth: AuthUnknown, ClientAuthRequested: RequestedNo}, 15008, ""},
		{"ambient, with a certificate", TLSInfo{ALPNOffered: []string{"h2"}, ClientAuth: AuthPresented}, 15008, "istio_ambient by port"},
		{"ambient, not known whether with one", TLSInfo{ALPNOffered: []string{"h2"}, ClientAuth: AuthUnknown}, 15008, "istio_ambient by port"},
		{"like ambient, no certificate was asked for", TLSInfo{ALPNOffered: []string{"h2"}, ClientAuth: AuthNotRequested}, 15008, ""},
		{"like ambient, none was sent", TLSInfo{ALPNOffered: []string{"h2"}, ClientAuth: AuthDeclined}, 15008, ""},
		{"like ambient at another port", TLSInfo{ALPNOffered: []string{"h2"}}, 15009, ""},
		{"its port alone", TLSInfo{}, 15008, ""},
		{"its port with another ALPN", TLSInfo{ALPNOffered: []string{"http/1.1"}}, 15008, ""},
		{"its port with one more", TLSInfo{ALPNOffered: []string{"h2", "http/1.1"}}, 15008, ""},
		{"its port with one that is left out", TLSInfo{ALPNOffered: []string{"h2"}, ALPNLeftOut: true}, 15008, ""},
		{"its port with a name", TLSInfo{ServerName: "cart", ALPNOffered: []string{"h2"}}, 15008, ""},
		{"its port with an invalid name", TLSInfo{Misnamed: true, ALPNOffered: []string{"h2"}}, 15008, ""},
		{"consul by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://d.consul/ns/default/dc/dc1/svc/cart"}}, 80, "consul by certificate"},
		{"istio by SPIFFE", TLSInfo{Client: &Certificate{SPIFFE: "spiffe://cluster.local/ns/shop/sa/web"}}, 80, "istio by certificate"},
		{"consul's agent by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://11111111-2222-3333-4444-555555555555.consul/agent/client/dc/dc1/id/a"}}, 80, "consul by certificate"},
		{"like consul by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://example.org/dc/dc1"}}, 80, ""},
		{"like istio by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://example.org/ns/shop/web"}}, 80, ""},
		{"osm by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://cluster.local/cart/shop", AlternativeNames: []string{"cart.shop.cluster.local"}}}, 80, "osm by certificate"},
		{"like osm, without its name", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://cluster.local/cart/shop", AlternativeNames: []string{"cart.shop"}}}, 80, ""},
		{"linkerd by its identity", TLSInfo{Client: &Certificate{AlternativeNames: []string{"web.shop.serviceaccount.identity.linkerd.cluster.local"}}}, 80, "linkerd by certificate"},
		{"kuma by ALPN", TLSInfo{ALPNOffered: []string{"kuma"}}, 80, "kuma by alpn"},
		{"kuma by SNI with tags", TLSInfo{ServerName: "cart_shop_svc_80{mesh=default,version=v1}"}, 80, "kuma by sni"},
		{"kuma by SNI with a hash", TLSInfo{ServerName: "ae10a8071b8a8eeb8.cart.443.default.ms"}, 80, "kuma by sni"},
		{"kuma by SNI of a resource", TLSInfo{ServerName: "sni.msvc.default.east.shop.cart.http"}, 80, "kuma by sni"},
		{"like kuma, braces", TLSInfo{ServerName: "cart{version=v1}"}, 80, ""},
		{"like kuma, a short hash", TLSInfo{ServerName: "ae10a8071b8a8eeb.cart.443.default.ms"}, 80, ""},
		{"like kuma, another kind", TLSInfo{ServerName: "sni.web.default.cart.http"}, 80, ""},
		{"like kuma, a name", TLSInfo{ServerName: "sni.example.org"}, 80, ""},
		{"kuma by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://default/cart_shop_svc_80"}}, 80, "kuma by certificate"},
		{"kuma by its own names", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://default/cart", AlternativeNames: []string{"spiffe://default/cart", "kuma://version/v1"}}}, 80, "kuma by certificate"},
		{"kuma by a workload's identity", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://default.east.mesh.local/ns/shop/sa/cart"}}, 80, "kuma by certificate"},
		{"like kuma by SPIFFE", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://example.org/cart"}}, 80, ""},
		{"SPIFFE without a path", TLSInfo{Server: &Certificate{SPIFFE: "spiffe://example.org"}}, 80, ""},
		{"none", TLSInfo{ServerName: "example.org", ALPNOffered: []string{"h2", "http/1.1"}}, 443, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, basis := meshOf(&Judged{TLS: &c.info, Destination: Endpoint{Port: c.port}})
			if basis != "" {
				got += " by " + basis
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
