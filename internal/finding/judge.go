package finding

import "github.com/meshtls-tap/meshtls-tap/internal/verdict"

// judge counts a connection with a verdict on its edge. It emits findings at once. It also emits the
// edge's posture if the edge is new, or has become worse (see emitPostureIfWorse).
func (e *Engine) judge(j *verdict.Judged, x Expect) *edge {
	g, fresh := e.edgeOf(j)
	t := traitsOf(j)
	was := e.liveConnections[j.ID]
	was.edge = was.edge.current() // edgeOf may have folded it
	g.expect = stricter(g.expect, x)
	g.active = e.now
	e.countBytes(g, t, &was, j)
	g.storeLatest(t, j)
	known := was.edge == g && was.traits.verdict() == t.verdict()
	e.addToSketch(g, j, known)
	if was.edge != nil && was.edge != g {
		was.edge.profile.forget(j.ID)
	}
	if e.cfg.Posture {
		g.profile.record(j, g.scope, known)
	}
	e.recordMTLSProof(g, t, j, &was)

	e.detach(&was)
	t = e.applyRules(g, t, &was, j, x)
	g.counts.add(t)
	if j.Ended {
		// An earlier window has counted a known connection: it does not count again unless it was open in this one.
		g.counts.endConnection(t, !known || j.Last >= e.window.start, !known || j.Last >= e.period.from)
	} else {
		e.liveConnections[j.ID] = liveConnection{edge: g, traits: t, bytes: j.Source.Bytes + j.Destination.Bytes}
		e.liveByEdge = nil
	}
	e.recordServer(t, j)
	e.recordGroup(g, j)
	e.emitPostureIfWorse(g, t, fresh)
	return g
}

// liveOn returns the numbers of the live connections of an edge. The first call after a change of liveConnections sorts
// them all by edge, so that a pass over many edges takes time in proportion to the connections, once.
func (e *Engine) liveOn(g *edge) []uint64 {
	if e.liveByEdge == nil {
		e.liveByEdge = map[*edge][]uint64{}
		for id, l := range e.liveConnections {
			on := l.edge.current()
			e.liveByEdge[on] = append(e.liveByEdge[on], id)
		}
	}
	return e.liveByEdge[g]
}

// detach removes a connection from the edge on which it was counted. The caller then counts the connection again.
func (e *Engine) detach(was *liveConnection) {
	if was.edge != nil {
		was.edge.counts.remove(was.traits)
		was.edge.active = e.now
	}
}

// countBytes adds the bytes that the connection has transferred since it was last reported.
func (e *Engine) countBytes(g *edge, t traits, was *liveConnection, j *verdict.Judged) {
	bytes, before := j.Source.Bytes+j.Destination.Bytes, was.bytes
	if was.edge != nil && (was.edge != g || was.traits.verdict() != t.verdict()) {
		was.edge.counts.subtractBytes(was.traits.verdict(), was.bytes)
		before = 0
	}
	if bytes > before {
		g.counts.addBytes(t.verdict(), bytes-before)
	}
}

// storeLatest stores the latest connection of each verdict, for reports.
func (g *edge) storeLatest(t traits, j *verdict.Judged) {
	at := &g.latest[t.verdict()]
	if *at == nil {
		*at = new(verdict.Judged)
	}
	copyJudged(*at, j)
}

// copyJudged copies a connection over an older one and reuses the memory of the older one. It
// leaves out the list of offered cipher suites, which is long and the same for all connections of a
// client.
func copyJudged(to, from *verdict.Judged) {
	tls := to.TLS
	*to = *from
	if from.TLS == nil {
		return
	}
	if tls == nil {
		tls = new(verdict.TLSInfo)
	}
	*tls = *from.TLS
	tls.SupportedCiphers = nil
	to.TLS = tls
}

// recordMTLSProof records on the edge that a connection was shown to be mutual TLS. Each connection
// is recorded once.
func (e *Engine) recordMTLSProof(g *edge, t traits, j *verdict.Judged, was *liveConnection) {
	if !t.has(mtlsBit) || was.edge == g && was.traits.has(mtlsBit) {
		return
	}
	if g.firstProof == 0 {
		g.firstProof, g.mesh, g.meshBasis = j.Last, j.Mesh, j.MeshBasis
	}
	if j.Mesh != g.mesh || j.MeshBasis != g.meshBasis {
		g.mesh, g.meshBasis = "", ""
	}
	g.lastProof = max(g.lastProof, j.Last)
	g.proofOf(partyOf(j), e.now).recordMTLS(j.Last)
}

// totals holds the counts of the whole run that are no longer in a stored edge.
type totals struct {
	start            int64  // ns since the epoch
	silent           uint64 // connections without payload
	evictedEdges     uint64 // edges that were evicted
	foldedEdges      uint64 // edges folded into an aggregate edge to free an entry for one of higher rank
	deferredPostures uint64 // postures that were not emitted at once, because the budget was spent
	counts           counts // counts of the evicted edges
}

// addEvicted adds the counts of an edge that is evicted.
func (t *totals) addEvicted(g *edge) {
	t.evictedEdges++
	for i := range g.counts.past {
		t.counts.past[i] += g.counts.past[i]
	}
	for v := range verdicts {
		t.counts.totalBytes[v] += g.counts.totalBytes[v]
	}
}
