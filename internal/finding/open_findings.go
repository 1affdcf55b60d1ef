package finding

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// The states of a finding, meshtls.finding.state.
const (
	stateOpen     = "open"     // the first hit
	stateOngoing  = "ongoing"  // further hits since the last record
	stateResolved = "resolved" // a whole window had judged connections and no hit
	// stateWithdrawn: the edge no longer breaks the rule because the expectation changed, or the
	// finding was muted, or the tap stopped.
	stateWithdrawn = "withdrawn"
)

// openFinding is the finding of one rule on one edge. A resolved finding is retained, because the
// totals include it and it may open again.
type openFinding struct {
	open      bool
	severity  int // the highest severity of its hits
	expect    Expect
	group     string // meshtls.finding.group_id
	firstSeen int64  // start of the first hit, ns since the epoch
	lastSeen  int64  // time of the latest hit
	count     uint64 // hits since the finding opened
	total     uint64 // hits in the whole run
	pending   uint64 // hits since the last record
	reported  int64  // start of the window of the last record
	last      verdict.Judged
	why       string          // event.reason, set while the withdrawal is emitted
	announced bool            // since it opened, it had a record of its own
	yielded   bool            // of plaintext-edge: credentials-in-clear alerted instead, see yieldsToCredentials
	folded    bool            // the fold of its rule counts it, because the budget was spent
	carried   uint64          // of edge-unjudged: connections that it has counted and that continue in the next window
	inFold    uint64          // hits that the fold counts
	covers    [ruleCount]bool // rules that its connections also break, which have no finding for them

	muted      bool    // a mute selects each of its connections; it is not published
	places     []place // the places of its connections, by which mutes select them
	morePlaces bool    // it has or may have connections at further places
}

// ongoingPerWindow is the largest number of ongoing findings that the end of a window emits. It
// keeps a pod with 50 edges at 0.03 records/s or less. In an hour such a pod emits 50 postures, 3
// postures of the aggregate edges (pod, DNS, probes), 12 heartbeats and the ongoing findings. Hits
// of further findings are still counted, and these findings come first at the end of the next
// window.
const ongoingPerWindow = 5

// addHits counts n connections of edge g that break rule r; j is the latest of them. It emits the
// finding at once if the finding opens or becomes more severe, within the budget of the window.
func (e *Engine) addHits(g *edge, r int, j *verdict.Judged, x Expect, severity int, n uint64) {
	f := g.findings[r]
	if f == nil {
		f = &openFinding{}
		g.findings[r] = f
	}

	copyJudged(&f.last, j)
	f.lastSeen = e.now
	f.total += n
	if !f.open {
		*f = openFinding{open: true, firstSeen: j.Start, lastSeen: e.now, total: f.total, last: f.last, covers: f.covers, group: e.groupID(r, j), muted: true}
	}
	shown := e.addPlace(g, r, f, j, n)

	f.count += n
	f.pending += n
	worse := severity > f.severity
	if worse {
		f.severity, f.expect = severity, x
	}

	if shown {
		n = f.count // no record and no fold has counted the hits while they were muted
	}
	if worse || f.folded || shown {
		e.announce(g, r, f, n)
	}
}

// retractHit subtracts a connection that turned out to have another verdict or to belong to another
// edge. If the connection was the only hit, the finding is retracted at once (count 0).
func (e *Engine) retractHit(g *edge, r int) {
	f := g.findings[r]
	f.count -= min(f.count, 1)
	f.total -= min(f.total, 1)
	f.pending = min(f.pending, f.count)
	ends := f.open && f.count == 0
	f.open = f.open && !ends
	if ends && f.muted {
		g.muted &^= 1 << r
	}
	if f.folded {
		e.retractFolded(r, ends)
	}
	if ends && !f.isUnpublished() {
		e.emitFinding(g, r, f, kindEvent, stateResolved, e.now, e.coverageUntil(e.now))
	}
}

// reportOpenFindings emits open findings at the end of a window. A finding is resolved if the
// window was whole and had judged connections but no hit. It is ongoing if it has hits that no
// record has counted yet. It is also ongoing if it was not emitted in this window and a live
// connection still breaks the rule. The end of a whole window emits at most ongoingPerWindow
// ongoing findings, folds included.
func (e *Engine) reportOpenFindings(end int64, whole bool) {
	type telling struct {
		g *edge
		r int
		f *openFinding
	}

	var ongoing []telling
	cover := e.coverageUntil(end)
	for _, g := range e.order {
		for r, f := range g.findings {
			if f == nil || !f.open {
				continue
			}
			lives := g.counts.live[ruleBit+r] > 0
			hits := f.pending > 0 || g.counts.ended[ruleBit+r] > 0
			resolves := whole && !lives && !hits && f.reported < e.window.start && g.judged() > 0
			switch {
			case resolves:
				f.open = false
				if !f.isUnpublished() {
					e.emitFinding(g, r, f, kindEvent, stateResolved, end, cover)
				}
			case f.muted:
				f.pending = 0
			case f.folded:
				f.pending = 0 // the fold counts its hits
			case f.pending > 0 || (lives || f.carried > 0) && f.reported < e.window.start && whole:
				ongoing = append(ongoing, telling{g, r, f})
			}
		}
	}

	order.Stable(ongoing, func(a, b telling) int {
		return cmp.Or(cmp.Compare(a.f.reported, b.f.reported), cmp.Compare(b.f.severity, a.f.severity))
	})

	if folds := e.reportFolds(end, whole); whole {
		ongoing = ongoing[:min(len(ongoing), max(ongoingPerWindow-folds, 0))]
	}

	for _, o := range ongoing {
		e.emitFinding(o.g, o.r, o.f, kindEvent, stateOngoing, end, cover)
	}
}

