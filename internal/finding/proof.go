package finding

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// party is a remote end that may change from mutual TLS to less, which is a downgrade. It is identified
// by its exact address, or by the identity in its certificate. An edge can contain many parties (a name
// that clients claim, a /24 of the internet, all edges beyond the bound). The traffic of one party shows
// nothing about another.
type party struct {
	peer     netip.Addr
	client   netip.Addr // set if it is unknown which end is local
	port     uint16     // port of the server
	identity string     // set instead of the addresses
	shape    string     // fingerprint of the client, only where key exchanges are compared (see clientOf)
}

// isOf reports whether p is the other party, or a client of it.
func (p party) isOf(other party) bool {
	p.shape = ""
	return p == other
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

// proof records whether and when one party of an edge was seen to speak mutual TLS, or less: plaintext, or TLS without
// a client certificate.
type proof struct {
	party
	first          int64 // time of the first proof of mutual TLS, 0: none
	clean          bool  // the party spoke mutual TLS and nothing less: either always, or in a whole window since it last spoke less
	mutual, lesser bool  // seen in this window: mutual TLS; less than mutual TLS
	everLesser     bool  // less than mutual TLS was ever seen
	active         int64
}

// maxProofs is the largest number of parties that an edge remembers, such as the replicas of a server. Each takes about 140 bytes.
// Beyond this bound, the party that has been silent longest is forgotten, and its downgrade goes
// undetected.
const maxProofs = 64

// proofOf returns the proof of a party. It adds an empty one if the party is new.
func (g *edge) proofOf(who party, now int64) *proof { return proofIn(&g.proofs, who, now) }

// proofIn returns the proof of a party in a list. It adds an empty one if the party is new.
func proofIn(list *[]proof, who party, now int64) *proof {
	proofs, oldest := *list, 0
	for i := range proofs {
		p := &proofs[i]
		if p.port == who.port && p.peer == who.peer && p.party == who { // the first two are compared without a call
			p.active = now
			return p
		}
		if p.active < proofs[oldest].active {
			oldest = i
		}
	}
	if len(proofs) < maxProofs {
		proofs = append(proofs, proof{})
		oldest = len(proofs) - 1
	}
	proofs[oldest] = proof{party: who, active: now}
	*list = proofs
	return &proofs[oldest]
}

// recordMTLS records that the party was shown to speak mutual TLS at the time at, in ns since the
// epoch.
func (p *proof) recordMTLS(at int64) {
	p.mutual = true
	if p.first == 0 {
		p.first, p.clean = at, !p.everLesser
	}
}

// recordLesser records that the party was shown to speak less than mutual TLS.
func (p *proof) recordLesser() { p.lesser, p.everLesser, p.clean = true, true, false }

// isDowngrade reports whether a connection that is less than mutual TLS is a downgrade. The connection
// must have started at or after the party's first proof. The party must also have spoken only mutual TLS:
// either always, or in a whole window since it last spoke less.
func (p *proof) isDowngrade(start int64) bool { return p.clean && p.first != 0 && start >= p.first }

// startWindow prepares the proof for the next window.
func (p *proof) startWindow() {
	p.clean = p.clean || p.mutual && !p.lesser
	p.mutual, p.lesser = false, false
}
