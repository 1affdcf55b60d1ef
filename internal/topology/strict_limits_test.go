package topology_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// TestStrictLimits: whatever may hide a client, or makes the records doubtful, keeps a port from being ready.
func TestStrictLimits(t *testing.T) {
	web, cart, cart2 := newPod("front", "web", "web-1", "10.0.0.1"), newPod("shop", "cart", "cart-1", "10.0.1.1"), newPod("shop", "cart", "cart-2", "10.0.1.2")
	in := func(p *pod) *record.Record {
		r := p.flow(link{direction: "ingress", peer: "10.0.0.1", port: 8080, verdict: "mtls", hash: h1, from: 10, to: 20})
		r.Meshtls.Mesh = "istio"
		return r
	}
	out := func(verdict string) *record.Record {
		r := web.flow(link{direction: "egress", peer: "10.0.1.1", port: 8080, verdict: verdict, hash: h2, from: 10, to: 20})
		r.Meshtls.Mesh = "istio"
		return r
	}
	state := func(p *pod, action string, at int, change func(r *record.Record)) *record.Record {
		r := p.tap(action, at, 0)
		if change != nil {
			change(r)
		}
		return r
	}
	span := func(p *pod, from, to int) []*record.Record {
		return []*record.Record{state(p, "started", from, nil), state(p, "stopped", to, nil)}
	}
	blind := func(yes bool) func(r *record.Record) {
		return func(r *record.Record) { r.Meshtls.Tap.Blind = &yes }
	}
	since := func(s int) func(r *record.Record) {
		return func(r *record.Record) {
			no := false
			r.Meshtls.Tap.Blind = &no
			r.Meshtls.Tap.InterfaceStates = []record.Interface{{Name: "eth0", Captured: true, Since: at(s)}}
		}
	}
	edges := func(r *record.Record) { r.Meshtls.Tap.Edges = 1 }
	twoPods := func(inv *topology.Inventory) {
		inv.Pods = append(inv.Pods, meshed(podOf(cart2, true), "istio"))
	}
	contradiction := func() *record.Record {
		r := in(cart)
		r.Event.ID, r.Meshtls.ConnState = "twin", "SF"
		return r
	}
	folded := func() *record.Record {
		r := cart.posture("snapshot", link{direction: "ingress", peer: "10.0.0.1", from: 10, to: 20}, record.ByVerdict{MTLS: 1})
		r.Meshtls.Edge = record.Edge{Key: "other", Folded: true, Connections: r.Meshtls.Edge.Connections}
		return r
	}
	probes := func() *record.Record {
		r := cart.posture("snapshot", link{direction: "ingress", peer: "192.168.0.1", from: 10, to: 20, verdict: "plaintext"}, record.ByVerdict{Plaintext: 5})
		r.Meshtls.Class = "probe"
		r.Meshtls.Edge = record.Edge{Key: "probe", Folded: true, Connections: r.Meshtls.Edge.Connections}
		return r
	}
	const fine = "shop/cart:8080 ready m1"
	for name, test := range map[string]struct {
		change  func(inv *topology.Inventory)
		records func() []*record.Record
		then    func(g *topology.Graph)
		want    string // the beginning and, after "...", a part of the line
	}{
		"fine": {nil, func() []*record.Record { return append(span(cart, 0, 7200), in(cart)) }, nil, fine},
		"blind for a time": {nil, func() []*record.Record {
			return append(span(cart, 0, 7200), in(cart), state(cart, "degraded", 100, blind(true)), state(cart, "recovered", 4000, blind(false)))
		}, nil, "shop/cart:8080 not_enough_seen m1...did not capture on all interfaces for a part of the time"},
		"capturing again for too short a time": {nil, func() []*record.Record {
			return append(span(cart, 0, 7200), in(cart), state(cart, "degraded", 100, blind(true)), state(cart, "recovered", 4000, since(4000)))
		}, nil, "shop/cart:8080 not_enough_seen m1...It was watched for 53m20s"},
		"capturing again for long enough": {nil, func() []*record.Record {
			return append(span(cart, 0, 7200), in(cart), state(cart, "degraded", 100, blind(true)), state(cart, "recovered", 1000, since(1000)))
		}, nil, fine},
		"older than the tap": {nil, func() []*record.Record { // a connection, or a posture interval, that began before the tap wrote anything
			r := in(cart)
			r.Event.Start = at(-7200)
			return append(span(cart, 0, 600), r)
		}, nil, "shop/cart:8080 not_enough_seen m1...It was watched for 10m0s"},
		"one pod after the other": {twoPods, func() []*record.Record {
			r := in(cart2)
			r.Timestamp = at(5000)
			return append(append(span(cart, 0, 4000), span(cart2, 4000, 8000)...), in(cart), r)
		}, nil, "shop/cart:8080 not_enough_seen m2...All of its pods together were watched for 0s"},
		"both pods": {twoPods, func() []*record.Record {
			r := in(cart2)
			r.Timestamp = at(5000)
			return append(append(span(cart, 0, 4000), span(cart2, 100, 8000)...), in(cart), r)
		}, nil, "shop/cart:8080 ready m2"},
		"mutual TLS by the client's tap only": {nil, func() []*record.Record { return append(span(cart, 0, 7200), out("mtls")) }, nil,
			"shop/cart:8080 not_enough_seen m1...1 connection from front/web used mutual TLS by the records of the client's tap only"},
		"only flows of a running tap that has edges": {nil, func() []*record.Record {
			return []*record.Record{state(cart, "started", 0, nil), in(cart), state(cart, "heartbeat", 7200, edges)}
		}, nil, "shop/cart:8080 not_enough_seen m1...No posture of the tap in shop/cart-1 was read"},
		"only flows of a tap that has stopped": {nil, func() []*record.Record {
			return []*record.Record{state(cart, "started", 0, nil), in(cart), state(cart, "stopped", 7200, edges)}
		}, nil, fine},
		"self-test": {nil, func() []*record.Record {
			return append(span(cart, 0, 7200), in(cart), state(cart, "heartbeat", 10, func(r *record.Record) { r.Meshtls.Tap.Checks = map[string]record.Check{"self_test": {}} }))
		}, nil, "shop/cart:8080 not_enough_seen m1...failed its self-test"},
		"a contradiction hides no gap": {nil, func() []*record.Record {
			a, b := in(cart), contradiction()
			a.Event.ID, b.Event.Sequence = "twin", a.Event.Sequence
			return append(span(cart, 0, 7200), a, b, in(cart))
		}, nil, "shop/cart:8080 not_enough_seen m3...lost packets, connections or records"},
		"a contradiction": {nil, func() []*record.Record {
			a := in(cart)
			b := *a
			b.Meshtls.ConnState = "SF"
			return append(span(cart, 0, 7200), a, &b)
		}, nil, "shop/cart:8080 not_enough_seen m2...Some records contradict each other."},
		"flows without a posture beside edges that were counted together": {nil, func() []*record.Record { return append(span(cart, 0, 7200), in(cart), folded()) }, nil,
			"shop/cart:8080 not_enough_seen m1...1 connection without an edge of its own"},
		"a port that one of two pods excludes": {func(inv *topology.Inventory) { twoPods(inv); inv.Pods[1].Skip = []uint16{8080} }, func() []*record.Record {
			return append(append(span(cart, 0, 7200), span(cart2, 0, 7200)...), in(cart), in(cart2))
		}, nil, "shop/cart:8080 not_enough_seen m2...exclude the port from the mesh in some of its pods"},
		"probes that are counted together": {nil, func() []*record.Record { return append(span(cart, 0, 7200), in(cart), probes()) }, nil, fine + "...exempt"},
		"probes that are counted together, at a port that the kubelet probes itself": {func(inv *topology.Inventory) { inv.Pods[1].Probes = []uint16{8080} }, func() []*record.Record {
			return append(span(cart, 0, 7200), in(cart), probes())
		}, nil, "shop/cart:8080 not_enough_seen m1...The kubelet probes this port"},
		"plaintext to a service of two workloads": {func(inv *topology.Inventory) {
			inv.Services = []topology.Service{{
				Namespace: "shop", Name: "all", Addresses: []netip.Addr{addr("10.96.0.1")}, Ports: map[uint16]uint16{80: 8080},
				Workloads: []topology.Workload{{Namespace: "shop", Kind: "Deployment", Name: "cart"}, {Namespace: "shop", Kind: "Deployment", Name: "canary"}},
			}}
		}, func() []*record.Record {
			r := web.flow(link{direction: "egress", peer: "10.96.0.1", port: 80, verdict: "plaintext", from: 10, to: 20})
			return append(span(cart, 0, 7200), in(cart), r)
		}, nil, "shop/cart:8080 not_enough_seen m1...1 connection of front/web to the service all that is not mutual TLS"},
		"a part of the input": {nil, func() []*record.Record { return append(span(cart, 0, 7200), in(cart)) },
			func(g *topology.Graph) { g.Incomplete("x") }, "shop/cart:8080 not_enough_seen m1...Not all of the input could be read."},
		"a part of its tap's log": {nil, func() []*record.Record { return append(span(cart, 0, 7200), in(cart)) },
			func(g *topology.Graph) { g.IncompleteLog(sourceOf(cart), "x is unread") }, "shop/cart:8080 not_enough_seen m1...x is unread"},
		"a part of the log of a client's tap": {nil, func() []*record.Record { return append(span(cart, 0, 7200), in(cart)) },
			func(g *topology.Graph) { g.IncompleteLog(sourceOf(web), "x") }, fine},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []*pod{web, cart, cart2} {
				clear(p.sequence)
			}
			inv := topology.Inventory{Namespace: "shop", Pods: []topology.Pod{meshed(podOf(web, true), "istio"), meshed(podOf(cart, true), "istio")}}
			inv.Pods[1].Ports = []uint16{8080}
			if test.change != nil {
				test.change(&inv)
			}
			records := test.records()
			for seed := range uint64(4) {
				g := graphOf(inv, seed, records...)
				if test.then != nil {
					test.then(g)
				}
				got := states(g.Strict(topology.StrictOptions{MinConnections: 1, MinTime: time.Hour}))
				begin, part, _ := strings.Cut(test.want, "...")
				if !strings.HasPrefix(got, begin) || !strings.Contains(got, part) || part == "" && got != begin {
					t.Errorf("got\n%s\nwant\n%s", got, test.want)
				}
			}
		})
	}
}
