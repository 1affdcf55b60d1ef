package finding

import "fmt"

// emitPosture emits the state of an edge in the open window up to s.to.
func (e *Engine) emitPosture(g *edge, action string, at int64, s *span) {
	h := header{
		dataset: DatasetPosture, kind: "state", category: "network", types: infoTypes, action: action, message: claim(g, s),
		time: at, start: s.from, end: s.to, span: true,
		edge: g.key, subject: []byte(g.key), window: e.window.start, nth: e.next(g),
	}
	e.head(&h)
	enc := &e.enc
	enc.open("network")
	enc.str("direction", g.direction)
	enc.close()
	e.openMeshTLS()
	v := worst(g.counts.window)
	enc.str("verdict", string(verdictOrder[v]))
	enc.str("scope", g.scope)
	enc.str("class", g.class)
	enc.str("expectation", string(g.expect))
	if g.peer != "" {
		enc.open("peer")
		enc.str("name", g.peer)
		enc.str("name_basis", g.basis)
		enc.close()
	}
	e.encodeEdge(g)
	e.encodeCoverage(s, g.blind())
	e.closeMeshTLS()
	iface := ""
	if j := g.last[v]; j != nil && !g.folded {
		iface = j.Interface
	}
	e.finish(&h, iface)
}

var infoTypes = []string{"info"}

// claim is the sentence that a posture makes, with what it rests on: never a bare "ok".
func claim(g *edge, s *span) string {
	lost := "packet loss not known"
	if s.known {
		lost = fmt.Sprintf("%d packets lost", s.Dropped) + s.uncaptured()
	}
	lost += s.hidden()
	return fmt.Sprintf("%d of %d judged connections in clear, %d unjudged, %s, %s", g.counts.window(plaintextBit),
		g.judged(), g.counts.window(unjudgedBit), lost, clock(s.from, s.to))
}

// blind lists the rules that had nothing to go by in this window.
func (g *edge) blind() []string {
	var rules []string
	if g.judged() == 0 {
		rules = append(rules, "plaintext-edge")
	}
	known := g.counts.window(notMutualBit) + g.counts.window(mtlsBit)
	if known == 0 && (g.judged() == 0 || g.counts.window(authUnknownBit) > 0) {
		rules = append(rules, "tls-not-mutual")
	}
	return rules
}

// encodeEdge writes meshtls.edge of a posture.
func (e *Engine) encodeEdge(g *edge) {
	enc := &e.enc
	enc.open("edge")
	e.encodeEdgeEnds(g)
	enc.open("connections")
	for v, name := range verdictOrder {
		enc.uint(string(name), g.counts.window(v))
	}
	enc.close()
	enc.open("bytes")
	for v, name := range verdictOrder {
		enc.uint(string(name), g.counts.bytes[v])
	}
	enc.close()
	if g.firstProof != 0 {
		enc.time("first_proof", g.firstProof)
		enc.time("last_proof", g.lastProof)
	}
	enc.bool("accepted_plaintext", g.counts.window(answeredBit) > 0)
	enc.close()
}

// encodeEdgeName writes meshtls.edge of a finding.
func (e *Engine) encodeEdgeName(g *edge) {
	e.enc.open("edge")
	e.encodeEdgeEnds(g)
	e.enc.close()
}

func (e *Engine) encodeEdgeEnds(g *edge) {
	enc := &e.enc
	enc.str("key", g.key)
	enc.str("from", g.from)
	enc.str("to", g.to)
	if g.port != 0 {
		enc.uint("port", uint64(g.port))
	}
	enc.yes("folded", g.folded)
}
