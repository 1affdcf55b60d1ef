package migration

import (
	"cmp"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
)

// Compare returns the state of each edge before and after the change.
func Compare(before, after *Side) Result {
	m := &matching{before: newView(before), after: newView(after)}
	m.match()
	m.addUnmatched()
	for _, x := range m.rows {
		m.conclude(x)
	}

	r := Result{Before: m.before.evidence(), After: m.after.evidence()}
	for i, v := range [...]*view{m.before, m.after} {
		for _, c := range v.folded {
			r.Folded[i] += c.Plaintext + c.TLS + c.Unclear + c.Encrypted
		}
	}

	for _, x := range m.rows {
		slices.Sort(x.Reasons)
		x.Reasons = slices.Compact(x.Reasons)
		r.Edges = append(r.Edges, x.Edge)
	}

	order.Stable(r.Edges, func(a, b Edge) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Changes, a.Change), slices.Index(Changes, b.Change)),
			cmp.Compare(severity(&a), severity(&b)),
			compare(a.From, b.From), compare(a.To, b.To), cmp.Compare(a.Port, b.Port))
	})
	return r
}

// severity returns the position of an edge among edges with the same change: plaintext comes first.
func severity(e *Edge) int {
	order := []State{Plaintext, Mixed, TLS, Encrypted, TLSUnclear, Unjudged, Failed, NotSeen}
	if i := slices.Index(order, e.After.State); i >= 0 {
		return i
	}
	return len(order)
}

// evidence returns the extent and the losses of a side's input.
func (v *view) evidence() Watch {
	w := v.side.watch
	w.Skipped = v.side.skipped
	for _, t := range v.side.taps {
		if t.name != "" || len(t.addrs) > 0 {
			w.Taps++
			if t.input != nil {
				w.Local++
			}
		}
		w.Missing += t.missingRecords()
	}
	return w
}

// row is an edge of the result while it is matched.
type row struct {
	Edge
	pair         *pair // the edge's pair, on the side where the edge was found
	hbone        bool  // for an edge that only the after side has: it is HBONE
	unshared     bool  // no other edge was matched to the same evidence of the after side
	onlyHBONE    bool  // only HBONE was found between the two ends
	tooManyNames bool  // more than maxHits pairs matched
	besideHBONE  bool  // in addition to HBONE, the two ends have connections that may be less than mutual TLS
	pairSeen     bool  // the other side has a pair with the same names
}

type matching struct {
	before, after *view
	rows          []*row                    // rows of the before side, then rows that only the after side has
	unmatched     map[Party]*unmatchedLanes // unmatched edges of the after side, by client
	shared        map[*lane][]*row          // the rows that an HBONE lane was matched to
	formerPairs   map[*pair]Counts          // counts of the before side, summed by the pair of the after side that they match by name
	formerServers map[server]Counts
}

// server is one port of a server.
type server struct {
	to   Party
	port uint16
}

// candidate is a pair of the after side that matches one of the before side.
type candidate struct {
	*pair
	basis Basis
	full  bool // false: the address may belong to another pod by now, so the pair can show a loss but no mutual TLS
}

// maxHits bounds the pairs that may match one pair, for example because one address has many names.
const maxHits = 64

// candidates returns the pairs of the after side that match p, and whether there are more.
func (m *matching) candidates(p *pair) (list []candidate, more bool) {
	add := func(x *pair, basis Basis, full bool) {
		switch {
		case x == nil || slices.ContainsFunc(list, func(h candidate) bool { return h.pair == x }):
		case len(list) >= maxHits:
			more = true
		default:
			list = append(list, candidate{x, basis, full})
		}
	}

	bare := len(m.before.ids) == 0 && len(m.after.ids) == 0 // as in captures, no tap names the owner of an address
	for _, to := range m.aliases(p.to) {
		basis := ByName
		if !to.named() || !p.from.named() {
			basis = ByAddress
		}
		add(m.after.pairs[link{p.from, to}], basis, basis == ByName || bare)
	}

	for _, a := range p.addrs {
		add(m.after.pairs[link{p.from, Party{Addr: a}}], ByAddress, bare)
		if p.to.named() { // a pair with another name is another server
			continue
		}
		for _, x := range m.after.locations[location{p.from, a}] {
			add(x, ByAddress, bare)
		}
	}
	return list, more
}

