package finding

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// SelfTest has the results of the tap's checks at its start.
type SelfTest struct {
	Interfaces []string // captured interfaces
	Checks     []Check
	Gap        *Gap // time before the capture; nil: unknown
}

// Gap describes the time in the pod's network before the capture began.
type Gap struct {
	Network     int64  // creation of the pod's network, ns since the epoch; 0: unknown
	Captured    int64  // when the capture on all interfaces began, ns since the epoch; 0: not all are captured
	Connections uint64 // TCP connections opened or accepted in the pod's network in that time, by the kernel's count
}

// Check is the result of one check.
type Check struct {
	Name   string // short and stable, such as "capture_lo", "self_test"
	OK     bool
	Detail string // one line: the result, or the action to take if the check failed
}

// Started emits the record of the tap's start.
func (e *Engine) Started(now int64, t SelfTest) {
	e.Tick(now)
	e.emitTap(now, "started", "", &t)
}

// Degraded emits a record that the tap sees or delivers less than it should, with the reason.
func (e *Engine) Degraded(now int64, reason string) {
	e.Tick(now)
	e.emitTap(now, "degraded", reason, nil)
}

// Lost emits a record that an interface is not captured, with the reason. If this state lasts, a finding
// opens (see Config.Interfaces).
func (e *Engine) Lost(now int64, iface, reason string) {
	e.Tick(now)
	e.emitTapOf(now, "degraded", iface, reason, nil)
}

// Recovered emits a record about an interface that was lost and is captured again. In a compacted topic
// it replaces the record of Lost.
func (e *Engine) Recovered(now int64, iface string) {
	e.Tick(now)
	e.emitTapOf(now, "recovered", iface, "interface "+iface+" is captured again", nil)
	e.blind.next = 0
	e.pollInterfaces()
}

// Stopped emits a record that the tap ends, with the reason. Call Flush first.
func (e *Engine) Stopped(now int64, reason string) {
	e.endBlind(reason)
	e.emitTap(now, "stopped", reason, nil)
}

// Checked emits the record of `tap check` (event.action check). The record proves only that records can be
// published.
func (e *Engine) Checked(now int64) {
	e.Tick(now)
	e.emitTap(now, "check", "", nil)
}

// heartbeat emits a heartbeat when it is due. Missed heartbeats are not emitted later.
func (e *Engine) heartbeat() {
	every := int64(e.cfg.Heartbeat)
	if every <= 0 || e.now < e.nextHeartbeat {
		return
	}
	e.nextHeartbeat += ((e.now-e.nextHeartbeat)/every + 1) * every
	e.emitTap(e.now, "heartbeat", "", nil)
}

// tapTypes maps event.action to event.type.
var tapTypes = map[string][]string{"check": {"info"}, "started": {"start"}, "heartbeat": {"info"}, "degraded": {"change"}, "recovered": {"change"}, "stopped": {"end"}, muteEnded: {"change"}}

// emitTap emits a record of the tap itself. The coverage in the record covers the whole run.
func (e *Engine) emitTap(now int64, action, reason string, t *SelfTest) {
	e.emitTapOf(now, action, "", reason, t)
}

// emitTapOf emits a record of the tap itself, or of one interface if iface is set. The degraded and
// recovered records of one interface have the same key, so each replaces the one before. Each mute has a key of its own.
func (e *Engine) emitTapOf(now int64, action, iface, reason string, t *SelfTest) {
	kept := action
	switch {
	case iface != "":
		kept = "degraded|" + iface
	case action == muteEnded:
		kept = action + "|" + digestOf(reason)
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
	m.Tap.Counters, m.Tap.Mutes = total.Counters, e.muteRecords()
	if t != nil {
		t.set(m.Tap)
	}

	e.emitRecord(&h, iface)
}

// tapState returns the members of meshtls.tap that every record about the tap has.
func (e *Engine) tapState() *record.Tap {
	out := &record.Tap{
		Connections: uint64(len(e.liveConnections)), Edges: uint64(len(e.order)), EdgesGone: e.totals.evictedEdges, EdgesFolded: e.totals.foldedEdges, PosturesDeferred: e.totals.deferredPostures,
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
