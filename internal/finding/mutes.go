package finding

import (
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// mutes holds the mutes of an Engine.
type mutes struct {
	list    []Mute
	active  [ruleCount + 1][]*Mute // those that have not ended, by rule; blindRule is the last one
	nextEnd int64                  // when the first of the active ones ends, ns since the epoch; 0: none does
	ended   []string               // those of list whose end was reported
}

// blindRule is the index of tapBlind among mutes.
const blindRule = ruleCount

// endsSoon is the time before its end in which a mute is published as one that ends soon.
const endsSoon = 7 * 24 * time.Hour

// Mute replaces the mutes. A finding is muted if a mute selects each of its connections; it is counted but not published. An open finding
// that becomes muted is withdrawn. One that is no longer muted is published as open, as at the end of a mute.
func (e *Engine) Mute(list []Mute) {
	e.mutes.list = list
	e.updateMutes()
	e.due = 0
}

// endMutes ends the mutes whose time is over.
func (e *Engine) endMutes() {
	if e.mutes.nextEnd != 0 && e.now >= e.mutes.nextEnd {
		e.updateMutes()
	}
}

// updateMutes determines the mutes that have not ended, reports those that have, and applies the change to the open findings.
func (e *Engine) updateMutes() {
	m := &e.mutes
	was, blind := m.active, e.blindIsMuted()
	var ended, news []string
	m.active, m.nextEnd = [ruleCount + 1][]*Mute{}, 0
	for i := range m.list {
		mute := &m.list[i]
		if mute.end != 0 && e.now >= mute.end {
			key := mute.String()
			if !slices.Contains(m.ended, key) && !slices.Contains(ended, key) {
				news = append(news, key)
			}
			ended = append(ended, key)
			continue
		}
		r := slices.IndexFunc(rules[:], func(r rule) bool { return r.id == mute.Rule }) // -1: tapBlind
		if r < 0 {
			r = blindRule
		}
		m.active[r] = append(m.active[r], mute)
		if mute.end != 0 && (m.nextEnd == 0 || mute.end < m.nextEnd) {
			m.nextEnd = mute.end
		}
	}

	m.ended = ended
	for _, mute := range news {
		e.emitTapOf(e.now, muteEnded, "", mute, nil)
	}

	var lost [ruleCount]bool // rules of which a mute has ended or was removed
	for r := range lost {
		lost[r] = slices.ContainsFunc(was[r], func(old *Mute) bool {
			return !slices.ContainsFunc(m.active[r], func(m *Mute) bool { return m.String() == old.String() })
		})
	}
	e.applyMutes(&lost)
	e.applyBlindMute(blind)
}

// muteEnded is the event.action of a record about a mute that has ended.
const muteEnded = "mute_ended"

// applyMutes withdraws open findings that are now muted, and announces those that no longer are. lost has the rules of which a mute has
// ended or was removed.
func (e *Engine) applyMutes(lost *[ruleCount]bool) {
	type opening struct {
		g *edge
		r int
		f *openFinding
	}

	var shown []opening
	var hidden [ruleCount]bool // rules with findings that are now muted
	var folded [ruleCount]foldShare
	e.eachOpenFinding(func(g *edge, r int, f *openFinding) {
		switch muted := e.isMuted(r, f, lost[r]); {
		case muted == f.muted:
		case muted:
			hidden[r] = true
			folded[r].add(f)
			e.hide(g, r, f)
		default:
			f.muted = false
			shown = append(shown, opening{g, r, f})
		}
	})
	for r := range folded {
		if folded[r].edges > 0 {
			e.hideFolded(r, folded[r])
		}
	}
	for _, s := range shown {
		e.announce(s.g, s.r, s.f, s.f.count)
	}
	if hidden[mtlsDowngrade] {
		e.uncoverDowngrades()
	}
	if hidden[credentialsInClear] {
		e.alertPlaintext()
	}
}

// isMuted reports whether an open finding of rule r is muted. lost reports whether a mute of the rule has ended or was removed since this
// was last determined.
func (e *Engine) isMuted(r int, f *openFinding, lost bool) bool {
	switch {
	case e.mutesAll(r):
		return true
	case f.morePlaces:
		return f.muted && !lost
	}
	return !slices.ContainsFunc(f.places, func(p place) bool { return e.muteAt(r, &p) == nil })
}

// mutesAll reports whether all findings of rule r are muted.
func (e *Engine) mutesAll(r int) bool {
	return slices.ContainsFunc(e.mutes.active[r], (*Mute).mutesAll)
}

// muteAt returns the first mute that selects connections at a place that break rule r, nil if there is none.
func (e *Engine) muteAt(r int, p *place) *Mute {
	for _, m := range e.mutes.active[r] {
		if m.selects(p) {
			return m
		}
	}
	return nil
}

// muteOf returns the first mute that selects a connection that breaks rule r, nil if there is none.
func (e *Engine) muteOf(r int, j *verdict.Judged) *Mute {
	if len(e.mutes.active[r]) == 0 {
		return nil
	}
	p := placeOf(j)
	return e.muteAt(r, &p)
}

// maxPlaces is the number of places of its connections that a finding stores. A finding with more is not muted later by a mute that selects
// peers, ports or classes.
const maxPlaces = 16

// addPlace adds the place of a connection j to an open finding of rule r on edge g, of which it is the latest of n. It reports whether the
// finding is no longer muted, because no mute selects that place.
func (e *Engine) addPlace(g *edge, r int, f *openFinding, j *verdict.Judged, n uint64) (shown bool) {
	p := placeOf(j)
	switch {
	case slices.Contains(f.places, p):
	case len(f.places) < maxPlaces:
		f.places = append(f.places, p)
	default:
		f.morePlaces = true
	}
	// The places of the other connections are unknown. Edge-unjudged is about an edge, and is compared with its latest connection.
	others := n > 1 && r != edgeUnjudged && (g.folded || g.peer != "" || j.Claimed != "" || e.policy.isPublic(p.peer))
	f.morePlaces = f.morePlaces || others

	was := f.muted
	f.muted = f.muted && (e.mutesAll(r) || !others && e.muteAt(r, &p) != nil)
	if f.muted {
		g.muted |= 1 << r
	}
	return was && !f.muted
}

// addPlacesOf adds the places of another edge's open finding, whose connections f now counts too.
func (f *openFinding) addPlacesOf(o *openFinding) {
	for _, p := range o.places {
		switch {
		case slices.Contains(f.places, p):
		case len(f.places) < maxPlaces:
			f.places = append(f.places, p)
		default:
			f.morePlaces = true
		}
	}
	f.morePlaces = f.morePlaces || o.morePlaces
	f.muted = f.muted && o.muted
}

// openMuted returns the rules of the edge's open findings that are muted, as bits.
func (g *edge) openMuted() (rules uint32) {
	for r, f := range g.findings {
		if f != nil && f.open && f.muted {
			rules |= 1 << r
		}
	}
	return rules
}

// hide withdraws a finding that is now muted.
func (e *Engine) hide(g *edge, r int, f *openFinding) {
	if f.announced {
		f.why = whyMuted
		e.emitFinding(g, r, f, kindEvent, stateWithdrawn, e.now, e.coverageUntil(e.now))
		f.why = ""
	}
	f.muted, f.announced, f.folded, f.inFold, f.yielded = true, false, false, 0, false
	g.muted |= 1 << r
}

// foldShare is the part of a fold's counts that belongs to findings that are now muted.
type foldShare struct{ edges, count uint64 }

func (s *foldShare) add(f *openFinding) {
	if f.folded {
		s.edges++
		s.count += f.inFold
	}
}

// hideFolded subtracts the share of muted findings from the fold of rule r. It withdraws the fold if no other finding is folded.
func (e *Engine) hideFolded(r int, share foldShare) {
	o, left := &e.folds[r], false
	e.eachOpenFinding(func(_ *edge, other int, f *openFinding) { left = left || other == r && f.folded })
	switch {
	case left:
		o.edges -= min(o.edges, share.edges)
		o.count -= min(o.count, share.count)
		o.pending = min(o.pending, o.count)
	case o.open:
		o.open, o.why = false, whyMuted
		e.emitFold(r, kindEvent, stateWithdrawn, e.now)
		o.why = ""
	}
}

// mutedRules returns the rules all of whose findings are muted.
func (e *Engine) mutedRules() []string { return e.rulesMuted((*Mute).mutesAll) }

// namespaceMutes returns the rules for which the tapped namespace has chosen a mute.
func (e *Engine) namespaceMutes() []string {
	return e.rulesMuted(func(m *Mute) bool { return m.Namespace })
}

func (e *Engine) rulesMuted(of func(*Mute) bool) (ids []string) {
	for _, list := range e.mutes.active {
		if i := slices.IndexFunc(list, of); i >= 0 {
			ids = append(ids, list[i].Rule)
		}
	}
	return ids
}

// muteRecords returns the active mutes, with the number of open findings that each of them hides.
func (e *Engine) muteRecords() (out []record.Mute) {
	counts := map[*Mute]uint64{}
	e.eachOpenFinding(func(_ *edge, r int, f *openFinding) {
		if f.muted {
			counts[e.muteOf(r, &f.last)]++
		}
	})
	if len(e.blind.names) > 0 && e.blindIsMuted() {
		counts[e.mutes.active[blindRule][0]]++
	}
	for _, list := range e.mutes.active {
		for _, m := range list {
			out = append(out, record.Mute{
				Rule: m.Rule, Peers: m.peers(), Ports: m.ports, Classes: m.classes, Until: m.Until, Reason: m.Reason,
				Findings: counts[m], EndsSoon: m.end != 0 && m.end-e.now <= int64(endsSoon), Namespace: m.Namespace,
			})
		}
	}
	return out
}

// mutedWords returns the clause of a sentence about why a finding of rule r is muted.
func (e *Engine) mutedWords(r int, f *openFinding) string {
	if m := e.muteOf(r, &f.last); m != nil && m.Until != "" {
		return "it is muted until " + m.Until + " (" + m.Reason + ")"
	}
	return "the rule is muted"
}
