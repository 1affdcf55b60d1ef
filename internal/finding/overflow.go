package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// overflow returns the edge for what finds no room, and whether it is new.
func (e *Engine) overflow(scope, class string) (g *edge, fresh bool) {
	key := overflowKey(scope, class)
	if g := e.edges[key]; g != nil {
		return g, false
	}
	return e.insert(&edge{key: key, folded: true, overflow: true, expect: ExpectAny, scope: scope, class: class}), true
}

// overflowKey keeps scopes and classes apart: what stays in the pod must not look like
// the wire's.
func overflowKey(scope, class string) string {
	if scope == verdict.ScopeWire && class == "workload" {
		return "other"
	}
	return "other " + scope + " " + class
}

// minFoldingRank is the least rank for which any other edge yields: what is encrypted without
// proof of both ends, or not at all. Plaintext that one end alone shows yields to all else.
const minFoldingRank = 4 // see traits.rank

// foldWeakestEdge makes room for the edge of a connection that the rules look at: the least telling
// edge of a lower rank is folded into the one for what finds no room, so that plaintext
// keeps its name and mutual TLS loses it first. It reports false where no edge is less
// telling.
func (e *Engine) foldWeakestEdge(j *verdict.Judged) bool {
	rank := traitsOf(j).retentionRank()
	if rank == 0 || !ruled(j) {
		return false
	}
	most := 0 // of those that yield
	if rank >= minFoldingRank {
		most = rank - 1
	}
	var least *edge
	for _, g := range e.order {
		if !g.folded && g.rank() <= most && (least == nil || g.foldsBefore(least)) {
			least = g
		}
	}
	if least == nil {
		return false
	}
	e.remove(least)
	g, _ := e.overflow(least.scope, least.class)
	g.merge(least)
	e.totals.foldedEdges++
	return true
}

// restoreProof takes what the edge for what finds no room knows of a connection's party, which
// has an edge of its own now.
func (e *Engine) restoreProof(g *edge, j *verdict.Judged) {
	o := e.edges[overflowKey(j.Scope, j.Class)]
	if o == nil {
		return
	}
	who := partyOf(j)
	if i := slices.IndexFunc(o.proofs, func(p proof) bool { return p.party == who }); i >= 0 {
		g.proofs = append(g.proofs, o.proofs[i])
		o.proofs = slices.Delete(o.proofs, i, i+1)
	}
}

// rank is that of the worst connection that the edge has had, 0 if no rule looks at it.
func (g *edge) rank() int {
	if g.scope != verdict.ScopeWire || g.class != "workload" {
		return 0
	}
	var all traits
	for _, bit := range [...]int{plaintextBit, encryptedBit, notMutualBit, failedBit, tlsBit, mtlsBit, unjudgedBit, answeringBit, spokenBit} {
		if g.counts.run(bit) > 0 {
			all |= 1 << bit
		}
	}
	return all.retentionRank()
}

// foldsBefore orders edges: what anybody can make up, without an open fault, of a lower
// rank, silent for longer.
func (g *edge) foldsBefore(o *edge) bool {
	if a, b := g.rank() == 0, o.rank() == 0; a != b {
		return a
	}
	if a, b := g.hasOpenFinding(), o.hasOpenFinding(); a != b {
		return b
	}
	if a, b := g.rank(), o.rank(); a != b {
		return a < b
	}
	return g.active < o.active
}

// merge takes over what was counted on an edge that no longer stands for itself, and what
// was seen of its parties, as many as there is room for.
func (g *edge) merge(o *edge) {
	o.foldedInto = g
	g.proofs = append(g.proofs, o.proofs[:min(len(o.proofs), max(0, maxProofs-len(g.proofs)))]...)
	g.counts.merge(&o.counts)
	g.expect = stricter(g.expect, o.expect)
	g.active = max(g.active, o.active)
	for r, f := range o.findings {
		if f != nil {
			g.findings[r] = g.findings[r].mergedWith(f)
		}
	}
	for v, j := range o.latest {
		if j != nil && g.latest[v] == nil {
			g.latest[v] = j
		}
	}
	o.latest, o.findings, o.proofs = [verdicts]*verdict.Judged{}, [ruleCount]*openFinding{}, nil
}

// mergedWith returns f with what another edge's fault of the same rule has counted.
func (f *openFinding) mergedWith(o *openFinding) *openFinding {
	if f == nil {
		return o
	}
	if o.open && !f.open || o.open == f.open && o.lastSeen > f.lastSeen {
		f, o = o, f
	}
	f.severity = max(f.severity, o.severity)
	f.total += o.total
	if o.open {
		f.firstSeen = min(f.firstSeen, o.firstSeen)
		f.count += o.count
		f.pending += o.pending
	}
	return f
}

// merge adds what another edge has counted.
func (c *counts) merge(o *counts) {
	for i := range traitCount {
		c.live[i] += o.live[i]
		c.ended[i] += o.ended[i]
		c.past[i] += o.past[i]
	}
	for v := range verdicts {
		c.windowBytes[v] += o.windowBytes[v]
		c.totalBytes[v] += o.totalBytes[v]
	}
}

// current returns the edge that stands for g now; nil for nil.
func (g *edge) current() *edge {
	if g != nil && g.foldedInto != nil {
		return g.foldedInto
	}
	return g
}
