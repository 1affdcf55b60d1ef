package finding

import (
	"fmt"
	"math/bits"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// tally holds the counts of an edge that a posture publishes.
type tally struct {
	connections func(bit int) uint64
	bytes       *[verdicts]uint64
}

// ofWindow returns the counts of this window. ofPeriod returns those of this posture interval.
func (c *counts) ofWindow() tally { return tally{c.window, &c.windowBytes} }
func (c *counts) ofPeriod() tally { return tally{c.period, &c.periodBytes} }

// judged returns the number of connections whose verdict is not unknown.
func (n tally) judged() uint64 { return allOf(n.connections) - n.connections(unjudgedBit) }

// rank returns the rank of the worst connection.
func (n tally) rank() int {
	var t traits
	for _, bit := range [...]int{plaintextBit, tlsBit, encryptedBit, failedBit, notMutualBit} {
		if n.connections(bit) > 0 {
			t |= 1 << bit
		}
	}
	return t.rank()
}

// emitPosture emits the posture of an edge, which is its state from s.from to s.to, with the counts n.
func (e *Engine) emitPosture(g *edge, action string, at int64, s *span, n tally) {
	h := header{
		dataset: DatasetPosture, kind: "state", category: ofNetwork, types: postureTypes, action: action, message: postureSentence(n, s),
		time: at, start: s.from, end: s.to,
		edge: g.key, subject: []byte(g.key), window: e.window.start, nth: e.recordNumber(g),
	}

	g.published, g.deferred = n.rank(), false
	r := e.startRecord(&h)
	r.Network.Direction = g.direction
	v := worst(n.connections)
	m := &r.Meshtls
	m.Verdict, m.Scope, m.Class, m.Expectation = string(verdictOrder[v]), g.scope, g.class, string(g.expect)
	if g.peer != "" {
		m.Peer = record.Peer{Name: g.peer, NameBasis: g.basis}
	}

	g.setMesh(m)

	m.Edge, m.Coverage = g.postureEdge(n), e.coverageOf(s, e.blindRules(n))
	g.setProfile(r)
	m.Edge.HelloRetries, m.Edge.MutedFindings = n.connections(retryBit), uint64(bits.OnesCount32(g.muted))
	iface := ""
	if j := g.latest[v]; j != nil && !g.folded {
		iface = j.Interface
	}

	e.emitRecord(&h, iface)
}

var postureTypes = []string{"info"}

// postureSentence returns the message of a posture: the counts, and the losses that limit them.
func postureSentence(n tally, s *span) string {
	lost := "packet loss unknown"
	if s.known {
		lost = fmt.Sprintf("%d packets lost", s.Dropped) + s.uncaptured()
	}
	lost += s.hidden()
	return fmt.Sprintf("%d of %d judged connections in plaintext%s, %d unjudged, %s, %s", n.connections(plaintextBit),
		n.judged(), inMutualTLS(n.connections(mtlsBit)), n.connections(unjudgedBit), lost, clock(s.from, s.to))
}

// inMutualTLS returns the words for n connections with mutual TLS.
func inMutualTLS(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d in mutual TLS", n)
}

// blindRules returns the rules for which the counted connections gave no evidence.
func (e *Engine) blindRules(n tally) []string {
	var rules []string
	if n.judged() == 0 {
		rules = append(rules, "plaintext-edge")
	}
	known := n.connections(notMutualBit) + n.connections(mtlsBit)
	if known == 0 && (n.judged() == 0 || n.connections(authUnknownBit) > 0) {
		rules = append(rules, "tls-not-mutual")
	}
	return e.blindSessionRules(n, rules)
}

// setMesh sets the mesh that all mutual TLS of the edge looks like, unless m has the mesh of a connection.
func (g *edge) setMesh(m *record.Meshtls) {
	if m.Mesh == "" && !g.folded {
		m.Mesh, m.MeshBasis = g.mesh, g.meshBasis
	}
}

// findingEdge returns the value of meshtls.edge for a finding.
func (g *edge) findingEdge() record.Edge {
	return record.Edge{Key: g.key, From: g.from, To: g.to, Port: g.port, Folded: g.folded}
}

// postureEdge returns the value of meshtls.edge for a posture.
func (g *edge) postureEdge(n tally) record.Edge {
	out := g.findingEdge()
	out.Connections = byVerdict(n.connections)
	out.Bytes = byVerdict(func(v int) uint64 { return n.bytes[v] })
	out.Sample = g.sketch.sample()
	if g.firstProof != 0 {
		out.FirstProof, out.LastProof = record.Time(g.firstProof), record.Time(g.lastProof)
	}
	accepted := n.connections(answeredBit) > 0
	out.AcceptedPlaintext = &accepted
	return out
}

func byVerdict(count func(bit int) uint64) *record.ByVerdict {
	return &record.ByVerdict{
		Plaintext: count(plaintextBit), TLS: count(tlsBit), Encrypted: count(encryptedBit),
		MTLS: count(mtlsBit), Failed: count(failedBit), Unknown: count(unjudgedBit),
	}
}
