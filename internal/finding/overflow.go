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

// rankMade is the least rank for which any other edge yields: what is encrypted without
// proof of both ends, or not at all. Plaintext that one end alone shows yields to all else.
const rankMade = 4 // see traits.rank

// yield makes room for the edge of a connection that the rules look at: the least telling
// edge of a lower rank is folded into the one for what finds no room, so that plaintext
// keeps its name and mutual TLS loses it first. It reports false where no edge is less
// telling.
func (e *Engine) yield(j *verdict.Judged) bool {
	rank := traitsOf(j).telling()
	if rank == 0 || !ruled(j) {
		return false
	}
	most := 0 // of those that yield
	if rank >= rankMade {
		most = rank - 1
	}
	var least *edge
	for _, g := range e.order {
		if !g.folded && g.rank() <= most && (least == nil || g.yieldsBefore(least)) {
			least = g
		}
	}
	if least == nil {
		return false
	}
	e.remove(least)
	g, _ := e.overflow(least.scope, least.class)
	g.absorb(least)
	e.totals.folded++
	return true
}

// recall takes what the edge for what finds no room knows of a connection's party, which
// has an edge of its own now.
func (e *Engine) recall(g *edge, j *verdict.Judged) {
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
	return all.telling()
}

// yieldsBefore orders edges: what anybody can make up, without an open fault, of a lower
// rank, silent for longer.
func (g *edge) yieldsBefore(o *edge) bool {
	if a, b := g.rank() == 0, o.rank() == 0; a != b {
		return a
	}
	if a, b := g.faulty(), o.faulty(); a != b {
		return b
	}
	if a, b := g.rank(), o.rank(); a != b {
		return a < b
	}
	return g.active < o.active
}

// absorb takes over what was counted on an edge that no longer stands for itself, and what
// was seen of its parties, as many as there is room for.
func (g *edge) absorb(o *edge) {
	o.into = g
	g.proofs = append(g.proofs, o.proofs[:min(len(o.proofs), max(0, maxProofs-len(g.proofs)))]...)
	g.counts.merge(&o.counts)
	g.expect = stricter(g.expect, o.expect)
	g.active = max(g.active, o.active)
	for r, f := range o.faults {
		if f != nil {
			g.faults[r] = g.faults[r].merged(f)
		}
	}
	for v, j := range o.last {
		if j != nil && g.last[v] == nil {
			g.last[v] = j
		}
	}
	o.last, o.faults, o.proofs = [verdicts]*verdict.Judged{}, [ruleCount]*fault{}, nil
}

// merged returns f with what another edge's fault of the same rule has counted.
func (f *fault) merged(o *fault) *fault {
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
		c.bytes[v] += o.bytes[v]
		c.carted[v] += o.carted[v]
	}
}

// resolved returns the edge that stands for g now; nil for nil.
func (g *edge) resolved() *edge {
	if g != nil && g.into != nil {
		return g.into
	}
	return g
}
