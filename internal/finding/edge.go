package finding

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// edge is one combination of direction, local workload, peer and server port, with the connections
// seen on it.
type edge struct {
	key        string
	direction  string // network.direction, empty if unknown
	scope      string
	class      string
	from, to   string // client and server, as in key
	port       uint16 // port of the server, 0 for an aggregate edge
	folded     bool   // it is an aggregate edge
	overflow   bool   // it aggregates the edges that exceed Config.MaxEdges
	foldedInto *edge  // the aggregate edge into which this edge was folded; nil if it was not folded
	expect     Expect // the strictest expectation of its connections
	peer       string // the name of the peer, empty if it has none
	basis      string // the evidence for peer

	counts   counts
	profile  profile // of the connections since the posture interval began
	findings [ruleCount]*openFinding
	muted    uint32                    // rules of the findings that were muted in the posture interval, as bits
	latest   [verdicts]*verdict.Judged // the latest connection of each verdict

	firstProof, lastProof int64  // when mutual TLS was first and last proven; 0: never
	mesh, meshBasis       string // the mesh of all its mutual TLS, with the evidence; empty if its connections show different meshes
	active                int64  // time of its last change
	peak, previousPeak    int    // worst rank in this window and in the previous one
	published             int    // worst rank in the latest posture; 0: it has none yet
	deferred              bool   // a posture waits for the end of the window, because the budget was spent
	sketch                sketch
	proofs                []proof // one for each party
	groups                []proof // the same for post-quantum groups instead of mutual TLS, and for classical ones instead of less
	recordCount           uint64  // records emitted in the window that starts at recordWindow
	recordWindow          int64
	removals              uint64 // number of edges that had been removed when this one was created
}

// Keys of aggregate edges.
const (
	podEdge   = "internal pod"
	dnsEdge   = "dns"
	probeEdge = "probe"
)

// edgeOf returns the edge of a connection, and reports whether it has created that edge.
func (e *Engine) edgeOf(j *verdict.Judged) (g *edge, fresh bool) {
	e.key = e.appendKey(e.key[:0], j)
	if g := e.edges[string(e.key)]; g != nil {
		return g, false
	}
	if e.fold(j) == "" && len(e.edges)-e.foldedEdges >= e.cfg.MaxEdges && !e.evict() && !e.foldWeakestEdge(j) {
		return e.overflow(j.Scope, j.Class)
	}
	g = e.insert(e.newEdge(string(e.key), j))
	e.restoreProof(g, j)
	return g, true
}

// insert adds an edge. MaxEdges does not bound aggregate edges, which are few.
func (e *Engine) insert(g *edge) *edge {
	g.removals = e.totals.evictedEdges + e.totals.foldedEdges
	at, _ := slices.BinarySearchFunc(e.order, g, byKey)
	e.order = slices.Insert(e.order, at, g)
	e.edges[g.key] = g
	if g.folded {
		e.foldedEdges++
	}
	return g
}

func byKey(a, b *edge) int { return strings.Compare(a.key, b.key) }

func (e *Engine) newEdge(key string, j *verdict.Judged) *edge {
	g := &edge{key: key, direction: j.Direction, scope: j.Scope, class: j.Class, expect: ExpectAny}
	if fold := e.fold(j); fold != "" {
		g.folded = true
		if fold != podEdge {
			g.direction = ""
		}
		return g
	}
	g.from, g.to = string(e.appendFrom(nil, j)), string(e.appendTo(nil, j))
	g.port = j.Destination.Port
	if named(j) {
		g.peer, g.basis = j.PeerName, j.PeerNameBasis
	}
	return g
}

// fold returns the key of the aggregate edge to which a connection belongs. It returns an empty key
// for a connection with an edge of its own.
func (e *Engine) fold(j *verdict.Judged) string {
	switch {
	case e.cfg.Unfold:
		return ""
	case j.Scope == verdict.ScopePod:
		return podEdge
	case j.Class == "dns":
		return dnsEdge
	case j.Class == "probe":
		return probeEdge
	}
	return ""
}

// appendKey appends the key of the connection's edge: "egress default/web > 10.1.2.3:80".
func (e *Engine) appendKey(b []byte, j *verdict.Judged) []byte {
	if fold := e.fold(j); fold != "" {
		return append(b, fold...)
	}
	if j.Direction == "" {
		b = append(b, "unknown"...)
	}
	b = append(append(b, j.Direction...), ' ')
	b = append(e.appendFrom(b, j), " > "...)
	at := len(b)
	b = e.appendTo(b, j)
	if addressed := j.Direction == verdict.DirectionIngress || !named(j); addressed && slices.Contains(b[at:], ':') {
		b = append(slices.Insert(b, at, '['), ']')
	}
	return strconv.AppendUint(append(b, ':'), uint64(j.Destination.Port), 10)
}

