package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// findingKey identifies a finding of one tap, in any of its runs.
type findingKey struct{ tap, rule, edge string }

// latestFinding is the latest state of a finding.
type latestFinding struct {
	order   order
	tap     *tap
	key     entryKey // without an address
	addr    netip.Addr
	aboutIt bool // it is about the tap, not about an edge
	finding Finding
}

// addFinding adds a finding, unless a later state of it is known.
func (g *Graph) addFinding(t *tap, r *record.Record) {
	m := &r.Meshtls
	k := findingKey{t.key, clean(r.Rule.ID, maxText), clean(m.Edge.Key, maxText)}
	o := orderOf(r)
	was := g.findings[k]
	if was != nil && o.compare(&was.order) < 0 {
		return
	}
	if was == nil && len(g.findings) >= maxFinds {
		g.overBounds++
		g.lostFindings++
		return
	}
	f := Finding{
		Rule: k.rule, State: clean(m.Finding.State, maxText), Message: clean(r.Message, maxLine), Count: m.Finding.Count,
		First: utc(stamp(m.Finding.FirstSeen)), Last: utc(cmp.Or(stamp(r.Event.End), stamp(r.Timestamp))), Verdict: clean(m.Verdict, maxText),
		Basis: clean(m.TLS.ClientAuthBasis, maxText), Reasons: cleanAll(m.Reasons, maxReasons), Evidence: clean(m.Evidence.Name, maxText),
		Reference: reference(cmp.Or(r.Rule.Reference, r.Event.Reference)), Coverage: coverageSentence(m.Coverage),
	}
	if r.Event.Severity != nil {
		f.Severity = max(0, min(100, *r.Event.Severity))
	}
	if was != nil && o.compare(&was.order) == 0 && f.compare(&was.finding) <= 0 {
		return
	}
	key := keyOf(t, r)
	g.findings[k] = &latestFinding{order: o, tap: t, key: key, addr: peerAddr(r, key.direction), aboutIt: m.Edge.Key == "" && m.Scope == "", finding: f}
}

// compare orders the states of a finding in records that contradict each other: one that was not retracted, is open and is severe is the last.
func (f *Finding) compare(o *Finding) int {
	return cmp.Or(cmp.Compare(b2i(f.Count > 0), b2i(o.Count > 0)), cmp.Compare(b2i(f.Open()), b2i(o.Open())), cmp.Compare(f.Severity, o.Severity),
		cmp.Compare(rankOf(f.Verdict), rankOf(o.Verdict)), cmp.Compare(f.Count, o.Count), strings.Compare(fmt.Sprintf("%+v", *f), fmt.Sprintf("%+v", *o)))
}

// reference returns a URL of https, so that nobody is sent elsewhere by a record; otherwise nothing.
func reference(url string) string {
	if !strings.HasPrefix(url, "https://") {
		return ""
	}
	return clean(url, maxText)
}

// coverageSentence returns the losses in the window of a finding.
func coverageSentence(c *record.Coverage) string {
	if c == nil {
		return ""
	}
	if c.Watched == nil {
		return "It is not known how many packets the tap lost."
	}
	out := fmt.Sprintf("The tap lost %s of %d", plural(c.Dropped, "packet"), c.Packets+c.Dropped)
	if c.Evicted > 0 {
		out += fmt.Sprintf(" and evicted %s", plural(c.Evicted, "connection"))
	}
	if n := len(c.UncapturedInterfaces); n > 0 {
		out += "; " + was(uint64(n), "interface") + " not captured"
	}
	return out + "."
}

// plural formats a number with a noun whose plural ends in s.
func plural(n uint64, noun string) string {
	return choose(n, "1 "+noun, fmt.Sprintf("%d %ss", n, noun))
}

// Open reports whether a finding has not ended. A state that is not known is open.
func (f *Finding) Open() bool { return f.State != "resolved" && f.State != "withdrawn" }

// findingList returns the findings with their ends. Findings of several taps about one rule and edge are one.
func (g *Graph) findingList(views []*view) []Finding {
	type place struct {
		tap *tap
		key entryKey
	}
	where := map[place]*view{}
	for _, v := range views {
		where[place{v.tap, v.key}] = v
	}
	find := func(l *latestFinding) *view {
		exact := l.key
		exact.addr = l.addr
		if v := where[place{l.tap, exact}]; v != nil {
			return v
		}
		return where[place{l.tap, l.key}]
	}
	type same struct{ rule, from, to, port string }
	all := map[same]*merged{}
	for _, l := range g.findings {
		f := l.finding
		if f.Count == 0 {
			continue // it was retracted
		}
		side := ""
		switch v := find(l); {
		case l.aboutIt:
			f.From = g.index.workloadOf(l.tap)
		case v != nil:
			f.From, f.To, f.Port, side = v.from, v.to, v.port, v.side
		default: // its edge exceeded the bound
			f.From, f.To = several, g.index.workloadOf(l.tap)
		}
		if !g.concerns(&f.From, &f.To) {
			continue
		}
		k := same{f.Rule, keyOfWorkload(&f.From), keyOfWorkload(&f.To), portText(f.Port)}
		if all[k] == nil {
			all[k] = &merged{counts: map[string]uint64{}}
		}
		all[k].add(&f, l, side)
	}
	out := make([]Finding, 0, len(all))
	for _, m := range all {
		f := m.finding
		f.First = m.first
		for _, n := range m.counts {
			f.Count = max(f.Count, n)
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(b2i(!a.Open()), b2i(!b.Open())), cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Rule, b.Rule),
			compareWorkloads(&a.From, &b.From), compareWorkloads(&a.To, &b.To), cmp.Compare(a.Port, b.Port))
	})
	return out
}

// merged is a finding of several taps.
type merged struct {
	finding Finding
	latest  *latestFinding
	first   time.Time
	counts  map[string]uint64 // by side
}

// add adds the finding of a tap. The open ones precede those that ended; of equal ones the severest and then the latest counts.
func (m *merged) add(f *Finding, l *latestFinding, side string) {
	m.counts[side] += f.Count
	if m.first.IsZero() || !f.First.IsZero() && f.First.Before(m.first) {
		m.first = f.First
	}
	if m.latest != nil && cmp.Or(
		cmp.Compare(b2i(f.Open()), b2i(m.finding.Open())), cmp.Compare(f.Severity, m.finding.Severity), l.order.compare(&m.latest.order)) <= 0 {
		return
	}
	m.finding, m.latest = *f, l
}

// addFindings sets the open rules of the edges.
func addFindings(edges []Edge, findings []Finding) {
	type ends struct{ from, to, port string }
	rules := map[ends][]string{}
	for i := range findings {
		f := &findings[i]
		if f.Open() {
			k := ends{keyOfWorkload(&f.From), keyOfWorkload(&f.To), portText(f.Port)}
			rules[k] = append(rules[k], f.Rule)
		}
	}
	for i := range edges {
		e := &edges[i]
		if list := rules[ends{keyOfWorkload(&e.From), keyOfWorkload(&e.To), portText(e.Port)}]; e.Between() && len(list) > 0 {
			slices.Sort(list)
			e.Findings = slices.Compact(slices.Clone(list))
		}
	}
}
