package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sides of an edge.
const (
	sideClient = "client"
	sideServer = "server"
)

// joined has the results for the records so far.
type joined struct {
	resolver *resolver
	edges    []Edge
	findings []Finding
	unknown  []Unknown

	translated uint64 // connections that have several edges, because captures see different addresses
}

// several is the other end of edges that were counted together.
var several = Workload{Name: "several, counted together"}

// Edges returns the edges, the worst first. Edges between workloads on the wire precede others of the same verdict. The caller must not
// change them.
func (g *Graph) Edges() []Edge { return g.join().edges }

// Findings returns the findings, the open and severe ones first. The caller must not change them.
func (g *Graph) Findings() []Finding { return g.join().findings }

// join computes the results, unless they are known.
func (g *Graph) join() *joined {
	if g.joined != nil {
		return g.joined
	}
	j := &joined{resolver: g.newResolver()}
	g.joined = j
	views := g.views(j.resolver)
	joinByHash(views)
	j.findings = g.findingList(views)
	j.translated = translated(views)
	groups := map[string]*group{}
	for _, v := range views {
		k := v.groupKey()
		if groups[k] == nil {
			groups[k] = &group{}
		}
		groups[k].views = append(groups[k].views, v)
	}
	taps := g.tapsByWorkload()
	for _, gr := range groups {
		e := gr.edge()
		if !g.concerns(&e.From, &e.To) {
			continue
		}
		e.Disagreement = g.disagreement(gr, &e, taps[keyOfWorkload(&e.To)], views)
		j.edges = append(j.edges, e)
	}
	addFindings(j.edges, j.findings)
	slices.SortFunc(j.edges, func(a, b Edge) int { return compareEdges(&a, &b) })
	j.unknown = g.unknown(j)
	return j
}

// concerns reports whether an end is in the namespace that the reports are about.
func (g *Graph) concerns(ends ...*Workload) bool {
	ns := g.inventory.Namespace
	return ns == "" || slices.ContainsFunc(ends, func(w *Workload) bool { return w.Namespace == ns })
}

// groupKey identifies the edge that a view belongs to.
func (v *view) groupKey() string {
	folded := ""
	if v.key.folded != "" {
		folded = "folded"
	}
	return strings.Join([]string{keyOfWorkload(&v.from), keyOfWorkload(&v.to), portText(v.port), v.key.scope, v.key.class, folded}, "\x01")
}

// group has the views of one edge.
type group struct {
	views []*view
	ends  map[string]*counts // by side
}

// edge returns the edge of the group.
func (g *group) edge() Edge {
	first := g.views[0]
	e := Edge{From: first.from, To: first.to, Port: first.port, Folded: first.key.folded != "", Scope: first.key.scope, Class: first.key.class}
	var points timeline
	var start, end int64
	expectation, accepted := 0, 0
	var meshes []string
	for _, v := range g.views {
		mergeAddresses(&e.From, &v.from)
		mergeAddresses(&e.To, &v.to)
		from, to := v.times()
		if from != 0 && (start == 0 || from < start) {
			start = from
		}
		end = max(end, to)
		for _, p := range v.parts {
			t := p.timeline()
			points.merge(&t)
			expectation, accepted = max(expectation, p.expectation), max(accepted, p.accepted)
			for _, m := range p.meshes {
				meshes, _ = insertSorted(meshes, m, maxMeshes, compareText)
			}
			e.NotMutual = max(e.NotMutual, p.shownNotMutual())
		}
	}
	e.First, e.Last, e.Changes = utc(start), utc(end), points.changes()
	e.Expectation = expectations[expectation]
	if accepted > 0 {
		yes := accepted == 2
		e.Accepted = &yes
	}
	if len(meshes) == 1 {
		e.Mesh = meshes[0]
	}
	g.count(&e)
	g.describe(&e)
	e.NotMutual = min(e.NotMutual, e.Connections.TLS)
	return e
}

