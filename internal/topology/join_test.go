package topology_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

const (
	h1 = "11111111111111111111111111111111"
	h2 = "22222222222222222222222222222222"
)

// brief returns edges as lines.
func brief(edges []topology.Edge) string {
	var out []string
	for _, e := range edges {
		n := e.Connections
		line := fmt.Sprintf("%s > %s:%d %s p%d t%d e%d m%d f%d u%d", e.From.String(), e.To.String(), e.Port, e.Verdict, n.Plaintext, n.TLS, n.Encrypted, n.MTLS, n.Failed, n.Unknown)
		for _, x := range e.Ends {
			line += fmt.Sprintf(" %s*%d", x.Side, x.Taps)
		}
		if e.To.Claimed {
			line += " claimed"
		}
		if e.To.Outside || e.From.Outside {
			line += " outside"
		}
		if e.Folded {
			line += " folded"
		}
		if e.Disagreement != "" {
			line += " | " + e.Disagreement
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestJoin(t *testing.T) {
	web, web2 := newPod("front", "web", "web-1", "10.0.0.1"), newPod("front", "web", "web-2", "10.0.0.2")
	shop := newPod("shop", "cart", "cart-1", "10.0.1.1")
	both := topology.Inventory{Pods: []topology.Pod{podOf(web, true), podOf(shop, true)}}
	service := topology.Inventory{
		Pods: both.Pods,
		Services: []topology.Service{{
			Namespace: "shop", Name: "cart", Addresses: []netip.Addr{addr("10.96.0.1")},
			Workloads: []topology.Workload{{Namespace: "shop", Kind: "Deployment", Name: "cart"}}, Ports: map[uint16]uint16{80: 8080},
		}},
	}
	canary := service
	canary.Services = []topology.Service{service.Services[0]}
	canary.Services[0].Workloads = append(canary.Services[0].Workloads, topology.Workload{Namespace: "shop", Kind: "Deployment", Name: "cart-canary"})
	three := topology.Inventory{Pods: append(both.Pods[:2:2], podOf(newPod("shop", "pay", "pay-1", "10.0.2.1"), false))}
	complete := both
	complete.Complete = true
	reused := topology.Inventory{Pods: []topology.Pod{podOf(newPod("other", "new", "new-1", "10.0.1.1"), false)}}
	late := topology.Inventory{Pods: []topology.Pod{reused.Pods[0]}}
	late.Pods[0].Started = at(1000).Std()
	out := func(v string) link {
		return link{direction: "egress", peer: "10.0.1.1", port: 8080, verdict: v, hash: h1, from: 10, to: 20}
	}
	in := func(v string) link {
		return link{direction: "ingress", peer: "10.0.0.1", port: 8080, verdict: v, hash: h1, from: 10, to: 20}
	}
	via := link{direction: "egress", peer: "10.96.0.1", port: 80, verdict: "mtls", hash: h1, from: 10, to: 20}
	named := via
	named.name = "payments.bank"
	for name, test := range map[string]struct {
		inventory topology.Inventory
		records   func() []*record.Record
		want      string
	}{
		"both ends": {both, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), shop.flow(in("mtls"))}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1 server*1"},
		"without an inventory, by the taps' identities": {topology.Inventory{}, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), shop.flow(in("mtls"))}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1 server*1"},
		"flow and posture count once": {both, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), web.posture("snapshot", out("mtls"), record.ByVerdict{MTLS: 1}, h1)}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1"},
		"a later posture replaces": {both, func() []*record.Record {
			late := out("mtls")
			late.to = 30
			return []*record.Record{web.posture("new", out("unknown"), record.ByVerdict{Unknown: 1}), web.posture("snapshot", late, record.ByVerdict{MTLS: 1})}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1"},
		"replicas add up": {both, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), web2.flow(out("mtls"))}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m2 f0 u0 client*2"},
		"the weaker verdict counts": {both, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), web.flow(out("mtls")), shop.flow(in("tls")), shop.flow(in("mtls"))}
		}, "front/web > shop/cart:8080 tls p0 t1 e0 m1 f0 u0 client*1 server*1 | The taps of front/web report mutual TLS, and those of shop/cart report TLS without proof that it is mutual: the weaker verdict counts."},
		"a service stands for its workload and port": {service, func() []*record.Record {
			return []*record.Record{web.flow(via), shop.flow(in("mtls"))}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1 server*1"},
		"an unknown service is joined by hash": {both, func() []*record.Record {
			return []*record.Record{web.flow(named), shop.flow(in("mtls"))}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1 server*1"},
		"without a common hash a name is a claim": {both, func() []*record.Record {
			l := named
			l.hash = h2
			return []*record.Record{web.flow(l), shop.flow(in("mtls"))}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 server*1\nfront/web > payments.bank:80 mtls p0 t0 e0 m1 f0 u0 client*1 claimed"},
		"a service of two workloads": {canary, func() []*record.Record {
			return []*record.Record{web.flow(via)}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1"},
		"an address that nobody has": {both, func() []*record.Record {
			l := out("plaintext")
			l.peer = "10.9.9.9"
			return []*record.Record{web.flow(l)}
		}, "front/web > 10.9.9.9:8080 plaintext p1 t0 e0 m0 f0 u0 client*1"},
		"outside of the cluster": {complete, func() []*record.Record {
			l := out("plaintext")
			l.peer = "10.9.9.9"
			return []*record.Record{web.flow(l)}
		}, "front/web > 10.9.9.9:8080 plaintext p1 t0 e0 m0 f0 u0 client*1 outside"},
		"an address with two owners": {reused, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), shop.tap("started", 0, 0), shop.tap("heartbeat", 100, 0)}
		}, "front/web > 10.0.1.1:8080 mtls p0 t0 e0 m1 f0 u0 client*1"},
		"a pod that came later": {late, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls"))}
		}, "front/web > 10.0.1.1:8080 mtls p0 t0 e0 m1 f0 u0 client*1"},
		"two servers under one claimed name": {three, func() []*record.Record {
			a, b := out("mtls"), out("tls")
			a.name, b.name, b.peer, b.hash = "shop.example", "shop.example", "10.0.2.1", h2
			whole := web.posture("snapshot", a, record.ByVerdict{MTLS: 1, TLS: 1, Plaintext: 1}, h1, h2)
			whole.Related.IP = append(whole.Related.IP, addr("10.0.2.1"))
			return []*record.Record{web.flow(a), web.flow(b), whole, shop.flow(in("mtls"))}
		}, "front/web > shop.example:8080 plaintext p1 t0 e0 m0 f0 u0 client*1 claimed\nfront/web > shop/pay:8080 tls p0 t1 e0 m0 f0 u0 client*1\nfront/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1 server*1"},
		"flows to addresses of a network": {topology.Inventory{}, func() []*record.Record {
			l := out("tls")
			l.peer = "203.0.113.9"
			whole := web.posture("snapshot", l, record.ByVerdict{TLS: 1})
			whole.Meshtls.Edge.To = "203.0.113.0/24"
			return []*record.Record{web.flow(l), whole}
		}, "front/web > 203.0.113.0/24:8080 tls p0 t1 e0 m0 f0 u0 client*1"},
		"a finding alone": {both, func() []*record.Record {
			return []*record.Record{web.finding("plaintext-edge", "open", 3, out("plaintext"))}
		}, "front/web > shop/cart:8080 plaintext p3 t0 e0 m0 f0 u0 client*1"},
		"a retracted finding": {both, func() []*record.Record {
			return []*record.Record{web.finding("plaintext-edge", "open", 1, out("plaintext")), web.finding("plaintext-edge", "withdrawn", 0, out("plaintext"))}
		}, ""},
		"unseen by the server": {both, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), shop.tap("started", 0, 0), shop.tap("stopped", 100, 0)}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1 | The taps of shop/cart saw no trace of the only connection that the taps of front/web identify, although they watched at that time."},
		"unseen, but the server's tap lost packets": {both, func() []*record.Record {
			return []*record.Record{web.flow(out("mtls")), shop.tap("started", 0, 0), shop.tap("stopped", 100, 1)}
		}, "front/web > shop/cart:8080 mtls p0 t0 e0 m1 f0 u0 client*1"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []*pod{web, web2, shop} {
				clear(p.sequence)
			}
			records := test.records()
			for seed := range uint64(4) {
				if got := brief(graphOf(test.inventory, seed, records...).Edges()); got != test.want {
					t.Errorf("got\n%s\nwant\n%s", got, test.want)
				}
			}
		})
	}
}
