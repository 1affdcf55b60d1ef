package finding

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// InterfaceState is the state of the capture on one interface.
type InterfaceState struct {
	Name     string
	Captured bool
	Since    int64  // start of the current state, captured or not, ns since the epoch
	Packets  uint64 // packets seen on the interface since the start
	Dropped  uint64 // packets lost since the start because the interface's ring was full
	Error    string // why the interface is not captured, empty if it is
}

// tapBlind is the rule that a tap must see every interface on which it should capture. Its findings
// are about the tap, not about an edge.
var tapBlind = rule{id: "tap-blind", name: "A tap does not capture on an interface that it should capture on"}

// severityBlind is tapBlind's event.severity (high): unseen traffic may be anything.
const severityBlind = 73

const (
	// blindGrace is how long an interface must remain uncaptured before a finding opens. The start
	// of the tap and a quick reopening of the ring take less time, and so open no finding.
	blindGrace = 5 * time.Second
	// watchEvery is the interval at which the interfaces are polled.
	watchEvery = time.Second
)

// blindness is the state of tapBlind's finding, which covers all interfaces that are not captured.
type blindness struct {
	next     int64    // time of the next poll
	names    []string // the interfaces of the open finding; none: no finding is open
	first    int64    // when the first of these interfaces ceased to be captured
	reported int64    // start of the window of the last report
	nth      uint64
}

// interfaces returns the state of the interfaces, nil for a file.
func (e *Engine) interfaces() []InterfaceState {
	if e.cfg.Interfaces == nil {
		return nil
	}
	return e.cfg.Interfaces()
}

// pollInterfaces opens a finding when an interface has not been captured for blindGrace. It reports
// the finding again when the set of such interfaces changes, and resolves it when all are captured.
func (e *Engine) pollInterfaces() {
	if e.cfg.Interfaces == nil || e.now < e.blind.next {
		return
	}

	e.blind.next = e.now + int64(watchEvery)
	states := e.interfaces()
	dark := e.uncaptured(states)
	was := e.blind.names
	switch names := namesOf(dark); {
	case slices.Equal(names, was):
	case len(was) == 0:
		e.blind.names, e.blind.first = names, earliest(dark)
		e.emitBlind(kindAlert, stateOpen, dark)
	case len(names) == 0:
		e.emitBlind(kindEvent, stateResolved, nil)
		e.blind.names = nil
	default:
		kind := kindEvent
		if slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(was, name) }) {
			kind = kindAlert
		}
		e.blind.names = names
		e.emitBlind(kind, stateOngoing, dark)
	}
}

// uncaptured returns the interfaces that have not been captured for blindGrace. It also returns the
// interfaces of the open finding that are still not captured.
func (e *Engine) uncaptured(states []InterfaceState) (out []InterfaceState) {
	for _, s := range states {
		told := slices.Contains(e.blind.names, s.Name)
		if !s.Captured && (told || e.now-max(s.Since, e.totals.start) >= int64(blindGrace)) {
			out = append(out, s)
		}
	}
	return out
}

