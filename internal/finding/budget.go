package finding

import (
	"cmp"
	"fmt"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// defaultAnnouncements is the default of Config.Announcements.
const defaultAnnouncements = 20

// budget counts the records of the open window that are limited by Config.Announcements.
type budget struct {
	findings      [ruleCount]int // findings that opened or became more severe, by rule
	new, worsened int            // postures of new edges, and of edges that became worse
}

// spend reports whether one more of n records may be emitted in this window, and counts it if so.
func (e *Engine) spend(n *int, limit int) bool {
	if e.cfg.Announcements < 0 {
		return true
	}
	if *n >= limit {
		return false
	}
	*n++
	return true
}

// spendFinding reports whether a finding of rule r whose latest connection is j may have a record of its
// own now. A connection without payload from the pod may be forged by anybody who reaches the pod, so such
// connections have only half of the budget.
func (e *Engine) spendFinding(r int, j *verdict.Judged) bool {
	limit := e.cfg.Announcements
	if !spoken(j) {
		limit = (limit + 1) / 2
	}
	return e.spend(&e.window.budget.findings[r], limit)
}

// fold is the finding that counts the findings of one rule that have no record of their own, because the
// budget of the window in which they opened was spent. Its edge is an aggregate edge that is not in
// Engine.edges.
type fold struct {
	openFinding
	edge    edge
	edges   uint64 // findings folded since it opened
	alerted int    // the highest severity for which it has alerted, 0: none
}

// foldedKey is the key of the edge of each fold.
const foldedKey = "folded"

// isUnpublished reports whether an open finding had no record of its own.
func (f *openFinding) isUnpublished() bool { return f.folded && !f.announced }

// announce emits a finding that opens or becomes more severe, or that was folded. If the budget is spent, it
// folds the finding, of which n hits are new.
func (e *Engine) announce(g *edge, r int, f *openFinding, n uint64) {
	switch {
	case f.muted:
		return
	case e.cfg.Findings && !e.spendFinding(r, &f.last):
		e.foldFinding(g, r, f, n)
		return
	}

	state := stateOpen
	if f.announced {
		state = stateOngoing
	}
	kind := e.kindOf(g, r, f)
	e.addAnnounced(g, r, f)
	f.announced, f.folded, f.inFold, f.yielded = true, false, 0, r == plaintextEdge && e.yieldsToCredentials(f)
	e.emitFinding(g, r, f, kind, state, e.now, e.coverageUntil(e.now))
}

// groupSilence is the time without a hit after which an open finding no longer represents its group.
const groupSilence = 24 * time.Hour

// kindOf returns the event.kind of a finding on edge g that opens or becomes more severe. It is an alert unless
// another rule has alerted about the cause, or the tap has already alerted about the group with this severity:
// another edge of the group has an open finding of at least this severity with a record of its own, and with a
// connection within groupSilence.
func (e *Engine) kindOf(g *edge, r int, f *openFinding) string {
	if e.hasAlerted(g, r, f) {
		return kindEvent
	}
	for _, other := range e.announcedEdges(r, f.group) {
		o := other.findings[r]
		if o == nil || o == f || !o.open || !o.announced || o.folded || o.group != f.group || o.severity < f.severity {
			continue
		}
		if other.counts.live[ruleBit+r] > 0 || e.now-o.lastSeen < int64(groupSilence) {
			return kindEvent
		}
	}
	return kindAlert
}

// groupKey identifies the findings of one rule in one group (meshtls.finding.group_id).
type groupKey struct {
	rule  int
	group string
}

// announcedEdges returns every edge with a finding of a rule in a group that has a record of its own. Some of the returned edges may no
// longer have one. The index saves a search of all edges for each finding, which takes minutes for a capture with some 10,000 edges.
// It is built again once a window has ended or an edge was removed, which bounds it.
func (e *Engine) announcedEdges(r int, group string) []*edge {
	if e.announced == nil {
		e.announced = map[groupKey][]*edge{}
		for _, g := range e.order {
			for r, f := range g.findings {
				if f != nil && f.announced {
					k := groupKey{r, f.group}
					e.announced[k] = append(e.announced[k], g)
				}
			}
		}
	}
	return e.announced[groupKey{r, group}]
}

// addAnnounced adds to the index an edge whose finding is about to have a record of its own.
func (e *Engine) addAnnounced(g *edge, r int, f *openFinding) {
	if e.announced != nil && !f.announced {
		k := groupKey{r, f.group}
		e.announced[k] = append(e.announced[k], g)
	}
}

// foldFinding adds n hits of a finding on edge g to the fold of rule r.
func (e *Engine) foldFinding(g *edge, r int, f *openFinding, n uint64) {
	o := &e.folds[r]
	opens := !o.open
	if opens {
		*o = fold{edge: edge{key: foldedKey, folded: true, recordCount: o.edge.recordCount, recordWindow: o.edge.recordWindow}}
		o.openFinding = openFinding{open: true, firstSeen: f.last.Start, expect: f.expect, group: e.foldGroup(r)}
	}

	if !f.folded {
		f.folded = true
		o.edges++
	}

	f.reported = e.window.start
	f.inFold += n
	o.count += n
	o.pending += n
	o.lastSeen = e.now
	o.expect = stricter(o.expect, f.expect)
	o.severity = max(o.severity, f.severity)
	copyJudged(&o.last, &f.last)
	kind := kindEvent
	if f.severity > o.alerted {
		if kind = e.kindOf(g, r, f); kind == kindAlert {
			o.alerted = f.severity
		}
	}

	if opens || kind == kindAlert {
		state := stateOngoing
		if opens {
			state = stateOpen
		}
		e.emitFold(r, kind, state, e.now)
	}
}

// foldGroup returns the group_id of a fold: it is the same for all replicas of the tapped workload.
func (e *Engine) foldGroup(r int) string {
	return digestOf(rules[r].id, foldedKey, e.cfg.Identity.Cluster, cmp.Or(e.cfg.Identity.workload(), e.cfg.Tap))
}

// retractFolded subtracts a hit of a folded finding from the fold of rule r. ended reports whether it was
// the finding's only hit.
func (e *Engine) retractFolded(r int, ended bool) {
	o := &e.folds[r]
	o.count -= min(o.count, 1)
	o.pending = min(o.pending, o.count)
	if ended {
		o.edges -= min(o.edges, 1)
	}
	if o.open && o.count == 0 {
		o.open = false
		e.emitFold(r, kindEvent, stateResolved, e.now)
	}
}

// reportFolds emits the folds at the end of a window. A fold is ongoing if it has hits that no record has
// counted yet. It is resolved if the window was whole and no folded finding is open any more. reportFolds
// returns the number of records that it emitted.
func (e *Engine) reportFolds(end int64, whole bool) (emitted int) {
	var open [ruleCount]bool
	e.eachOpenFinding(func(_ *edge, r int, f *openFinding) { open[r] = open[r] || f.folded })
	for r := range e.folds {
		switch o := &e.folds[r]; {
		case !o.open:
		case o.pending > 0:
			e.emitFold(r, kindEvent, stateOngoing, end)
			emitted++
		case whole && !open[r] && o.reported < e.window.start:
			o.open = false
			e.emitFold(r, kindEvent, stateResolved, end)
			emitted++
		}
	}
	return emitted
}

// emitFold emits a record of the fold of rule r.
func (e *Engine) emitFold(r int, kind, state string, at int64) {
	o := &e.folds[r]
	e.emitFinding(&o.edge, r, &o.openFinding, kind, state, at, e.coverageUntil(at))
}

// foldOf returns the fold of rule r if f is its finding, else nil.
func (e *Engine) foldOf(r int, f *openFinding) *fold {
	if o := &e.folds[r]; f == &o.openFinding {
		return o
	}
	return nil
}

// setFold sets the members of a record that only the finding of a fold has.
func (o *fold) setFold(f *record.Finding) {
	if o != nil {
		f.FoldedEdges = o.edges
	}
}

// foldSentence returns the message of a fold.
func (e *Engine) foldSentence(r int, o *fold, state string) string {
	edges := "1 more edge"
	if o.edges != 1 {
		edges = fmt.Sprintf("%d more edges", o.edges)
	}
	since := time.Unix(0, o.firstSeen).UTC().Format("2006-01-02 15:04:05Z")
	switch {
	case state == stateWithdrawn:
		return fmt.Sprintf("%s with findings of %s are no longer counted: the rule is muted.", upperFirst(edges), rules[r].id)
	case state == stateResolved && o.count == 0:
		return fmt.Sprintf("The count of further edges with findings of %s is retracted: later packets showed that their connections were something else.", rules[r].id)
	case state == stateResolved:
		return fmt.Sprintf("%s with findings of %s were counted since %s. None is left: each was resolved, has a record of its own, or was evicted.", upperFirst(edges), rules[r].id, since)
	}
	from, to := e.endNames(&o.last)
	how := breachOf(r, &o.openFinding)
	return fmt.Sprintf("%s with findings of %s, beyond the %d that may open in a window: %s since %s. In the latest, %s %s %s to %s port %d.",
		upperFirst(edges), rules[r].id, e.cfg.Announcements, connections(o.count), since, from, how.verb, how.what, to, o.last.Destination.Port)
}