// appendFrom appends the client's end of a connection's edge.
func (e *Engine) appendFrom(b []byte, j *verdict.Judged) []byte {
	switch j.Direction {
	case verdict.DirectionEgress:
		return e.appendLocal(b, j.Source.Addr)
	case verdict.DirectionIngress:
		return e.appendPeer(b, j, j.Source.Addr)
	}
	return e.appendFolded(b, j.Source.Addr)
}

// appendTo appends the server's end of a connection's edge.
func (e *Engine) appendTo(b []byte, j *verdict.Judged) []byte {
	if j.Direction == verdict.DirectionIngress {
		return e.appendLocal(b, j.Destination.Addr)
	}
	return e.appendPeer(b, j, j.Destination.Addr)
}

// appendLocal appends the name of the tapped workload, or the address a if it has no name.
func (e *Engine) appendLocal(b []byte, a netip.Addr) []byte {
	if name := e.cfg.Identity.workload(); name != "" {
		return append(b, name...)
	}
	return a.Unmap().WithZone("").AppendTo(b) // the pod's own address is never aggregated, even if it is public
}

// appendPeer appends the first of these that the peer has: its SPIFFE identity, its name, its
// address.
func (e *Engine) appendPeer(b []byte, j *verdict.Judged, a netip.Addr) []byte {
	if named(j) {
		return appendName(b, j.PeerName)
	}
	return e.appendFolded(b, a)
}

// named reports whether the peer has a name that is not an address.
func named(j *verdict.Judged) bool { return j.PeerName != "" && !isAddr(j.PeerName) }

// appendFolded appends a private address unchanged. It replaces a public address by its /24 or /64,
// because the internet has too many addresses for an edge each.
func (e *Engine) appendFolded(b []byte, a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || !e.policy.isPublic(a) {
		return a.AppendTo(b)
	}
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits)
	return p.AppendTo(b)
}

// maxName is the largest length of a name in an edge, in bytes. A longer name, such as a SPIFFE ID,
// is shortened and ends in a hash of the whole name. So two identities never share an edge.
const maxName = 253

// appendName appends a name from the wire, with ? for each byte that is not printable ASCII.
// All but SPIFFE IDs become lower case.
func appendName(b []byte, name string) []byte {
	name = strings.TrimSuffix(name, ".")
	sum, exact := "", strings.HasPrefix(name, "spiffe://") // the path of a SPIFFE ID is case-sensitive
	if len(name) > maxName {
		sum = "~" + digestOf(name)
	}
	for i := range min(len(name), maxName-len(sum)) {
		c := name[i]
		switch {
		case c <= ' ' || c >= 0x7f:
			c = '?'
		case 'A' <= c && c <= 'Z' && !exact:
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return append(b, sum...)
}

// evict removes the edge that has been silent longest, if it has been silent at least since the last window. It
// reports whether it removed an edge. Edges with an open finding are evicted last. If the next snapshot is still to
// count connections of the edge, the edge is folded instead.
func (e *Engine) evict() bool {
	if e.window.crowded {
		return false
	}

	var oldest *edge
	for _, g := range e.order {
		if g.folded || g.counts.connected() || g.active >= e.window.start {
			continue
		}
		if oldest == nil || g.evictsBefore(oldest) {
			oldest = g
		}
	}

	if oldest == nil {
		e.window.crowded = true
		return false
	}

	if e.cfg.Posture && allOf(oldest.counts.period) > 0 {
		e.foldIntoOther(oldest)
		return true
	}
	e.remove(oldest)
	e.totals.addEvicted(oldest)
	return true
}

func (e *Engine) remove(g *edge) {
	at, _ := slices.BinarySearchFunc(e.order, g, byKey)
	e.order = slices.Delete(e.order, at, at+1)
	delete(e.edges, g.key)
	e.announced = nil
}

func (g *edge) evictsBefore(o *edge) bool {
	if a, b := g.hasOpenFinding(), o.hasOpenFinding(); a != b {
		return b
	}
	return g.active < o.active
}

func (g *edge) hasOpenFinding() bool {
	return slices.ContainsFunc(g.findings[:], func(f *openFinding) bool { return f != nil && f.open })
}

// withoutNames returns a copy of j without the names from the wire, for RedactStrict.
func withoutNames(j *verdict.Judged) *verdict.Judged {
	c := *j
	c.PeerName, c.PeerNameBasis = "", ""
	if c.HTTP != nil {
		h := *c.HTTP
		h.Host, h.Path, h.UserAgent = "", "", ""
		c.HTTP = &h
	}
	if c.TLS != nil {
		t := *c.TLS
		t.ServerName = ""
		t.Client, t.Server = withoutCertificateNames(t.Client), withoutCertificateNames(t.Server)
		c.TLS = &t
	}
	return &c
}

func withoutCertificateNames(c *verdict.Certificate) *verdict.Certificate {
	if c == nil {
		return nil
	}
	a := *c
	a.Subject, a.Issuer, a.AlternativeNames, a.SPIFFE = "", "", nil, ""
	return &a
}
