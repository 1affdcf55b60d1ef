package topology_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// states returns the states of a readiness with their reasons.
func states(list []topology.Readiness) string {
	var out []string
	for i := range list {
		r := &list[i]
		line := fmt.Sprintf("%s:%d %s m%d", r.Workload.String(), r.Port, r.State, r.Connections)
		for _, c := range r.Clients {
			if c.CutOff {
				line += fmt.Sprintf(" | cuts %s (%s, %d of %d)", c.From.String(), c.Why, c.Weak, c.Connections)
			}
		}
		if len(r.Missing) > 0 {
			line += " | " + strings.Join(r.Missing, " ")
		}
		if len(r.Exempt) > 0 {
			line += " | exempt: " + strings.Join(r.Exempt, " ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestStrict(t *testing.T) {
	web, shop, shop2 := newPod("front", "web", "web-1", "10.0.0.1"), newPod("shop", "cart", "cart-1", "10.0.1.1"), newPod("shop", "cart", "cart-2", "10.0.1.2")
	in := func(verdict string) *record.Record {
		r := shop.flow(link{direction: "ingress", peer: "10.0.0.1", port: 8080, verdict: verdict, hash: h1, from: 10, to: 20})
		if verdict == "mtls" {
			r.Meshtls.Mesh = "istio"
		}
		return r
	}
	shown := func(r *record.Record) *record.Record {
		r.Meshtls.TLS.ClientAuth = "not_requested"
		return r
	}
	probe := func(port uint16) *record.Record {
		r := in("plaintext")
		r.Meshtls.Class, r.Destination.Port, r.Source.IP = "probe", port, addr("192.168.0.1")
		return r
	}
	foreign := func() *record.Record {
		r := in("mtls")
		r.Meshtls.Mesh = ""
		return r
	}
	hbone := func() *record.Record {
		r := in("mtls")
		r.Meshtls.Mesh, r.Destination.Port = "istio_ambient", 15008
		return r
	}
	older := func() *record.Record {
		r := shop.tap("heartbeat", 7100, 0)
		r.Meshtls.Coverage.Older = 3
		return r
	}
	const fine = "shop/cart:8080 ready m1"
	const unseen = "shop/cart:8080 not_enough_seen m0 | No client was seen at this port."
	for name, test := range map[string]struct {
		change  func(pods []topology.Pod) []topology.Pod
		records func() []*record.Record // without those of the tap
		until   int                     // seconds; 0: two hours
		dropped uint64
		want    string
	}{
		"ready":                   {nil, func() []*record.Record { return []*record.Record{in("mtls")} }, 0, 0, fine},
		"older, but not unjudged": {nil, func() []*record.Record { return []*record.Record{in("mtls"), older()} }, 0, 0, fine},
		"plaintext": {nil, func() []*record.Record { return []*record.Record{in("mtls"), in("plaintext")} }, 0, 0,
			"shop/cart:8080 cut_off m1 | cuts front/web (plaintext, 1 of 2)"},
		"plaintext that only the client's tap reports": {nil, func() []*record.Record {
			return []*record.Record{in("mtls"), web.flow(link{direction: "egress", peer: "10.0.1.1", port: 8080, verdict: "plaintext", hash: h2, from: 10, to: 20})}
		}, 0, 0, "shop/cart:8080 cut_off m0 | cuts front/web (plaintext, 1 of 1)"},
		"TLS without a certificate": {nil, func() []*record.Record { return []*record.Record{shown(in("tls"))} }, 0, 0,
			"shop/cart:8080 cut_off m0 | cuts front/web (TLS without a client certificate, 1 of 1)"},
		"TLS that may be mutual": {nil, func() []*record.Record {
			r := in("tls")
			r.Meshtls.TLS.ClientAuth = "unknown"
			return []*record.Record{in("mtls"), r}
		}, 0, 0, "shop/cart:8080 not_enough_seen m1 | 1 connection from front/web used TLS that may or may not be mutual."},
		"unjudged": {nil, func() []*record.Record { return []*record.Record{in("mtls"), in("unknown")} }, 0, 0,
			"shop/cart:8080 not_enough_seen m1 | 1 connection from front/web could not be judged."},
		"mutual TLS of another authority": {nil, func() []*record.Record { return []*record.Record{foreign()} }, 0, 0,
			"shop/cart:8080 not_enough_seen m1 | 1 connection from front/web used mutual TLS that does not look like the mesh's own (STRICT accepts only certificates of the mesh)."},
		"some of another authority": {nil, func() []*record.Record { return []*record.Record{in("mtls"), foreign()} }, 0, 0,
			"shop/cart:8080 not_enough_seen m2 | 2 connections from front/web used mutual TLS that does not look like the mesh's own (STRICT accepts only certificates of the mesh)."},
		"nobody": {nil, func() []*record.Record { return nil }, 0, 0, unseen},
		"too short": {nil, func() []*record.Record { return []*record.Record{in("mtls")} }, 600, 0,
			"shop/cart:8080 not_enough_seen m1 | It was watched for 10m0s, less than 1h0m0s (--min-time)."},
		"lost packets": {nil, func() []*record.Record { return []*record.Record{in("mtls")} }, 0, 2,
			"shop/cart:8080 not_enough_seen m1 | The tap in shop/cart-1 lost packets, connections or records (2 packets), which may hide clients."},
		"a pod without a tap": {func(p []topology.Pod) []topology.Pod { return append(p, meshed(podOf(shop2, false), "istio")) },
			func() []*record.Record { return []*record.Record{in("mtls")} }, 0, 0,
			"shop/cart:8080 not_enough_seen m1 | Taps reported from only 1 of its 2 pods, so some of its clients may not have been seen."},
		"a pod outside of the mesh": {func(p []topology.Pod) []topology.Pod { return append(p, meshed(podOf(shop2, false), "")) },
			func() []*record.Record { return []*record.Record{in("mtls")} }, 0, 0,
			"shop/cart:8080 not_enough_seen m1 | Not all of its pods are in the same mesh. Taps reported from only 1 of its 2 pods, so some of its clients may not have been seen."},
		"excluded": {func(p []topology.Pod) []topology.Pod { p[1].Skip = []uint16{8080}; return p },
			func() []*record.Record { return []*record.Record{in("mtls")} }, 0, 0, "shop/cart:8080 excluded m1"},
		"not in a mesh": {func(p []topology.Pod) []topology.Pod { p[1].Mesh = ""; return p },
			func() []*record.Record { return []*record.Record{in("plaintext")} }, 0, 0, "shop/cart:8080 not_enrolled m0 | cuts front/web (plaintext, 1 of 1)"},
		"rewritten probes": {nil, func() []*record.Record { return []*record.Record{in("mtls"), probe(15020)} }, 0, 0, fine},
		"probes at the workload's own port": {nil, func() []*record.Record { return []*record.Record{in("mtls"), probe(8080)} }, 0, 0,
			"shop/cart:8080 cut_off m1 | cuts 192.168.0.1 (the kubelet's probes, which Istio has not rewritten to its own port, 1 of 1)"},
		"ambient: HBONE, and probes": {func(p []topology.Pod) []topology.Pod { p[1].Mesh = "istio_ambient"; return p },
			func() []*record.Record { return []*record.Record{hbone(), probe(8080)} }, 0, 0,
			"shop/cart:8080 ready m1 | exempt: The mesh does not apply its mutual TLS to 1 connection of the kubelet's probes."},
		"ambient: past HBONE": {func(p []topology.Pod) []topology.Pod { p[1].Mesh = "istio_ambient"; return p },
			func() []*record.Record { return []*record.Record{hbone(), in("plaintext")} }, 0, 0,
			"shop/cart:8080 cut_off m1 | cuts front/web (plaintext, 1 of 1)"},
		"folded edges": {nil, func() []*record.Record {
			r := shop.posture("snapshot", link{direction: "ingress", peer: "10.0.0.1", from: 10, to: 20}, record.ByVerdict{Plaintext: 1})
			r.Meshtls.Edge = record.Edge{Key: "other", Folded: true, Connections: r.Meshtls.Edge.Connections}
			return []*record.Record{in("mtls"), r}
		}, 0, 0, "shop/cart:8080 not_enough_seen m1 | 1 connection without an edge of its own may be from another client."},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []*pod{web, shop, shop2} {
				clear(p.sequence)
			}
			pods := []topology.Pod{meshed(podOf(web, true), "istio"), meshed(podOf(shop, true), "istio")}
			pods[1].Ports = []uint16{8080}
			if test.change != nil {
				pods = test.change(pods)
			}
			until := test.until
			if until == 0 {
				until = 7200
			}
			records := append([]*record.Record{shop.tap("started", 0, 0)}, test.records()...)
			records = append(records, shop.tap("heartbeat", until, test.dropped))
			g := graphOf(topology.Inventory{Pods: pods, Namespace: "shop"}, 3, records...)
			if got := states(g.Strict(topology.StrictOptions{MinConnections: 1, MinTime: time.Hour})); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func meshed(p topology.Pod, mesh string) topology.Pod {
	p.Mesh = mesh
	return p
}

// TestSelector: the labels select all pods of the workload and no others.
func TestSelector(t *testing.T) {
	pod := func(workload, name string, labels map[string]string) topology.Pod {
		p := podOf(newPod("shop", workload, name, "10.0.0.1"), false)
		p.Labels = labels
		return p
	}
	hash := map[string]string{"pod-template-hash": "x"}
	with := func(m map[string]string) map[string]string {
		out := maps.Clone(hash)
		maps.Copy(out, m)
		return out
	}
	for _, test := range []struct {
		pods []topology.Pod
		want string
	}{
		{[]topology.Pod{pod("a", "a-1", with(map[string]string{"app": "a", "v": "1"})), pod("b", "b-1", map[string]string{"app": "b"})}, "map[app:a]"},
		{[]topology.Pod{pod("a", "a-1", map[string]string{"app": "a", "v": "1"}), pod("b", "b-1", map[string]string{"app": "a", "v": "2"})}, "map[app:a v:1]"},
		{[]topology.Pod{pod("a", "a-1", map[string]string{"app": "a"}), pod("b", "b-1", map[string]string{"app": "a", "v": "2"})}, "map[]"},
		{[]topology.Pod{pod("a", "a-1", map[string]string{"app": "a"}), pod("a", "a-2", map[string]string{"app": "c"})}, "map[]"},
		{[]topology.Pod{pod("a", "a-1", hash)}, "map[]"},
	} {
		g := topology.New(topology.Inventory{Pods: test.pods})
		labels, ok := g.Selector(&topology.Workload{Namespace: "shop", Kind: "Deployment", Name: "a"})
		if got := fmt.Sprint(labels); got != test.want || ok != (test.want != "map[]") {
			t.Errorf("%v %s, want %s", ok, got, test.want)
		}
	}
}

// TestUnenrolled: with an ambient mesh, clients and servers that are not enrolled are listed.
func TestUnenrolled(t *testing.T) {
	web, shop := newPod("front", "web", "web-1", "10.0.0.1"), newPod("shop", "cart", "cart-1", "10.0.1.1")
	pods := []topology.Pod{meshed(podOf(web, true), ""), meshed(podOf(shop, true), "istio_ambient"), meshed(podOf(newPod("shop", "job", "job-1", "10.0.1.9"), true), "")}
	g := graphOf(topology.Inventory{Pods: pods, Namespace: "shop"}, 1, shop.flow(link{direction: "ingress", peer: "10.0.0.1", port: 80, verdict: "plaintext", from: 1, to: 2}))
	list, ambient := g.Unenrolled()
	var names []string
	for i := range list {
		names = append(names, list[i].String())
	}
	if !ambient || !slices.Equal(names, []string{"front/web", "shop/job"}) {
		t.Error(ambient, names)
	}
}
