package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// beyond is more than the number of entries of a graph.
const beyond = 33000

// peerOf returns the link to the i-th server.
func peerOf(i int, verdict string) link {
	return link{direction: "egress", peer: fmt.Sprintf("10.%d.%d.%d", 1+i>>16, i>>8&255, i&255), port: 80, verdict: verdict, from: 1, to: 2}
}

// TestManyEdges: plaintext beyond the bound of edges has an edge with its name, whatever record reports it and whatever follows it.
func TestManyEdges(t *testing.T) {
	for _, taps := range []int{1, 33, 330} {
		for kind, plain := range map[string]func(p *pod) *record.Record{
			"posture": func(p *pod) *record.Record {
				return p.posture("snapshot", peerOf(beyond, "plaintext"), record.ByVerdict{Plaintext: 2})
			},
			"finding": func(p *pod) *record.Record {
				return p.finding("plaintext-edge", "open", 2, peerOf(beyond, "plaintext"))
			},
			"flow": func(p *pod) *record.Record { return p.flow(peerOf(beyond, "plaintext")) },
		} {
			g, pods := topology.New(topology.Inventory{}), []*pod{}
			for i := range taps {
				pods = append(pods, newPod("shop", fmt.Sprintf("w%d", i), fmt.Sprintf("p%d", i), "10.0.0.1"))
			}
			for i := range beyond {
				p := pods[i*taps/beyond]
				if i == beyond-10 {
					g.Add(plain(p))
				}
				g.Add(p.posture("snapshot", peerOf(i, "mtls"), record.ByVerdict{MTLS: 1}))
			}
			tally := g.Tally()
			if !strings.HasPrefix(g.Answer(), "1 of 32769 edges between workloads carried plaintext") || tally.Folded.MTLS != beyond-32768 {
				t.Errorf("%d taps, %s: %s", taps, kind, g.Answer())
			}
		}
	}
}

// TestManyPlaintextEdges: the counts of edges that are counted together add up, and the answer begins with their plaintext.
func TestManyPlaintextEdges(t *testing.T) {
	const edges = 50000 // more than the reserve too
	p, g := newPod("shop", "w", "p", "10.0.0.1"), topology.New(topology.Inventory{})
	for i := range edges {
		g.Add(p.posture("snapshot", peerOf(i, "plaintext"), record.ByVerdict{Plaintext: 1}))
	}
	g.Add(p.finding("plaintext-edge", "withdrawn", 0, peerOf(edges-1, "plaintext")))
	tally := g.Tally()
	if n := uint64(tally.Edges) + tally.Folded.Plaintext; n != edges || tally.Folded.Plaintext == 0 { //nolint:gosec // small
		t.Errorf("%d of %d: %s", n, edges, g.Answer())
	}
	for _, test := range []struct {
		tally topology.Tally
		want  string
	}{
		{topology.Tally{Edges: 7, By: record.ByVerdict{MTLS: 7}, Folded: record.ByVerdict{Plaintext: 1, MTLS: 3}},
			"1 connection carried plaintext, on edges that were counted together; no plaintext was seen on 7 edges with a name; 7 mutual TLS; 4 connections of further edges, which were counted together"},
		{topology.Tally{Folded: record.ByVerdict{Plaintext: 2}},
			"2 connections carried plaintext, on edges that were counted together; 2 connections of further edges, which were counted together"},
	} {
		if got := topology.Sentence(test.tally); got != test.want {
			t.Errorf("got %s\nwant %s", got, test.want)
		}
	}
}

