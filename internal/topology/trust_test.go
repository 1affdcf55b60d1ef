package topology_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

func sourceOf(p *pod) *topology.Source {
	return &topology.Source{Namespace: p.namespace, Pod: p.name, UID: "uid-" + p.name}
}

// TestForgedLog: the log of a pod's tap has records about that pod only. Those about another pod are counted, named and not used.
func TestForgedLog(t *testing.T) {
	web, cart, evil := newPod("front", "web", "web-1", "10.0.0.1"), newPod("shop", "cart", "cart-1", "10.0.1.1"), newPod("evil", "x", "x-1", "10.0.9.9")
	inv := topology.Inventory{Pods: []topology.Pod{meshed(podOf(web, true), "istio"), meshed(podOf(cart, true), "istio"), podOf(evil, true)}, Namespace: "shop"}
	forged := cart.flow(link{direction: "ingress", peer: "10.0.0.1", port: 8080, verdict: "mtls", hash: h1, from: 10, to: 20})
	forged.Meshtls.Mesh = "istio"
	for name, change := range map[string]func(r *record.Record){
		"all of it":         func(*record.Record) {},
		"the name only":     func(r *record.Record) { r.Kubernetes.Pod.UID = "" },
		"the UID only":      func(r *record.Record) { r.Kubernetes.Pod.Name, r.Kubernetes.Namespace = "", "" },
		"the namespace":     func(r *record.Record) { r.Kubernetes.Pod = record.Pod{} },
		"the orchestration": func(r *record.Record) { r.Kubernetes, r.Orchestrator.Namespace = record.Kubernetes{}, "shop" },
	} {
		r := *forged
		change(&r)
		g := topology.New(inv)
		started, stopped := cart.tap("started", 0, 0), cart.tap("stopped", 7200, 0)
		for _, x := range []*record.Record{started, &r, stopped} {
			g.AddFrom(sourceOf(evil), x)
		}
		if len(g.Edges()) != 0 || !strings.Contains(everything(t, g), "3 records were not used, because the log of a pod's tap has them and they claim to be about another pod: evil/x-1.") {
			t.Errorf("%s: %s %v", name, brief(g.Edges()), g.Unknown())
		}
		for _, x := range g.Strict(topology.StrictOptions{MinConnections: 1}) {
			if x.State == topology.Ready {
				t.Errorf("%s: %+v", name, x)
			}
		}
	}
	g := topology.New(inv) // a tap without an identity has that of the log
	r := *forged
	r.Kubernetes, r.Service = record.Kubernetes{}, record.Name{}
	g.AddFrom(sourceOf(cart), &r)
	if got := brief(g.Edges()); !strings.HasPrefix(got, "front/web > shop/cart:8080 mtls") || r.Kubernetes.Pod.UID != "" {
		t.Error(got)
	}
}