func namesOf(states []InterfaceState) (out []string) {
	for _, s := range states {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return out
}

func earliest(states []InterfaceState) int64 {
	first := states[0].Since
	for _, s := range states {
		first = min(first, s.Since)
	}
	return first
}

// reportBlind emits an open finding once in each window.
func (e *Engine) reportBlind() {
	if len(e.blind.names) > 0 && e.blind.reported < e.window.start {
		e.emitBlind(kindEvent, stateOngoing, e.uncaptured(e.interfaces()))
	}
}

// endBlind withdraws the open finding: a tap that was told to stop is not blind.
func (e *Engine) endBlind(why string) {
	if len(e.blind.names) > 0 {
		e.blindRecord(kindEvent, stateWithdrawn, why, fmt.Sprintf("The capture in %s ended (%s) before the tap captured %s again.", e.podName(), why, strings.Join(e.blind.names, ", ")))
	}
	e.blind = blindness{}
}

// blindIsMuted reports whether the rule is muted.
func (e *Engine) blindIsMuted() bool { return len(e.mutes.active[blindRule]) > 0 }

// applyBlindMute withdraws the open finding if the rule is now muted, and publishes it as open if it no longer is; was reports
// whether the rule was muted before.
func (e *Engine) applyBlindMute(was bool) {
	muted := e.blindIsMuted()
	switch {
	case len(e.blind.names) == 0 || muted == was:
	case muted:
		active := e.mutes.active[blindRule]
		e.mutes.active[blindRule] = nil // the withdrawal is published
		e.blindRecord(kindEvent, stateWithdrawn, whyMuted, fmt.Sprintf("That the tap in %s does not capture on %s is no longer reported: the rule is muted.", e.podName(), strings.Join(e.blind.names, ", ")))
		e.mutes.active[blindRule] = active
	default:
		e.emitBlind(kindAlert, stateOpen, e.uncaptured(e.interfaces()))
	}
}

// emitBlind emits the finding in a state. kind is the record's event.kind; dark holds the interfaces that
// are not captured.
func (e *Engine) emitBlind(kind, state string, dark []InterfaceState) {
	message := fmt.Sprintf("The tap in %s captures on %s again, after %s without.", e.podName(), strings.Join(e.blind.names, ", "),
		time.Duration(e.now-e.blind.first).Round(time.Second))
	if state != stateResolved {
		message = fmt.Sprintf("The tap in %s has not captured on %s since %s: %s. No record covers the traffic there.", e.podName(), strings.Join(namesOf(dark), ", "),
			time.Unix(0, e.blind.first).UTC().Format("2006-01-02 15:04:05Z"), reasons(dark))
	}
	e.blindRecord(kind, state, "", message)
}

// reasons joins the errors of the interfaces, each error once.
func reasons(dark []InterfaceState) string {
	var out []string
	for _, s := range dark {
		if s.Error != "" && !slices.Contains(out, s.Error) {
			out = append(out, s.Error)
		}
	}
	if len(out) == 0 {
		return "no reason is known"
	}
	return strings.Join(out, "; ")
}

// podName returns the name of the tapped pod for a sentence.
func (e *Engine) podName() string {
	if name := e.cfg.Identity.workload(); name != "" {
		return name
	}
	return "this pod"
}

// blindRecord emits a record of the finding. kind is its event.kind.
func (e *Engine) blindRecord(kind, state, reason, message string) {
	e.blind.reported = e.window.start
	if !e.cfg.Findings || e.blindIsMuted() {
		return
	}

	e.blind.nth++
	cover := e.coverageUntil(e.now)
	h := header{
		dataset: DatasetFinding, kind: kind, category: ofTap, types: tapFindingTypes, action: state, reason: reason, message: message,
		time: e.now, start: e.blind.first, end: e.now,
		rule: &tapBlind, severity: severityIn(state, severityBlind), stateKey: tapBlind.id, subject: []byte(tapBlind.id), window: e.blind.first, nth: e.blind.nth,
	}

	m := &e.startRecord(&h).Meshtls
	m.Finding = record.Finding{
		GroupID: digestOf(tapBlind.id, e.cfg.Identity.Cluster, e.cfg.Identity.workload()), State: state,
		Count: uint64(len(e.blind.names)), FirstSeen: record.Time(e.blind.first),
	}

	m.Tap, m.Coverage = e.tapState(), e.coverageOf(&cover, nil)
	e.emitRecord(&h, "")
}

var tapFindingTypes = []string{"info"}

// setInterfaces sets the members of t with the state of each interface, and reports in t whether
// any is not captured.
func setInterfaces(t *record.Tap, states []InterfaceState) {
	if len(states) == 0 {
		return
	}
	blind := slices.ContainsFunc(states, func(s InterfaceState) bool { return !s.Captured })
	t.Blind = &blind
	for _, s := range states {
		t.InterfaceStates = append(t.InterfaceStates, record.Interface{
			Name: s.Name, Captured: s.Captured, Since: record.Time(s.Since), Packets: s.Packets, Dropped: s.Dropped, Error: s.Error,
		})
	}
}
