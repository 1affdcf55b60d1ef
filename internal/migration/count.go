package migration

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// hbonePort is the port of HBONE (istio/ztunnel ARCHITECTURE.md).
const hbonePort = 15008

// ambient is the value of meshtls.mesh for HBONE.
const ambient = "istio_ambient"

// add adds the connections of a record to the edge.
func (g *entry) add(r *record.Record) {
	switch r.Event.Dataset {
	case flows:
		one := countOf(r, 1)
		g.flows.add(&one)
	case postures:
		g.countPosture(r)
	case findings:
		g.countFinding(r)
	}
}

// countOf returns the counts for n connections with the verdict of a record.
func countOf(r *record.Record, n uint64) (c Counts) {
	switch m := &r.Meshtls; m.Verdict {
	case "mtls":
		*mutualOf(r, &c) = n
	case "tls":
		switch {
		case slices.Contains(m.Reasons, "refused_or_closed"), m.TLS.ClientAuth == "declined" && m.TLS.Outcome == "incomplete":
			c.Unclear = n // the server may have refused it
		case m.TLS.ClientAuth == "declined" || m.TLS.ClientAuth == "not_requested":
			c.TLS = n
		default:
			c.Unclear = n
		}
	case "plaintext":
		c.Plaintext = n
	case "encrypted":
		c.Encrypted = n
	case "failed":
		c.Failed = n
	case "": // a connection without payload
	default:
		c.Unjudged = n
	}
	return c
}

// mutualOf returns the field of c that counts mutual TLS of the record's kind.
func mutualOf(r *record.Record, c *Counts) *uint64 {
	switch m := &r.Meshtls; {
	case m.Mesh == ambient:
		return &c.HBONE
	case m.Mesh != "" || m.Local.Proxy != "":
		return &c.Sidecar
	}
	return &c.MTLS
}

// recognizeHBONE updates whether an edge is HBONE. meshtls.mesh reports HBONE. TLS at the port of HBONE
// may be HBONE if no record shows the client's certificate. Mutual TLS of another kind refutes HBONE, and
// so does a server name, which ztunnel never sends.
func (g *entry) recognizeHBONE(r *record.Record, port uint16) {
	m := &r.Meshtls
	mutual := m.Verdict == "mtls" || m.Edge.Connections != nil && m.Edge.Connections.MTLS > 0
	g.hbone = g.hbone || m.Mesh == ambient || port == hbonePort && !mutual
	g.notHBONE = g.notHBONE || m.Peer.NameBasis == "sni" || m.Peer.NameBasis == "host_header" || mutual && m.Mesh != ambient
}

// isHBONE reports whether an edge is HBONE.
func (g *entry) isHBONE() bool { return g.hbone && !g.notHBONE }

// countPosture counts a posture. A later posture with the same start replaces the earlier one: it covers the same
// connections, and their verdicts may have changed since. A posture of an improvement covers only a part of the
// interval, whose snapshot follows.
func (g *entry) countPosture(r *record.Record) {
	if r.Event.Action == "improved" {
		part := entry{}
		part.setOpen(r)
		g.posture.raiseTo(&part.open)
		return
	}
	if r.Event.Start != g.window {
		g.posture.raiseTo(&g.open)
		g.window, g.open = r.Event.Start, Counts{}
	}
	g.setOpen(r)
}

// setOpen sets the counts of the latest posture.
func (g *entry) setOpen(r *record.Record) {
	m := &r.Meshtls
	n := m.Edge.Connections
	if n == nil {
		return
	}

	c := Counts{Plaintext: n.Plaintext, Encrypted: n.Encrypted, Failed: n.Failed, Unjudged: n.Unknown}
	*mutualOf(r, &c) = n.MTLS
	// rules_blind contains tls-not-mutual if the client's certificate is unknown for all TLS of the edge. If the edge also
	// has mutual TLS, a posture does not show for which of the other TLS connections the certificate is unknown.
	if n.MTLS == 0 && !slices.Contains(m.Coverage.RulesBlind, "tls-not-mutual") {
		c.TLS = n.TLS
	} else {
		c.Unclear = n.TLS
	}

	g.open = c
}