func utc(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// count sets the counts of the edge and of its ends.
func (g *group) count(e *Edge) {
	type pod struct{ side, key string }
	runs := map[pod]map[string]*counts{}
	for _, v := range g.views {
		p := pod{v.side, v.tap.key}
		if runs[p] == nil {
			runs[p] = map[string]*counts{}
		}
		if runs[p][v.key.run] == nil {
			runs[p][v.key.run] = &counts{}
		}
		runs[p][v.key.run].add(&v.total)
	}
	g.ends = map[string]*counts{}
	taps := map[string][]*tap{}
	for p, ofRun := range runs {
		var n counts
		for _, c := range ofRun {
			if p.key == "further" {
				n.add(c) // runs of several taps
			} else {
				n.raise(c)
			}
		}
		if g.ends[p.side] == nil {
			g.ends[p.side] = &counts{}
		}
		if p.side == "" { // two captures may have the same connections
			g.ends[p.side].raise(&n)
		} else {
			g.ends[p.side].add(&n)
		}
	}
	for _, v := range g.views {
		if !slices.Contains(taps[v.side], v.tap) {
			taps[v.side] = append(taps[v.side], v.tap)
		}
	}
	var total counts
	for _, side := range []string{sideClient, sideServer, ""} {
		n := g.ends[side]
		if n == nil {
			continue
		}
		total = merge(&total, n)
		end := End{Side: side, Taps: len(taps[side]), Verdict: verdictOf[n.worst()], Connections: n.record()}
		for _, t := range taps[side] {
			for _, u := range t.runs {
				end.Dropped += u.capture.Dropped
				end.Older += u.capture.Older
			}
		}
		e.Ends = append(e.Ends, end)
	}
	e.Connections, e.Verdict = total.record(), verdictOf[total.worst()]
	g.setLast(e, &total)
}

// setLast sets when the verdicts of the edge were last seen.
func (g *group) setLast(e *Edge, total *counts) {
	var last [ranks]int64
	for _, v := range g.views {
		for _, p := range v.parts {
			for r := range last {
				last[r] = max(last[r], p.lastOf(r))
			}
		}
	}
	for r, at := range map[int]*time.Time{
		rankPlaintext: &e.LastOf.Plaintext, rankTLS: &e.LastOf.TLS, rankEncrypted: &e.LastOf.Encrypted, rankMTLS: &e.LastOf.MTLS,
		rankFailed: &e.LastOf.Failed, rankUnknown: &e.LastOf.Unknown,
	} {
		if total[r] > 0 {
			*at = utc(last[r])
		}
	}
}

// describe sets the properties of the edge's weakest connections.
func (g *group) describe(e *Edge) {
	rank := rankOf(e.Verdict)
	var d *detail
	var p *profile
	basis := 0
	for _, v := range g.views {
		for _, x := range v.parts {
			of, b := x.detailOf(rank)
			if of != nil && (d == nil || of.compare(d) > 0) {
				d = of
			}
			if b > 0 && (basis == 0 || b < basis) {
				basis = b
			}
			if q := x.profile; q != nil && (p == nil || q.compare(p) > 0) {
				p = q
			}
		}
	}
	e.Basis = bases[basis]
	if d != nil {
		e.Protocol, e.Version, e.Cipher, e.Reasons = d.protocol, d.version, d.cipher, d.reasons
	}
	if p == nil {
		return
	}
	if e.Protocol == "" {
		e.Protocol = p.protocolOf(rank)
	}
	if rank == rankPlaintext || rank == rankEncrypted {
		e.Basis = bases[len(bases)-1]
		return
	}
	e.Version, e.Cipher = cmp.Or(e.Version, first(p.versions)), cmp.Or(e.Cipher, first(p.ciphers))
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func mergeAddresses(w, o *Workload) {
	all := slices.Clone(w.Addresses)
	for _, a := range o.Addresses {
		all, _ = insertSorted(all, a, 8, netip.Addr.Compare)
	}
	w.Addresses = all
	w.Claimed, w.Outside = w.Claimed || o.Claimed, w.Outside && o.Outside
}

// compareEdges orders edges: the weakest verdict first, between workloads on the wire first, then by their ends.
func compareEdges(a, b *Edge) int {
	return cmp.Or(
		cmp.Compare(rankOf(b.Verdict), rankOf(a.Verdict)), cmp.Compare(b2i(!a.Between()), b2i(!b.Between())),
		compareWorkloads(&a.From, &b.From), compareWorkloads(&a.To, &b.To), cmp.Compare(a.Port, b.Port),
		strings.Compare(a.Scope, b.Scope), strings.Compare(a.Class, b.Class), cmp.Compare(b2i(a.Folded), b2i(b.Folded)),
	)
}

// Between reports whether an edge is traffic between workloads on the wire.
func (e *Edge) Between() bool { return e.Scope == "wire" && (e.Class == "workload" || e.Class == "") }

// Judged reports whether an edge is between workloads and has a connection of which it is known how it was protected. A failed one is none.
func (e *Edge) Judged() bool {
	n := &e.Connections
	return e.Between() && n.Plaintext+n.TLS+n.Encrypted+n.MTLS > 0
}

func portText(port uint16) string { return strconv.Itoa(int(port)) }
