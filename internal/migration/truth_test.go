package migration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// world is a few workloads, with the true transport of each of their services before and after the change. Taps see
// only a part of it: some pods have no tap, and some names are missing. Services are reached by their own address or by
// a pod's, HBONE may use a waypoint, and addresses are reused.
type world struct {
	rng    *rand.Rand
	tapped map[string]bool // whether a pod has a tap, by workload and side
	addr   map[string]string
	sides  [2][]told
}

// wire is the transport of a service.
type wire int

const (
	sidecar wire = iota
	tunnel
	waypoint // a tunnel to another pod, and a second one from there to the server
	plain
	oneWay
	silent // no connection
)

// truth is one service of a server that a client speaks to.
type truth struct {
	client, server string
	port           int
	named          [2]bool // whether the client sends the server's name
	how            [2]wire
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), tapped: map[string]bool{}, addr: map[string]string{}} //nolint:gosec // a test
	next := 10
	for side := range 2 {
		for _, name := range []string{"a", "b", "c", "d", "way", "vip-c", "vip-d"} {
			key := fmt.Sprint(name, side)
			w.tapped[key] = name < "e" && w.rng.IntN(4) > 0
			w.addr[key] = fmt.Sprintf("10.0.0.%d", next)
			next++
			if side == 1 && w.rng.IntN(4) == 0 { // reuses an address of the before side
				w.addr[key] = w.addr[fmt.Sprint([]string{"a", "b", "c", "d", "way", "vip-c", "vip-d"}[w.rng.IntN(7)], 0)]
			}
		}
	}
	for side := range 2 { // two pods never have the same address at the same time
		seen := map[string]bool{}
		for _, name := range []string{"a", "b", "c", "d", "way", "vip-c", "vip-d"} {
			key := fmt.Sprint(name, side)
			for seen[w.addr[key]] {
				w.addr[key] = fmt.Sprintf("10.0.1.%d", next)
				next++
			}
			seen[w.addr[key]] = true
		}
	}
	for side := range 2 {
		for _, name := range []string{"a", "b", "c", "d"} {
			if key := fmt.Sprint(name, side); w.tapped[key] {
				for _, minute := range []int{0, 60} {
					w.sides[side] = append(w.sides[side], alive(name, w.addr[key], minute), told{
						dataset: flows, pod: name, ip: w.addr[key], dir: "egress", from: w.addr[key], to: "10.9.9.9", port: 53, verdict: "plaintext", with: map[string]any{"meshtls.class": "dns"},
					})
				}
			}
		}
	}
	return w
}

// talk adds one connection to the records of the taps at both ends.
func (w *world) talk(side int, client, server string, port int, name, verdict, mesh string) {
	from, to := w.addr[fmt.Sprint(client, side)], w.addr[fmt.Sprint(server, side)]
	if w.tapped[fmt.Sprint(client, side)] {
		w.sides[side] = append(w.sides[side], told{dataset: flows, pod: client, ip: from, dir: "egress", from: from, to: to, port: port, name: name, verdict: verdict, mesh: mesh, minute: 5})
	}
	if w.tapped[fmt.Sprint(server, side)] {
		w.sides[side] = append(w.sides[side], told{dataset: flows, pod: server, ip: to, dir: "ingress", from: from, to: to, port: port, verdict: verdict, mesh: mesh, minute: 5})
	}
}

// speak adds the connections of a client to a service.
func (w *world) speak(side int, s *truth) {
	name := ""
	if s.named[side] {
		name = s.server + ".shop"
	}
	vip := "vip-" + s.server
	switch s.how[side] {
	case sidecar:
		w.talk(side, s.client, s.server, s.port, name, "mtls", "istio")
	case tunnel:
		w.talk(side, s.client, s.server, 15008, "", "mtls", ambient)
	case waypoint:
		w.talk(side, s.client, "way", 15008, "", "mtls", ambient)
		w.talk(side, "way", s.server, 15008, "", "mtls", ambient)
	case plain, oneWay:
		verdict := map[wire]string{plain: "plaintext", oneWay: "tls"}[s.how[side]]
		port := s.port
		if w.rng.IntN(2) == 0 { // the connection goes to the service's address, whose port may differ, and from there to the pod's
			from := w.addr[fmt.Sprint(s.client, side)]
			port = s.port - s.port%1000
			if w.tapped[fmt.Sprint(s.client, side)] {
				w.sides[side] = append(w.sides[side], told{dataset: flows, pod: s.client, ip: from, dir: "egress", from: from, to: w.addr[fmt.Sprint(vip, side)], port: port, name: name, verdict: verdict, minute: 5})
			}
			if to := w.addr[fmt.Sprint(s.server, side)]; w.tapped[fmt.Sprint(s.server, side)] {
				w.sides[side] = append(w.sides[side], told{dataset: flows, pod: s.server, ip: to, dir: "ingress", from: from, to: to, port: s.port, verdict: verdict, minute: 5})
			}
			return
		}
		w.talk(side, s.client, s.server, port, name, verdict, "")
	case silent:
	}
}

