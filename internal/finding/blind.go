package finding

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// InterfaceState is how the capture on one interface goes.
type InterfaceState struct {
	Name     string
	Captured bool
	Since    int64  // ns since the epoch: when that began
	Packets  uint64 // seen on it since the start
	Dropped  uint64 // lost by its ring since the start
	Error    string // why it is not captured, empty if it is
}

// tapBlind is the rule for a tap that does not see an interface that it should see. It is
// of the tap, not of an edge.
var tapBlind = rule{id: "tap-blind", name: "A tap sees nothing of an interface that it is to capture on"}

// severityBlind is tapBlind's event.severity: what is not seen is not known to be well.
const severityBlind = 73

const (
	// blindGrace is for how long an interface is not captured until that is a finding: one
	// that is opened again after a moment is no fault, nor is the start.
	blindGrace = 5 * time.Second
	// watchEvery is how often the interfaces are looked at.
	watchEvery = time.Second
)

// blindness is what the engine said of interfaces that are not captured.
type blindness struct {
	next     int64    // when to look again
	names    []string // those that the open finding is about; none: no finding is open
	first    int64    // since when the first of them was not captured
	reported int64    // start of the window of the last report
	nth      uint64
}

// interfaces asks for the state of the interfaces.
func (e *Engine) interfaces() []InterfaceState {
	if e.cfg.Interfaces == nil {
		return nil
	}
	return e.cfg.Interfaces()
}

// pollInterfaces looks at the interfaces. It opens a finding when one was not captured for
// blindGrace, says so again when others join or come back, and resolves it when all are.
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
		e.emitBlind(stateOpen, dark)
	case len(names) == 0:
		e.emitBlind(stateResolved, nil)
		e.blind.names = nil
	default:
		e.blind.names = names
		e.emitBlind(stateOngoing, dark)
	}
}

// uncaptured returns the interfaces that have not been captured for blindGrace.
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

// reportBlind says once a window that an open finding lasts.
func (e *Engine) reportBlind() {
	if len(e.blind.names) > 0 && e.blind.reported < e.window.start {
		e.emitBlind(stateOngoing, e.uncaptured(e.interfaces()))
	}
}

// endBlind withdraws an open finding: a tap that ended on purpose is not blind.
func (e *Engine) endBlind(why string) {
	if len(e.blind.names) > 0 {
		e.blindRecord(stateWithdrawn, why, fmt.Sprintf("The capture in %s ended (%s) before %s was seen.", e.podName(), why, strings.Join(e.blind.names, ", ")))
	}
	e.blind = blindness{}
}

// emitBlind emits the finding in a state; dark are the interfaces that are not captured.
func (e *Engine) emitBlind(state string, dark []InterfaceState) {
	message := fmt.Sprintf("Captured again in %s: %s, after %s without.", e.podName(), strings.Join(e.blind.names, ", "),
		time.Duration(e.now-e.blind.first).Round(time.Second))
	if state != stateResolved {
		message = fmt.Sprintf("%s is not seen on %s since %s: %s. What goes over it now is in no record.", e.podName(), strings.Join(namesOf(dark), ", "),
			time.Unix(0, e.blind.first).UTC().Format("2006-01-02 15:04:05Z"), reasons(dark))
	}
	e.blindRecord(state, "", message)
}

// reasons lists why interfaces are not captured, each once.
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

// podName names the tapped pod in a sentence.
func (e *Engine) podName() string {
	if name := e.cfg.Identity.workload(); name != "" {
		return name
	}
	return "the tap's pod"
}

// blindRecord emits the finding.
func (e *Engine) blindRecord(state, reason, message string) {
	e.blind.reported = e.window.start
	if e.isSuppressed(tapBlind.id) {
		return
	}
	e.blind.nth++
	cover := e.coverageUntil(e.now)
	h := header{
		dataset: DatasetFinding, kind: "alert", category: ofTap, types: tapFindingTypes, message: message, reason: reason,
		time: e.now, start: e.blind.first, end: e.now,
		rule: &tapBlind, severity: severityBlind, stateKey: tapBlind.id, subject: []byte(tapBlind.id), window: e.blind.first, nth: e.blind.nth,
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

// setInterfaces sets how the capture goes on each interface, and whether one is blind.
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