// TestOwnPodOnly: a tap's record whose direction is not known is about its own pod, or about addresses without names; and a tap cannot claim the address of another pod.
func TestOwnPodOnly(t *testing.T) {
	web, cart, evil := newPod("front", "web", "web-1", "10.0.0.1"), newPod("shop", "cart", "cart-1", "10.0.1.1"), newPod("evil", "x", "x-1", "10.0.9.9")
	inv := topology.Inventory{Pods: []topology.Pod{podOf(web, true), podOf(cart, true), podOf(evil, true)}}
	between := func(from, to, verdict string) *record.Record {
		r := evil.flow(link{peer: to, port: 8080, verdict: verdict, hash: h1, from: 10, to: 20})
		r.Source.IP, r.Network.Direction = addr(from), []string{"", "internal"}[evil.sequence[record.DatasetFlow]%2]
		return r
	}
	for _, verdict := range []string{"mtls", "plaintext"} {
		for _, test := range []struct{ from, to, want string }{
			{"10.0.0.1", "10.0.1.1", "10.0.0.1 > 10.0.1.1:8080"},
			{"10.0.9.9", "10.0.1.1", "evil/x > shop/cart:8080"},
			{"10.0.0.1", "10.0.9.9", "front/web > evil/x:8080"},
		} {
			for range 2 {
				if got := brief(graphOf(inv, 1, between(test.from, test.to, verdict)).Edges()); !strings.HasPrefix(got, test.want+" "+verdict) {
					t.Errorf("got %s, want %s", got, test.want)
				}
			}
		}
	}
	posture := evil.posture("snapshot", link{direction: "", peer: "10.0.1.1", port: 8080, verdict: "mtls", from: 1, to: 2}, record.ByVerdict{MTLS: 1})
	posture.Meshtls.Edge.From, posture.Meshtls.Edge.To = "10.0.0.1", "10.0.1.1"
	if got := brief(graphOf(inv, 1, posture).Edges()); !strings.HasPrefix(got, "10.0.0.1 > 10.0.1.1:8080") {
		t.Errorf("a posture: %s", got)
	}
	thief := evil.tap("started", 0, 0)
	thief.Kubernetes.Pod.IP = []netip.Addr{addr("10.0.1.1"), addr("10.0.0.1"), addr("192.168.0.1")}
	inv.Nodes = []topology.Node{{Name: "n1", Addresses: []netip.Addr{addr("192.168.0.1")}}}
	out := web.flow(link{direction: "egress", peer: "10.0.1.1", port: 8080, verdict: "plaintext", from: 1, to: 2})
	node := cart.flow(link{direction: "ingress", peer: "192.168.0.1", port: 8080, verdict: "plaintext", from: 1, to: 2})
	if got := brief(graphOf(inv, 1, thief, out, node).Edges()); !strings.Contains(got, "front/web > shop/cart:8080") || !strings.Contains(got, "n1 > shop/cart:8080") {
		t.Errorf("stolen addresses: %s", got)
	}
	gone := newPod("evil", "x", "x-0", "10.0.1.1") // a pod that is not in the inventory; the pod in it was there all the time
	inv.Pods[1].Started = at(-100).Std()
	if got := brief(graphOf(inv, 1, gone.tap("started", 0, 0), gone.tap("stopped", 100, 0), out).Edges()); !strings.Contains(got, "front/web > shop/cart:8080") {
		t.Errorf("an address stolen by a pod that has ended: %s", got)
	}
}

// TestOwnNames: a name that is like that of a workload is a claim.
func TestOwnNames(t *testing.T) {
	p := newPod("front", "web", "web-1", "10.0.0.1")
	for basis, name := range map[string]string{"spiffe": "shop/cart", "": "shop/cart", "sni": "shop/cart"} {
		r := p.posture("snapshot", link{direction: "egress", peer: "10.7.7.7", port: 80, verdict: "mtls", from: 1, to: 2}, record.ByVerdict{MTLS: 1})
		r.Meshtls.Peer, r.Meshtls.Edge.To = record.Peer{Name: name, NameBasis: basis}, name
		if edges := graphOf(topology.Inventory{}, 1, r).Edges(); len(edges) != 1 || !edges[0].To.Claimed {
			t.Errorf("%q: %+v", basis, edges)
		}
	}
}

// TestSameID: a record cannot hide one of another tap that has its event.id.
func TestSameID(t *testing.T) {
	evil, web := newPod("evil", "x", "x-1", "10.0.9.9"), newPod("front", "web", "web-1", "10.0.0.1")
	a := evil.flow(link{direction: "egress", peer: "10.0.1.1", port: 80, verdict: "plaintext", from: 1, to: 2})
	b := web.flow(link{direction: "egress", peer: "10.0.1.1", port: 80, verdict: "plaintext", from: 1, to: 2})
	a.Event.ID, b.Event.ID = h1, h1
	for seed := range uint64(4) {
		if g := graphOf(topology.Inventory{}, seed, a, b, a, b); len(g.Edges()) != 2 || strings.Contains(everything(t, g), "event.id") {
			t.Error(brief(g.Edges()), g.Unknown())
		}
	}
}