// countFinding counts an open finding as one connection. A retracted finding does not count.
func (g *entry) countFinding(r *record.Record) {
	m := &r.Meshtls
	id := r.Rule.ID
	switch {
	case !slices.Contains([]string{"plaintext-edge", "tls-not-mutual", "mtls-downgrade"}, id):
	case m.Finding.State == "open" || m.Finding.State == "ongoing":
		if g.findingCounts == nil {
			g.findingCounts = map[string]Counts{}
		}
		g.findingCounts[id] = countOf(r, 1)
	case m.Finding.Count == 0: // the finding was retracted
		delete(g.findingCounts, id)
	}
}

// total returns the counts of the edge.
func (g *entry) total() Counts {
	p := g.posture
	p.raiseTo(&g.open)
	if g.flows.TLS+g.flows.Unclear >= p.TLS+p.Unclear { // the flows show at least as much TLS as the posture
		p.TLS, p.Unclear = 0, 0
	}
	if g.flows.Sidecar+g.flows.HBONE+g.flows.MTLS >= p.Sidecar+p.HBONE+p.MTLS { // the flows show at least as much mutual TLS, and its kind
		p = p.withoutMutual()
	}
	p.raiseTo(&g.flows)
	for _, f := range g.findingCounts {
		p.raiseTo(&f)
	}
	if g.isHBONE() {
		p.HBONE = max(p.HBONE, p.MTLS+p.Sidecar)
		p.MTLS, p.Sidecar = 0, 0
	}
	return p
}

// each returns pointers to all counts.
func (c *Counts) each() [9]*uint64 {
	return [...]*uint64{&c.Sidecar, &c.HBONE, &c.MTLS, &c.TLS, &c.Unclear, &c.Encrypted, &c.Plaintext, &c.Failed, &c.Unjudged}
}

func (c *Counts) add(o *Counts) {
	a, b := c.each(), o.each()
	for i := range a {
		if *a[i] += *b[i]; *a[i] < *b[i] {
			*a[i] = ^uint64(0)
		}
	}
}

// raiseTo sets each count to the larger one of c and o.
func (c *Counts) raiseTo(o *Counts) {
	a, b := c.each(), o.each()
	for i := range a {
		*a[i] = max(*a[i], *b[i])
	}
}

func (c *Counts) seen() bool { return *c != Counts{} }

func (c *Counts) mutual() bool { return c.Sidecar > 0 || c.HBONE > 0 || c.MTLS > 0 }

// less reports whether a connection was shown to be less than mutual TLS.
func (c *Counts) less() bool { return c.Plaintext > 0 || c.TLS > 0 || c.Encrypted > 0 }

// doubtful reports whether a connection was, or may have been, less than mutual TLS.
func (c *Counts) doubtful() bool { return c.less() || c.Unclear > 0 || c.Unjudged > 0 }

// withoutMutual returns the counts without mutual TLS.
func (c Counts) withoutMutual() Counts {
	c.Sidecar, c.HBONE, c.MTLS = 0, 0, 0
	return c
}

// state returns the state that the counts show.
func (c *Counts) state() State {
	switch {
	case c.mutual() && c.less():
		return Mixed
	case c.Plaintext > 0:
		return Plaintext
	case c.TLS > 0:
		return TLS
	case c.Encrypted > 0:
		return Encrypted
	case c.MTLS > 0 || c.HBONE > 0 && c.Sidecar > 0:
		return MTLS
	case c.HBONE > 0:
		return MTLSHBONE
	case c.Sidecar > 0:
		return MTLSSidecar
	case c.Unclear > 0:
		return TLSUnclear
	case c.Unjudged > 0:
		return Unjudged
	case c.Failed > 0:
		return Failed
	}
	return NotSeen
}
