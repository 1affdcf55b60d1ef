package finding

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// emitPosture emits the posture of an edge, which is its state from the start of the open window to
// s.to.
func (e *Engine) emitPosture(g *edge, action string, at int64, s *span) {
	h := header{
		dataset: DatasetPosture, kind: "state", category: ofNetwork, types: postureTypes, action: action, message: postureSentence(g, s),
		time: at, start: s.from, end: s.to,
		edge: g.key, subject: []byte(g.key), window: e.window.start, nth: e.recordNumber(g),
	}

	r := e.startRecord(&h)
	r.Network.Direction = g.direction
	v := worst(g.counts.window)
	m := &r.Meshtls
	m.Verdict, m.Scope, m.Class, m.Expectation = string(verdictOrder[v]), g.scope, g.class, string(g.expect)
	if g.peer != "" {
		m.Peer = record.Peer{Name: g.peer, NameBasis: g.basis}
	}

	if !g.folded {
		m.Mesh, m.MeshBasis = g.mesh, g.meshBasis
	}

	m.Edge, m.Coverage = g.postureEdge(), e.coverageOf(s, e.blindRules(g))
	iface := ""
	if j := g.latest[v]; j != nil && !g.folded {
		iface = j.Interface
	}

	e.emitRecord(&h, iface)
}

var postureTypes = []string{"info"}

// postureSentence returns the message of a posture: the counts, and the losses that limit them.
func postureSentence(g *edge, s *span) string {
	lost := "packet loss unknown"
	if s.known {
		lost = fmt.Sprintf("%d packets lost", s.Dropped) + s.uncaptured()
	}
	lost += s.hidden()
	return fmt.Sprintf("%d of %d judged connections in plaintext, %d unjudged, %s, %s", g.counts.window(plaintextBit),
		g.judged(), g.counts.window(unjudgedBit), lost, clock(s.from, s.to))
}

// blindRules returns the rules for which the edge gave no evidence in this window.
func (e *Engine) blindRules(g *edge) []string {
	var rules []string
	if g.judged() == 0 {
		rules = append(rules, "plaintext-edge")
	}
	known := g.counts.window(notMutualBit) + g.counts.window(mtlsBit)
	if known == 0 && (g.judged() == 0 || g.counts.window(authUnknownBit) > 0) {
		rules = append(rules, "tls-not-mutual")
	}
	return e.blindSessionRules(g, rules)
}

// findingEdge returns the value of meshtls.edge for a finding.
func (g *edge) findingEdge() record.Edge {
	return record.Edge{Key: g.key, From: g.from, To: g.to, Port: g.port, Folded: g.folded}
}

// postureEdge returns the value of meshtls.edge for a posture.
func (g *edge) postureEdge() record.Edge {
	out := g.findingEdge()
	out.Connections = byVerdict(g.counts.window)
	out.Bytes = byVerdict(func(v int) uint64 { return g.counts.windowBytes[v] })
	if g.firstProof != 0 {
		out.FirstProof, out.LastProof = record.Time(g.firstProof), record.Time(g.lastProof)
	}
	accepted := g.counts.window(answeredBit) > 0
	out.AcceptedPlaintext = &accepted
	return out
}

func byVerdict(count func(bit int) uint64) *record.ByVerdict {
	return &record.ByVerdict{
		Plaintext: count(plaintextBit), TLS: count(tlsBit), Encrypted: count(encryptedBit),
		MTLS: count(mtlsBit), Failed: count(failedBit), Unknown: count(unjudgedBit),
	}
}