// emitFinding emits a record of finding f, of rule r on edge g, in the given state. kind is its event.kind.
func (e *Engine) emitFinding(g *edge, r int, f *openFinding, kind, state string, at int64, cover span) {
	f.pending, f.reported = 0, e.window.start
	if !e.cfg.Findings || f.muted {
		return
	}
	h := header{
		dataset: DatasetFinding, kind: kind, category: ofDetection, types: findingTypes, action: state, reason: f.why, message: e.sentence(g, r, f, state, &cover),
		time: at, start: f.firstSeen, end: max(f.lastSeen, f.firstSeen),
		rule: &rules[r], severity: severityIn(state, f.severity), edge: g.key, subject: []byte(g.key), window: e.window.start, nth: e.recordNumber(g),
	}
	out := e.startRecord(&h)
	e.setConn(out, &f.last, false)
	setRelated(out, &f.last)
	out.Threat = threatIn(rules[r].id, f.last.Verdict)
	e.setJudgement(&out.Meshtls, &f.last, f.expect)
	g.setMesh(&out.Meshtls)
	out.Meshtls.Finding = record.Finding{GroupID: f.group, State: state, Count: f.count, FirstSeen: record.Time(f.firstSeen)}
	e.foldOf(r, f).setFold(&out.Meshtls.Finding)
	out.Meshtls.Edge = g.findingEdge()
	out.Meshtls.Coverage = e.coverageOf(&cover, nil)
	if kind == kindAlert && e.cfg.Evidence != nil {
		out.Meshtls.Evidence = e.cfg.Evidence(&Alert{ID: e.id, Rule: rules[r].id, Message: h.message, Key: e.recordKey(&h), Connection: &f.last})
	}
	e.emitRecord(&h, f.last.Interface)
}

var findingTypes = []string{"connection", "info"}

// Values of event.kind for findings.
const (
	kindAlert = "alert" // a person should look: the finding opens or becomes more severe
	kindEvent = "event" // any other record of a finding
)

// severityIn returns the event.severity of a finding's record in a state. A finding that has ended has 0.
func severityIn(state string, severity int) int {
	if state == stateResolved || state == stateWithdrawn {
		return 0
	}
	return severity
}

// recordNumber returns the number of an edge's next record in this window, as part of event.id. No
// number repeats, even if Flush has split the window or the edge was removed and created again. It
// relies on fewer than 2^32 records of an edge in a window.
func (e *Engine) recordNumber(g *edge) uint64 {
	if g.recordWindow != e.window.start {
		g.recordCount, g.recordWindow = 0, e.window.start
	}
	g.recordCount++
	return g.removals<<32 | g.recordCount
}

// sentence returns the message of a finding: client, protocol, server, port and expectation.
func (e *Engine) sentence(g *edge, r int, f *openFinding, state string, cover *span) string {
	if o := e.foldOf(r, f); o != nil {
		return e.foldSentence(r, o, state)
	}

	j := &f.last
	from, to := e.endNames(j)
	where := fmt.Sprintf("%s port %d", to, j.Destination.Port)
	how := breachOf(r, f)
	switch {
	case state == stateWithdrawn && f.why == whyMuted:
		return fmt.Sprintf("%s from %s to %s is no longer reported: %s.", upperFirst(how.what), from, where, e.mutedWords(r, f))
	case state == stateWithdrawn:
		return fmt.Sprintf("%s from %s to %s no longer breaks the rule, because the expectation changed: %s.", upperFirst(how.what), from, where, f.expect.words())
	case state == stateResolved && f.count == 0:
		return fmt.Sprintf("%s from %s to %s is retracted: later packets showed that the connection was something else.", upperFirst(how.what), from, where)
	case state == stateResolved:
		return fmt.Sprintf("%s from %s to %s was not seen again: %s judged in %s, none like it.",
			upperFirst(how.what), from, where, connections(g.judged()), clock(cover.from, cover.to))
	}

	what := fmt.Sprintf("%s %s %s to %s%s", from, how.verb, how.what, where, how.clause)

	what += e.policy.unprotected(j, f.expect) + perhapsOwn(j)
	if g.overflow {
		what += " (one of the edges that are counted together because there are too many)"
	}

	if state == stateOpen && f.count == 1 {
		return what + "."
	}
	return fmt.Sprintf("%s: %s since %s.", what, connections(f.count), time.Unix(0, f.firstSeen).UTC().Format("2006-01-02 15:04:05Z"))
}

// breachOf describes how the latest connection of a finding breaks rule r.
func breachOf(r int, f *openFinding) breach {
	j := &f.last
	switch words := rules[r].words; {
	case words != nil:
		return words(j)
	case r == mtlsDowngrade:
		return breach{"spoke", describe(j), ", which was mutual TLS before"}
	default:
		return breach{"spoke", describe(j), ", where " + f.expect.words()}
	}
}

// endNames returns the client and the server of a connection for a sentence.
func (e *Engine) endNames(j *verdict.Judged) (from, to string) {
	local := e.cfg.Identity.workload()
	var names [2]string
	switch j.Direction {
	case verdict.DirectionIngress:
		names = [2]string{j.PeerName, local}
	case verdict.DirectionEgress:
		names = [2]string{local, j.PeerName}
	default:
		names[1] = j.PeerName
	}
	ends := [2]string{j.Source.Addr.Unmap().String(), j.Destination.Addr.Unmap().String()}
	for i, name := range names {
		if name = strings.Trim(name, "[]"); name != "" && name != ends[i] {
			ends[i] = string(appendName(nil, name)) + " (" + ends[i] + ")"
		}
	}
	return ends[0], ends[1]
}

func connections(n uint64) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

func upperFirst(s string) string {
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}