// TestContradictionOrder: of records with one event.id and other contents, the results and the sentence about them do not depend on the order. The weaker verdict counts.
func TestContradictionOrder(t *testing.T) {
	p := newPod("shop", "w", "p", "10.0.0.1")
	l := peerOf(1, "mtls")
	weak := peerOf(1, "plaintext")
	flow, posture, finding := p.flow(l), p.posture("snapshot", l, record.ByVerdict{MTLS: 2}), p.finding("cipher-weak", "open", 1, l)
	again := func(r *record.Record, change func(r *record.Record)) *record.Record {
		x := *r
		change(&x)
		return &x
	}
	for name, records := range map[string][]*record.Record{
		"flow":                   {flow, again(flow, func(r *record.Record) { r.Meshtls.Verdict = "plaintext" })},
		"flow to another server": {flow, again(flow, func(r *record.Record) { r.Destination.IP = addr("10.7.7.7") })},
		"posture": {posture, again(posture, func(r *record.Record) {
			r.Meshtls.Verdict, r.Meshtls.Edge.Connections = "plaintext", &record.ByVerdict{Plaintext: 1}
		})},
		"finding": {finding, again(finding, func(r *record.Record) {
			r.Meshtls.Verdict, r.Meshtls.Finding.Count, r.Message = weak.verdict, 2, "x"
			r.Meshtls.Finding.State = "resolved"
		}), again(finding, func(r *record.Record) { r.Meshtls.Finding.Count = 0 })},
	} {
		want := ""
		for seed := range uint64(24) {
			g := graphOf(topology.Inventory{}, seed, append(slices.Clone(records), records...)...)
			got := everything(t, g)
			if want == "" {
				want = got
			}
			if got != want || !strings.Contains(got, fmt.Sprintf("%d record", len(records)-1)) || !strings.Contains(got, "the event.id of another one") {
				t.Fatalf("%s: got\n%s\nwant\n%s", name, got, want)
			}
			if name != "flow to another server" && g.Tally().By.Plaintext != 1 {
				t.Errorf("%s: %s", name, g.Answer())
			}
		}
	}
}

// TestParts: the results are the same if they are asked for after each part of the records, as for several files, and if the parts overlap.
func TestParts(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 11))
		records, _ := randomRecords(r)
		want := everything(t, graphOf(topology.Inventory{}, 0, records...))
		g := topology.New(topology.Inventory{})
		for from := 0; from < len(records); {
			to := min(len(records), from+1+r.IntN(5))
			for _, x := range records[max(0, from-2):to] {
				g.Add(x)
			}
			g.Edges()
			g.Strict(topology.StrictOptions{})
			from = to
		}
		if got := everything(t, g); got != want {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
}

// TestPlaintextIsNeverReady: with one more record of plaintext or of an unjudged connection to a port, the port does not become ready, and one that cuts clients off still does.
// No record of plaintext to a port that is ready leaves it ready.
func TestPlaintextIsNeverReady(t *testing.T) {
	ready := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 13))
		web, cart := newPod("front", "web", "web-1", "10.0.0.1"), newPod("shop", "cart", "cart-1", "10.0.1.1")
		inv := topology.Inventory{Namespace: "shop", Pods: []topology.Pod{meshed(podOf(web, r.IntN(2) == 0), "istio"), meshed(podOf(cart, true), "istio")}}
		inv.Pods[1].Ports = []uint16{8080}
		records := []*record.Record{cart.tap("started", 0, 0)}
		one := func(verdict string) *record.Record {
			l := link{port: 8080, verdict: verdict, hash: strings.Repeat(fmt.Sprintf("%02x", r.IntN(4)), 16), from: 10 + r.IntN(100), to: 200 + r.IntN(100)}
			p := cart
			l.direction, l.peer = "ingress", []string{"10.0.0.1", "10.0.0.1", "10.4.4.4"}[r.IntN(3)]
			if r.IntN(3) == 0 {
				p, l.direction, l.peer = web, "egress", "10.0.1.1"
			}
			var x *record.Record
			switch r.IntN(3) {
			case 0:
				x = p.flow(l)
			case 1:
				x = p.posture([]string{"new", "worsened", "snapshot", "improved"}[r.IntN(4)], l, record.ByVerdict{Plaintext: uint64(max(0, rankLike(verdict))), MTLS: 1}) //nolint:gosec // small
			default:
				x = p.finding(map[bool]string{true: "plaintext-edge", false: "cipher-weak"}[verdict == "plaintext"], "open", 1, l)
			}
			if x.Meshtls.Verdict == "mtls" {
				x.Meshtls.Mesh = "istio"
			}
			return x
		}
		for range 1 + r.IntN(4) {
			records = append(records, one([]string{"mtls", "mtls", "mtls", "tls"}[r.IntN(4)]))
		}
		records = append(records, cart.tap("stopped", 7200, 0))
		state := func(list ...*record.Record) string {
			for _, x := range graphOf(inv, seed, list...).Strict(topology.StrictOptions{MinConnections: 1, MinTime: time.Hour}) {
				if x.Port == 8080 {
					return x.State
				}
			}
			return ""
		}
		before := state(records...)
		if before == topology.Ready {
			ready++
		}
		for _, verdict := range []string{"plaintext", "unknown"} {
			after := state(append(slices.Clone(records), one(verdict))...)
			if after == topology.Ready && (verdict == "plaintext" || before != topology.Ready) || before == topology.CutOff && after != topology.CutOff {
				t.Errorf("seed %d: with %s, %s becomes %s", seed, verdict, before, after)
			}
		}
	}
	if ready < 20 {
		t.Errorf("only %d cases were ready", ready)
	}
}