// aliases returns other names of a server on both sides: the workloads of a service, and the services of a
// workload.
func (m *matching) aliases(p Party) []Party {
	list := []Party{p}
	if !p.named() {
		return list
	}
	for _, v := range [...]*view{m.before, m.after} {
		for _, names := range [...][]string{v.alias[p.Name], v.services[p.Name]} {
			for _, n := range names {
				if !slices.Contains(list, Party{Name: n}) {
					list = append(list, Party{Name: n})
				}
			}
		}
	}
	return list
}

// match creates a row for each edge of the before side.
func (m *matching) match() {
	m.shared = map[*lane][]*row{}
	m.formerPairs, m.formerServers = map[*pair]Counts{}, map[server]Counts{}
	for _, p := range m.before.sortedPairs() {
		hits, more := m.candidates(p)
		first := len(m.rows)
		m.addPortRows(p, hits)
		if p.tunnel != nil {
			m.addHBONERow(p, hits)
		}
		for _, x := range m.rows[first:] {
			x.tooManyNames = more
			m.recordFormerState(x, hits)
		}
	}

	for _, rows := range m.shared {
		for _, x := range rows {
			x.unshared = x.unshared && len(rows) == 1
		}
	}
}

// recordFormerState adds the counts of an edge to the former state of its pairs and of its server.
// Edges that are new on the after side are compared with that state.
func (m *matching) recordFormerState(x *row, hits []candidate) {
	for i := range hits {
		if hits[i].basis == ByName { // a connection to another port of an address shows nothing
			x.pairSeen = true
			c := m.formerPairs[hits[i].pair]
			c.add(&x.Before.Counts)
			m.formerPairs[hits[i].pair] = c
		}
	}
	if !x.From.named() && x.To.named() {
		s := server{x.To, x.Port}
		c := m.formerServers[s]
		c.add(&x.Before.Counts)
		m.formerServers[s] = c
	}
}

// evidence is the after side's data about an edge.
type evidence struct {
	counts Counts
	basis  Basis
	ports  []uint16
}

func (e *evidence) add(h *candidate, l *lane, basis Basis, port uint16) {
	c := l.counts()
	if !h.full {
		c = c.withoutMutual()
	}

	if !c.seen() {
		return
	}

	l.matched = true
	if h.basis == ByAddress {
		basis = ByAddress
	}

	if e.basis == "" || e.basis == ByAddress {
		e.basis = basis
	}

	e.counts.add(&c)
	if !slices.Contains(e.ports, port) && len(e.ports) < maxPorts {
		e.ports = append(e.ports, port)
		slices.Sort(e.ports)
	}
}

// addPortRows creates the rows of a pair, except the row of its HBONE.
func (m *matching) addPortRows(p *pair, hits []candidate) {
	var unseen []*row // edges that were not seen at their own port
	for _, port := range p.sortedPorts() {
		x := &row{Edge: Edge{From: p.from, To: p.to, Port: port}, pair: p, unshared: true}
		x.Before = observe(p.ports[port].counts(), nil)
		m.rows = append(m.rows, x)
		var direct evidence
		for i := range hits {
			if l := hits[i].ports[port]; l != nil {
				direct.add(&hits[i], l, ByName, port)
			}
			if l := hits[i].tunnel; l != nil && hits[i].full { // count each row that the tunnel may carry
				m.shared[l] = append(m.shared[l], x)
			}
		}
		if x.After, x.Basis = observe(direct.counts, nil), direct.basis; !direct.counts.seen() {
			unseen = append(unseen, x)
		}
	}

	if len(unseen) > 0 {
		matchElsewhere(p, hits, unseen)
	}
}