// TestUnjudgedAnswer: where no edge was judged, the answer does not begin with the good news that no plaintext was seen.
func TestUnjudgedAnswer(t *testing.T) {
	for want, by := range map[string]record.ByVerdict{
		"It is not known whether the only edge between workloads carried plaintext; 1 with unjudged connections":            {Unknown: 1},
		"It is not known whether any of 3 edges between workloads carried plaintext; 1 failed; 2 with unjudged connections": {Unknown: 2, Failed: 1},
		"No plaintext was seen on 2 edges between workloads; 1 mutual TLS; 1 with unjudged connections":                     {Unknown: 1, MTLS: 1},
		"No plaintext was seen on 1 edge between workloads; 1 failed":                                                       {Failed: 1},
	} {
		edges := int(by.Unknown + by.Failed + by.MTLS) //nolint:gosec // small
		if got := topology.Sentence(topology.Tally{Edges: edges, By: by}); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

// TestManyTaps: taps beyond the bound replace nothing of each other, although their runs, edges and times are the same, and that such a tap is blind is
// said.
func TestManyTaps(t *testing.T) {
	const taps = 4200
	g := topology.New(topology.Inventory{})
	var last *pod
	for i := range taps {
		last = newPod("shop", "web", fmt.Sprintf("p%d", i), "10.0.0.1")
		n, l := record.ByVerdict{MTLS: 1}, link{direction: "egress", peer: "10.9.0.1", port: 80, verdict: "mtls", from: 1, to: 2}
		if i == taps-10 {
			n, l.verdict = record.ByVerdict{Plaintext: 3}, "plaintext"
		}
		r := last.posture("snapshot", l, n)
		r.Meshtls.Run = "run"
		g.Add(r)
	}
	if !strings.Contains(g.Answer(), "carried plaintext") || g.Edges()[0].Connections.Plaintext != 3 {
		t.Errorf("%s %+v", g.Answer(), g.Edges()[0])
	}
	var sum uint64
	for _, e := range g.Edges() {
		sum += e.Connections.MTLS + e.Connections.Plaintext
	}
	if want := uint64(taps + 2); sum != want {
		t.Errorf("%d connections, want %d", sum, want)
	}
	blind := true
	r := last.tap("degraded", 3, 0)
	r.Meshtls.Tap.Blind, r.Meshtls.Coverage = &blind, nil
	g.Add(r)
	seeing := false
	r = last.tap("heartbeat", 4, 0)
	r.Meshtls.Tap.Blind = &seeing // it may be another tap's
	g.Add(r)
	if text := everything(t, g); !strings.Contains(text, "1 tap did not capture an interface of its pod") {
		t.Errorf("nothing is said about the blind tap")
	}
}

// TestContradictions: a verdict of plaintext counts without a count, and against another record with its event.id; records of other datasets are named.
func TestContradictions(t *testing.T) {
	p := newPod("shop", "w", "p", "10.0.0.1")
	if g := graphOf(topology.Inventory{}, 1, p.posture("snapshot", peerOf(1, "plaintext"), record.ByVerdict{})); !strings.Contains(g.Answer(), "carried plaintext") {
		t.Error(g.Answer())
	}
	a, b := p.flow(peerOf(2, "mtls")), p.flow(peerOf(2, "plaintext"))
	b.Event.ID = a.Event.ID
	other := p.base("meshtls.weather", 1, 2)
	for seed := range uint64(8) {
		g := graphOf(topology.Inventory{}, seed, a, b, a, b, other)
		if !strings.Contains(g.Answer(), "carried plaintext") || !strings.Contains(everything(t, g), "meshtls.weather") {
			t.Error(g.Answer(), g.Unknown())
		}
	}
	g := topology.New(topology.Inventory{})
	g.Add(a)
	g.Add(b)
	if text := everything(t, g); !strings.Contains(text, "1 record has the event.id of another one") {
		t.Error(g.Unknown())
	}
}

// TestFoldedTwice: connections that have an edge by their flows or by their posture do not count again among those of further edges.
func TestFoldedTwice(t *testing.T) {
	for _, flowsFirst := range []bool{true, false} {
		p, g := &pod{run: "a.pcap", ip: "10.0.0.1", sequence: map[string]uint64{}}, topology.New(topology.Inventory{})
		for _, flows := range []bool{flowsFirst, !flowsFirst} {
			for i := range beyond {
				l := peerOf(i, "mtls")
				if flows {
					g.Add(p.flow(l))
					continue
				}
				r := p.posture("snapshot", l, record.ByVerdict{MTLS: 1})
				r.Meshtls.Edge.From, r.Meshtls.Edge.To = "10.0.0.1", l.peer
				g.Add(r)
			}
		}
		if tally := g.Tally(); tally.Edges != 32768 || tally.Folded.MTLS != beyond-32768 {
			t.Errorf("flows first: %v: %+v", flowsFirst, tally)
		}
	}
}
