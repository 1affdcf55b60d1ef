package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// overflow returns the aggregate edge for the edges that exceed Config.MaxEdges, and reports
// whether it is new.
func (e *Engine) overflow(scope, class string) (g *edge, fresh bool) {
	key := overflowKey(scope, class)
	if g := e.edges[key]; g != nil {
		return g, false
	}
	return e.insert(&edge{key: key, folded: true, overflow: true, expect: ExpectAny, scope: scope, class: class}), true
}

// overflowKey returns the key of the aggregate edge of a scope and class. Traffic within the pod has
// another key than traffic on the wire, and so never looks like it.
func overflowKey(scope, class string) string {
	if scope == verdict.ScopeWire && class == "workload" {
		return "other"
	}
	return "other " + scope + " " + class
}

// minFoldingRank is the lowest rank of a connection whose new edge may replace an edge of lower rank.
// Connections of this rank or more are plaintext, or encrypted without proof of both ends. Edges of rank 0,
// which have only unanswered plaintext, may be replaced by an edge of any connection of higher rank.
const minFoldingRank = 4 // see traits.rank

// foldWeakestEdge frees an entry for the edge of connection j, if the rules apply to j. It folds an edge of
// lower rank into the aggregate edge. So edges with plaintext keep their names, and edges with mutual TLS
// lose their names first. It reports whether it folded an edge.
func (e *Engine) foldWeakestEdge(j *verdict.Judged) bool {
	rank := traitsOf(j).retentionRank()
	if rank == 0 || !ruled(j) {
		return false
	}

	most := 0 // highest rank that may be folded
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

	e.foldIntoOther(least)
	return true
}

// foldIntoOther replaces an edge by the aggregate edge of its scope and class.
func (e *Engine) foldIntoOther(g *edge) {
	e.remove(g)
	o, _ := e.overflow(g.scope, g.class)
	o.merge(g)
	e.liveByEdge = nil
	e.totals.foldedEdges++
}

// restoreProof moves the proofs of a connection's party from the aggregate edge to g, the party's own new edge.
func (e *Engine) restoreProof(g *edge, j *verdict.Judged) {
	if o := e.edges[overflowKey(j.Scope, j.Class)]; o != nil {
		moveProofs(&o.proofs, &g.proofs, partyOf(j))
		moveProofs(&o.groups, &g.groups, partyOf(j))
	}
}

// moveProofs moves the proofs of a party, with each of its clients, from one list to another.
func moveProofs(from, to *[]proof, who party) {
	*from = slices.DeleteFunc(*from, func(p proof) bool {
		moves := p.isOf(who)
		if moves {
			*to = append(*to, p)
		}
		return moves
	})
}

// rank returns the retention rank of the worst connection that the edge has had. It returns 0 if no rule
// applies to the edge.
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

// foldsBefore reports whether g is folded before o. Edges of rank 0 are folded first, then edges without
// an open finding, then edges of lower rank, then edges that have been silent longer.
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

// merge adds the counts, the findings and the proofs of edge o to edge g, which replaces o. At most
// maxProofs proofs are kept.
func (g *edge) merge(o *edge) {
	o.foldedInto = g
	g.proofs = append(g.proofs, o.proofs[:min(len(o.proofs), max(0, maxProofs-len(g.proofs)))]...)
	g.groups = append(g.groups, o.groups[:min(len(o.groups), max(0, maxProofs-len(g.groups)))]...)
	g.counts.merge(&o.counts)
	g.sketch.merge(&o.sketch)
	g.profile.merge(&o.profile)
	g.expect = stricter(g.expect, o.expect)
	g.active = max(g.active, o.active)
	g.muted |= o.muted
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
	o.groups = nil
}

// mergedWith returns f, with the counts of another edge's finding of the same rule added.
func (f *openFinding) mergedWith(o *openFinding) *openFinding {
	if f == nil {
		return o
	}
	if o.open && !f.open || o.open == f.open && o.lastSeen > f.lastSeen {
		f, o = o, f
	}
	f.severity = max(f.severity, o.severity)
	f.total += o.total
	for r := range f.covers {
		f.covers[r] = f.covers[r] || o.covers[r]
	}
	if o.open {
		both := f.muted && o.muted
		f.announced, f.folded = f.announced || o.announced, (f.folded || f.muted) && (o.folded || o.muted) && !both
		f.inFold += o.inFold
		f.addPlacesOf(o)
		f.firstSeen = min(f.firstSeen, o.firstSeen)
		f.count += o.count
		f.pending += o.pending
		f.carried += o.carried
	}
	return f
}

// merge adds the counts of another edge.
func (c *counts) merge(o *counts) {
	for i := range traitCount {
		c.live[i] += o.live[i]
		c.ended[i] += o.ended[i]
		c.periodEnded[i] += o.periodEnded[i]
		c.past[i] += o.past[i]
	}
	for v := range verdicts {
		c.windowBytes[v] += o.windowBytes[v]
		c.periodBytes[v] += o.periodBytes[v]
		c.totalBytes[v] += o.totalBytes[v]
	}
}

// current returns the edge into which g was folded, or g if it was not folded. It returns nil for
// nil.
func (g *edge) current() *edge {
	if g != nil && g.foldedInto != nil {
		return g.foldedInto
	}
	return g
}