// TestTruth: in random worlds, no edge is wrongly called kept, gained, covered, gone or lost.
func TestTruth(t *testing.T) {
	worlds, told := 2000, map[Change]int{}
	if testing.Short() {
		worlds = 300
	}
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		var all []*truth
		for _, client := range []string{"a", "b"} {
			for _, server := range []string{"c", "d"} {
				for _, port := range []int{8080, 9090} {
					if w.rng.IntN(3) == 0 {
						continue
					}
					s := &truth{client: client, server: server, port: port}
					for side := range 2 {
						s.named[side] = w.rng.IntN(3) > 0
					}
					s.how = [2]wire{[]wire{sidecar, sidecar, plain}[w.rng.IntN(3)], wire(w.rng.IntN(6))}
					all = append(all, s)
					w.speak(0, s)
					w.speak(1, s)
				}
			}
		}
		r := Compare(sideOf(t, 0, w.sides[0]), sideOf(t, 1, w.sides[1]))
		for i := range r.Edges {
			e := &r.Edges[i]
			told[e.Change]++
			if fault := w.refutes(e, all); fault != "" {
				t.Errorf("world %d: %s > %s:%d %s by %s %v: %s", seed, e.From, e.To, e.Port, e.Change, e.Basis, e.Reasons, fault)
			}
		}
		if t.Failed() {
			for side := range 2 {
				for _, x := range w.sides[side] {
					if x.dataset == flows && x.port != 53 {
						t.Logf("%d %s %s %s > %s:%d %s %s %s", side, x.pod, x.dir, x.from, x.to, x.port, x.name, x.verdict, x.mesh)
					}
				}
			}
			for _, s := range all {
				t.Logf("truth %+v", *s)
			}
			t.Fatalf("addresses %v, tapped %v", w.addr, w.tapped)
		}
	}
	t.Logf("%v", told)
	for _, c := range []Change{Kept, Lost, Gained, Covered, Unchanged, Gone, NotEnough} {
		if told[c] == 0 {
			t.Errorf("no edge is %s: the worlds do not test it", c)
		}
	}
}

// refutes returns the fact that contradicts an edge's change, "" if none does.
func (w *world) refutes(e *Edge, all []*truth) string {
	is := func(p Party, name string, side int) bool {
		return p.Name == name+".shop" || p.Addr.IsValid() && (p.Addr.String() == w.addr[fmt.Sprint(name, side)] || p.Addr.String() == w.addr[fmt.Sprint("vip-"+name, side)])
	}
	var of, pair []*truth // the truths of the edge, and the truths of its pair of ends
	for _, s := range all {
		if is(e.From, s.client, 0) && is(e.To, s.server, 0) {
			pair = append(pair, s)
			if int(e.Port) == s.port || int(e.Port) == s.port-s.port%1000 {
				of = append(of, s)
			}
		}
	}
	spoken := func(list []*truth, how ...wire) bool {
		for _, s := range list {
			if slices.Contains(how, s.how[1]) {
				return true
			}
		}
		return false
	}
	switch e.Change {
	case Kept, Gained:
		if !spoken(of, sidecar, tunnel) {
			return "it is no longer mutual TLS"
		}
		if spoken(of, plain, oneWay) {
			return "some of it is less than mutual TLS"
		}
	case Covered:
		if spoken(of, plain, oneWay) {
			return "it is less than mutual TLS"
		}
	case Gone:
		if len(of) > 0 && !spoken(of, silent) {
			return "it still exists"
		}
	case Lost:
		// An address may belong to another pod by now. This may cause a false alarm, which is marked as
		// uncertain, but never hides a loss.
		if e.Basis != ByServer && e.Basis != ByAddress && len(pair) > 0 && !spoken(pair, plain, oneWay) {
			return "no service of the two is less than mutual TLS"
		}
	}
	return ""
}
