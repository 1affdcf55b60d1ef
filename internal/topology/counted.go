package topology

import (
	"cmp"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// counted is the latest state of a finding on an entry, with its latest connection.
type counted struct {
	order      order
	rank       int
	count      uint64 // 0: the finding was retracted
	first, end int64
	detail     detail
	basis      int
	hash       hash
	hashed     bool
}

// addFinding adds a finding about a connection. It shows that at least one connection has the verdict, unless it was retracted.
func (e *entry) addFinding(r *record.Record) {
	m := &r.Meshtls
	rank := rankOf(m.Verdict)
	rule := clean(r.Rule.ID, maxText)
	f := &counted{
		order: orderOf(r), rank: rank, count: min(1, m.Finding.Count), first: stamp(m.Finding.FirstSeen), end: cmp.Or(stamp(r.Event.End), stamp(r.Timestamp)),
		basis: basisOf(r, rank),
	}
	was := e.findings[rule]
	kept := !e.sums && (was != nil || len(e.findings) < maxRules)
	if kept && was != nil && f.order.compare(&was.order) < 0 {
		return
	}
	f.detail = detailOf(r, f.end)
	f.hash, f.hashed = jointHash(r)
	if rule == "plaintext-edge" && rank == rankPlaintext {
		f.count = m.Finding.Count
	}
	if kept && was != nil && f.compare(was) <= 0 {
		return
	}
	if !kept {
		e.addFound(f)
		return
	}
	if e.findings == nil {
		e.findings = map[string]*counted{}
	}
	e.findings[rule] = f
}

// compare orders the states of a finding. Of records that contradict each other, one that was not retracted and has the weaker verdict is the last.
func (c *counted) compare(o *counted) int {
	return cmp.Or(c.order.compare(&o.order), cmp.Compare(b2i(c.count > 0), b2i(o.count > 0)), cmp.Compare(c.rank, o.rank), cmp.Compare(c.count, o.count), cmp.Compare(c.first, o.first),
		cmp.Compare(c.end, o.end), cmp.Compare(o.basis, c.basis), compareHashes(c.hash, o.hash), c.detail.compare(&o.detail))
}

// addFound adds a finding that is not kept by its rule, so that a later state of it is not recognized: it is never retracted.
func (e *entry) addFound(f *counted) {
	if f.rank == rankNone || f.count == 0 {
		return
	}
	e.found[f.rank] = max(e.found[f.rank], f.count)
	e.widen(f.first, f.end)
	e.points.add(f.first, f.rank)
	e.last[f.rank] = max(e.last[f.rank], f.end)
	if d := e.details[f.rank]; d == nil || f.detail.compare(d) > 0 {
		e.details[f.rank] = &f.detail
	}
	if f.basis > 0 && (e.basis[f.rank] == 0 || f.basis < e.basis[f.rank]) {
		e.basis[f.rank] = f.basis
	}
}