// matchElsewhere searches for edges that were not seen at their own port. It looks at new ports of the same service,
// and in HBONE of the pair.
func matchElsewhere(p *pair, hits []candidate, unseen []*row) {
	var found evidence
	for i := range hits {
		for _, other := range hits[i].sortedPorts() {
			if l := hits[i].ports[other]; p.ports[other] == nil && hits[i].basis == ByName {
				found.add(&hits[i], l, ByService, other)
			}
		}
	}

	elsewhere, past := found.counts.seen(), false
	for i := range hits {
		for _, l := range hits[i].ports {
			c := l.counts()
			past = past || c.doubtful()
		}
		if l := hits[i].tunnel; l != nil {
			found.add(&hits[i], l, ByPair, hbonePort)
		}
	}

	for _, x := range unseen {
		x.After, x.Basis = observe(found.counts, found.ports), found.basis
		x.besideHBONE = past
		x.onlyHBONE = !elsewhere && found.counts.seen()
		if elsewhere {
			x.Reasons = append(x.Reasons, "other_port")
		}
	}
}

// addHBONERow creates the row of the pair's HBONE on the before side. Connections at ports that are new on
// the after side may have used the tunnel before.
func (m *matching) addHBONERow(p *pair, hits []candidate) {
	x := &row{Edge: Edge{From: p.from, To: p.to}, pair: p, unshared: true}
	x.Before = observe(p.tunnel.counts(), nil)
	m.rows = append(m.rows, x)
	var now evidence
	for i := range hits {
		if l := hits[i].pair.tunnel; l != nil {
			now.add(&hits[i], l, ByName, hbonePort)
		}
		for _, port := range hits[i].sortedPorts() {
			if p.ports[port] == nil && hits[i].basis == ByName {
				now.add(&hits[i], hits[i].ports[port], ByService, port)
			}
		}
	}
	x.After, x.Basis = observe(now.counts, now.ports), now.basis
}

func observe(c Counts, ports []uint16) Observation {
	return Observation{State: c.state(), Counts: c, Ports: ports}
}

// unmatchedLanes describes the edges of one client on the after side that matched no edge of the before
// side.
type unmatchedLanes struct {
	hbone         bool            // some of the edges are HBONE
	doubtfulPeers [2]bool         // whether connections that may be less than mutual TLS exist: [0] to peers without a name, [1] to any peer
	ports         map[uint16]bool // ports of peers without a name, at most maxSpare
}

// maxSpare bounds the ports in unmatchedLanes. With more ports than this, any port counts as
// contained.
const maxSpare = 1 << 10

// at reports whether the client may have connections that are less than mutual TLS to peers without a name, at the
// given port. If maxSpare ports are stored, it returns true for every port.
func (s *unmatchedLanes) at(port uint16) bool {
	return s != nil && (s.ports[port] || len(s.ports) >= maxSpare)
}

// addUnmatched creates a row for each edge of the after side that matched no other.
func (m *matching) addUnmatched() {
	m.unmatched = map[Party]*unmatchedLanes{}
	for _, p := range m.after.sortedPairs() {
		for _, port := range p.sortedPorts() {
			m.addUnmatchedLane(p, port, p.ports[port])
		}
		if p.tunnel != nil {
			m.addUnmatchedLane(p, 0, p.tunnel)
		}
	}
}

func (m *matching) addUnmatchedLane(p *pair, port uint16, l *lane) {
	c := l.counts()
	if l.matched || !c.seen() {
		return
	}

	x := &row{Edge: Edge{From: p.from, To: p.to, Port: port, After: observe(c, nil), Before: Observation{State: NotSeen}}, pair: p, hbone: port == 0}
	m.rows = append(m.rows, x)
	s := m.unmatched[p.from]
	if s == nil {
		s = &unmatchedLanes{}
		m.unmatched[p.from] = s
	}

	switch {
	case x.hbone:
		s.hbone = true
	case c.doubtful():
		s.doubtfulPeers[1] = true
		if !p.to.named() {
			s.doubtfulPeers[0] = true
			if s.ports == nil {
				s.ports = map[uint16]bool{}
			}
			if len(s.ports) < maxSpare {
				s.ports[port] = true
			}
		}
	}
}

// mayBe reports whether one of the client's unmatched connections may be a connection to the server of x that is less
// than mutual TLS. That is possible if the connection's peer or the server has no name.
func (s *unmatchedLanes) mayBe(x *row) bool {
	return s != nil && (s.doubtfulPeers[0] || s.doubtfulPeers[1] && !x.To.named())
}
