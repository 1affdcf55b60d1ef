package finding

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// SelfTest is what the tap found out of itself at its start.
type SelfTest struct {
	Interfaces []string // that are captured on
	Checks     []Check
	Gap        *Gap // what was before the capture; nil: nothing is known of it
}

// Gap is what passed in the pod's network before the capture began.
type Gap struct {
	Network     int64  // when that network came to be, ns since the epoch; 0: not known
	Captured    int64  // since when all interfaces are captured, ns since the epoch; 0: not all are
	Connections uint64 // TCP connections that were opened or accepted there before, by the system's count
}

// Check is one thing that was tried.
type Check struct {
	Name   string // short and stable, such as "ring", "filter", "canary"
	OK     bool
	Detail string // one line; where not OK, what to do
}

// Started says that the tap is at work.
func (e *Engine) Started(now int64, t SelfTest) {
	e.Tick(now)
	e.emitTap(now, "started", "", &t)
}

// Degraded says that the tap sees or delivers less than it should, and why.
func (e *Engine) Degraded(now int64, reason string) {
	e.Tick(now)
	e.emitTap(now, "degraded", reason, nil)
}

// Lost says that an interface is not captured, and why. It is a finding as well where that
// lasts; see Config.Interfaces.
func (e *Engine) Lost(now int64, iface, reason string) {
	e.Tick(now)
	e.emitTapOf(now, "degraded", iface, reason, nil)
}

// Recovered says that an interface that was lost is captured again. The record replaces
// that of Lost in a compacted topic.
func (e *Engine) Recovered(now int64, iface string) {
	e.Tick(now)
	e.emitTapOf(now, "recovered", iface, "interface "+iface+" is captured again", nil)
	e.blind.next = 0
	e.pollInterfaces()
}

// Stopped says that the tap ends, and why. Flush comes before it.
func (e *Engine) Stopped(now int64, reason string) {
	e.endBlind(reason)
	e.emitTap(now, "stopped", reason, nil)
}

// Checked emits the record of `tap check` (event.action check). It proves only that a record can be published.
func (e *Engine) Checked(now int64) {
	e.Tick(now)
	e.emitTap(now, "check", "", nil)
}

// heartbeat sends one when it is due. Those that were missed are not made up for.
func (e *Engine) heartbeat() {
	every := int64(e.cfg.Heartbeat)
	if every <= 0 || e.now < e.nextHeartbeat {
		return
	}
	e.nextHeartbeat += ((e.now-e.nextHeartbeat)/every + 1) * every
	e.emitTap(e.now, "heartbeat", "", nil)
}

// tapTypes are event.type by event.action.
var tapTypes = map[string][]string{"check": {"info"}, "started": {"start"}, "heartbeat": {"info"}, "degraded": {"change"}, "recovered": {"change"}, "stopped": {"end"}}

// emitTap emits a record of the tap itself. Its coverage is that of the whole run.
func (e *Engine) emitTap(now int64, action, reason string, t *SelfTest) {
	e.emitTapOf(now, action, "", reason, t)
}

// emitTapOf emits a record of the tap itself, of one of its interfaces where that is given.
// What was degraded and has recovered is one state, and has one key.
func (e *Engine) emitTapOf(now int64, action, iface, reason string, t *SelfTest) {
	kept := action
	if iface != "" {
		kept = "degraded|" + iface
	}
	e.now = max(e.now, now)
	total := e.coverage()
	s := span{from: e.totals.start, to: e.now, Coverage: total, known: e.cfg.Coverage != nil}
	h := header{
		dataset: DatasetTap, kind: "metric", category: ofTap, types: tapTypes[action], action: action, reason: reason,
		time: e.now, start: s.from, end: s.to, stateKey: kept,
		subject: []byte(action), window: e.now, nth: e.sequences[DatasetTap],
	}
	m := &e.startRecord(&h).Meshtls
	m.Tap, m.Coverage = e.tapState(), e.coverageOf(&s, nil)
	m.Tap.Counters = total.Counters
	if t != nil {
		t.set(m.Tap)
	}
	e.emitRecord(&h, iface)
}

// tapState returns what each record about the tap has of meshtls.tap.
func (e *Engine) tapState() *record.Tap {
	out := &record.Tap{
		Connections: uint64(len(e.liveConnections)), Edges: uint64(len(e.order)), EdgesGone: e.totals.evictedEdges, EdgesFolded: e.totals.foldedEdges,
	}
	setInterfaces(out, e.interfaces())
	return out
}

func (t *SelfTest) set(out *record.Tap) {
	out.Interfaces = t.Interfaces
	out.Checks = make(map[string]record.Check, len(t.Checks))
	for _, c := range t.Checks {
		out.Checks[c.Name] = record.Check{OK: c.OK, Detail: c.Detail}
	}
	if t.Gap != nil {
		out.Gap = t.Gap.record()
	}
}

func (g *Gap) record() *record.Gap {
	out := &record.Gap{NetworkCreated: record.Time(g.Network), Connections: g.Connections}
	if g.Network != 0 && g.Captured != 0 {
		ms := uint64(max(g.Captured-g.Network, 0)) / 1e6
		out.Milliseconds = &ms
	}
	return out
}