func rankLike(verdict string) int {
	if verdict == "plaintext" {
		return 1
	}
	return 0
}

// TestFindingsMissing: plaintext without any finding, and findings beyond the bound, are limits that are said.
func TestFindingsMissing(t *testing.T) {
	p := newPod("shop", "w", "p", "10.0.0.1")
	flow := p.flow(peerOf(1, "plaintext"))
	const sentence = "The records have no finding, although 1 edge carried plaintext."
	if g := graphOf(topology.Inventory{}, 1, flow); !strings.Contains(everything(t, g), sentence) {
		t.Error(g.Unknown())
	}
	if g := graphOf(topology.Inventory{}, 1, flow, p.finding("plaintext-edge", "open", 1, peerOf(1, "plaintext"))); strings.Contains(everything(t, g), sentence) {
		t.Error(g.Unknown())
	}
	g := topology.New(topology.Inventory{})
	for i := range 1<<14 + 3 {
		g.Add(p.finding("plaintext-edge", "open", 1, peerOf(i, "plaintext")))
	}
	if text := fmt.Sprint(g.Unknown()); !strings.Contains(text, "3 records of further ones were not used") {
		t.Error(text)
	}
}

// TestTranslated: a connection that two captures have with different addresses has two edges, and that is said.
func TestTranslated(t *testing.T) {
	of := func(run, from, to string) *record.Record {
		p := &pod{run: run, ip: from, sequence: map[string]uint64{}}
		r := p.flow(link{peer: to, port: 443, verdict: "mtls", hash: h1, from: 1, to: 2})
		return r
	}
	g := graphOf(topology.Inventory{}, 1, of("a.pcap", "10.0.0.1", "10.96.0.1"), of("b.pcap", "192.168.0.7", "10.0.1.1"))
	if text := fmt.Sprint(g.Unknown()); len(g.Edges()) != 2 || !strings.Contains(text, "1 connection is in several captures with different addresses") {
		t.Error(brief(g.Edges()), text)
	}
	g = graphOf(topology.Inventory{}, 1, of("a.pcap", "10.0.0.1", "10.0.1.1"), of("b.pcap", "10.0.0.1", "10.0.1.1"))
	if text := fmt.Sprint(g.Unknown()); len(g.Edges()) != 1 || strings.Contains(text, "several captures") {
		t.Error(brief(g.Edges()), text)
	}
}

// TestServiceWithOthers: a service with endpoints that are no pods does not stand for the only workload among the others.
func TestServiceWithOthers(t *testing.T) {
	web, cart := newPod("front", "web", "web-1", "10.0.0.1"), newPod("shop", "cart", "cart-1", "10.0.1.1")
	inv := topology.Inventory{Pods: []topology.Pod{podOf(web, true), podOf(cart, false)}, Services: []topology.Service{{
		Namespace: "shop", Name: "all", Addresses: []netip.Addr{addr("10.96.0.1")}, Workloads: []topology.Workload{{Namespace: "shop", Kind: "Deployment", Name: "cart"}}, Others: true,
	}}}
	if got := brief(graphOf(inv, 1, web.flow(link{direction: "egress", peer: "10.96.0.1", port: 80, verdict: "mtls", from: 1, to: 2})).Edges()); !strings.HasPrefix(got, "front/web > shop/all:80") {
		t.Error(got)
	}
}
