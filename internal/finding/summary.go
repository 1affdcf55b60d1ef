package finding

import (
	"cmp"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Summary holds the totals of a whole run.
type Summary struct {
	Start, End  int64 // packet time, ns since the epoch; 0: nothing was seen
	Edges       []Edge
	Findings    []Finding
	Silent      uint64 // connections without payload, which have no verdict
	EdgesGone   uint64 // edges that were evicted
	EdgesFolded uint64 // edges folded into an aggregate edge, so that edges of higher rank keep their names
	Gone        []Seen // connections of the evicted edges by verdict, worst first
	Coverage    Coverage
	CoverageSet bool   // Coverage is known
	Filter      string // the effective capture filter
}

// Edge is one edge, with its totals over the whole run.
type Edge struct {
	Key         string
	Direction   string // network.direction, empty if unknown
	Scope       string // "wire" or "pod"
	Class       string
	From, To    string // client and server; empty if Folded
	Port        uint16
	Folded      bool   // it is an aggregate edge
	Expectation string // the strictest of its connections
	Verdict     string // the worst verdict of its connections, see schema/README.md
	Seen        []Seen // one item for each verdict that occurred, worst first
	FirstProof  int64  // time of the first connection that was shown to be mutual TLS, ns since the epoch; 0: none
	LastProof   int64  // time of the latest such connection
	MissedStart uint64 // connections whose start was not captured
	MissedBytes uint64 // connections with bytes that were not captured
	Accepted    bool   // the server accepted plaintext
}

// Seen holds the connections of an edge with one verdict. Last is the latest of them.
type Seen struct {
	Verdict     string
	Connections uint64
	Bytes       uint64 // payload bytes
	Last        *verdict.Judged
}

// Finding is the finding of one rule on one edge.
type Finding struct {
	Rule     string
	Severity int
	Edge     string // Edge.Key
	Open     bool
	Count    uint64   // hits over the whole run
	Covers   []string // further rules that its connections break, which have no finding for them
	Message  string
}

// Summary returns the totals up to now. Edges on the wire come first. Within this order, worse edges
// come first, and equally bad edges are sorted by key. The result shares no memory with e.
func (e *Engine) Summary() Summary {
	s := Summary{
		Start: e.totals.start, End: e.now, Silent: e.totals.silent, EdgesGone: e.totals.evictedEdges, EdgesFolded: e.totals.foldedEdges, Gone: e.totals.counts.seen(nil),
		Coverage: e.coverage(), CoverageSet: e.cfg.Coverage != nil, Filter: e.cfg.Filter,
	}

	for _, g := range e.order {
		if edge := g.summary(); len(edge.Seen) > 0 {
			s.Edges = append(s.Edges, edge)
		}
		for r, f := range g.findings {
			if f != nil && f.total > 0 {
				cover := span{}
				s.Findings = append(s.Findings, Finding{
					Rule: rules[r].id, Severity: f.severity, Edge: g.key, Open: f.open, Count: f.total, Covers: f.covered(),
					Message: e.sentence(g, r, f, stateOpen, &cover),
				})
			}
		}
	}

	order.Stable(s.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(b.Scope, a.Scope), cmp.Compare(a.badness(), b.badness()))
	})

	order.Stable(s.Findings, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return s
}

func (e *Edge) badness() int { return verdictIndex(verdict.Verdict(e.Verdict)) }

func (g *edge) summary() Edge {
	return Edge{
		Key: g.key, Direction: g.direction, Scope: g.scope, Class: g.class, From: g.from, To: g.to, Port: g.port, Folded: g.folded,
		Expectation: string(g.expect), Verdict: string(verdictOrder[worst(g.counts.run)]), Seen: g.counts.seen(&g.latest),
		FirstProof: g.firstProof, LastProof: g.lastProof,
		MissedStart: g.counts.run(missedStartBit), MissedBytes: g.counts.run(gapBit), Accepted: g.counts.run(answeredBit) > 0,
	}
}

// seen returns the connections of the whole run by verdict.
func (c *counts) seen(last *[verdicts]*verdict.Judged) []Seen {
	var list []Seen
	for v, name := range verdictOrder {
		n := c.run(v)
		if n == 0 {
			continue
		}
		s := Seen{Verdict: string(name), Connections: n, Bytes: c.totalBytes[v]}
		if last != nil && last[v] != nil {
			j := new(verdict.Judged)
			copyJudged(j, last[v])
			s.Last = j
		}
		list = append(list, s)
	}
	return list
}
