package finding

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// party is whom a change is held against: the remote end's exact address, or the identity
// that its certificate showed. An edge can stand for many of them (a name that a client
// claims, a /24 of the internet, all that found no room), and what one of them did says
// nothing of another.
type party struct {
	peer     netip.Addr
	client   netip.Addr // where it is not known which end is local
	port     uint16     // of the server
	identity string     // in place of the addresses
}

func partyOf(j *verdict.Judged) party {
	p := party{peer: j.Destination.Addr, port: j.Destination.Port}
	switch {
	case j.PeerNameBasis == "spiffe":
		return party{identity: j.PeerName, port: p.port}
	case j.Direction == verdict.DirectionIngress:
		p.peer = j.Source.Addr
	case j.Direction == "":
		p.client = j.Source.Addr
	}
	return p
}

// proof is what was seen of one party on an edge.
type proof struct {
	party
	first          int64 // when it was first shown to speak mutual TLS, 0: never
	clean          bool  // mutual TLS and nothing less, up to now or in the last window
	mutual, lesser bool  // in this window
	everLesser     bool  // something less was seen of it before
	active         int64
}

// maxProofs bounds the parties of an edge that are remembered, some 120 bytes each. The one
// that was silent for longest gives way: a change of it is then not told.
const maxProofs = 16

// proofOf returns what was seen of a party, which is new where it was not seen before.
func (g *edge) proofOf(who party, now int64) *proof {
	oldest := 0
	for i := range g.proofs {
		p := &g.proofs[i]
		if p.party == who {
			p.active = now
			return p
		}
		if p.active < g.proofs[oldest].active {
			oldest = i
		}
	}
	if len(g.proofs) < maxProofs {
		g.proofs = append(g.proofs, proof{})
		oldest = len(g.proofs) - 1
	}
	g.proofs[oldest] = proof{party: who, active: now}
	return &g.proofs[oldest]
}

// recordMTLS notes that a party was shown to speak mutual TLS, at a time.
func (p *proof) recordMTLS(at int64) {
	p.mutual = true
	if p.first == 0 {
		p.first, p.clean = at, !p.everLesser
	}
}

// recordLesser notes that it was shown to speak something less.
func (p *proof) recordLesser() { p.lesser, p.everLesser, p.clean = true, true, false }

// isDowngrade reports whether a connection that began at a time, and is less than mutual TLS,
// is a change: what the party spoke before was mutual TLS and nothing less.
func (p *proof) isDowngrade(start int64) bool { return p.clean && p.first != 0 && start >= p.first }

// next makes it ready for the next window.
func (p *proof) startWindow() {
	p.clean = p.clean || p.mutual && !p.lesser
	p.mutual, p.lesser = false, false
}
