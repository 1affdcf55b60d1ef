package finding

import (
	"maps"
	"slices"
)

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
	e.watch()
}

// Stopped says that the tap ends, and why. Flush comes before it.
func (e *Engine) Stopped(now int64, reason string) {
	e.endBlind(reason)
	e.emitTap(now, "stopped", reason, nil)
}

// Checked says no more than that a record can be published.
func (e *Engine) Checked(now int64) {
	e.Tick(now)
	e.emitTap(now, "check", "", nil)
}

// heartbeat sends one when it is due. Those that were missed are not made up for.
func (e *Engine) heartbeat() {
	every := int64(e.cfg.Heartbeat)
	if every <= 0 || e.now < e.beat {
		return
	}
	e.beat += ((e.now-e.beat)/every + 1) * every
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
		dataset: DatasetTap, kind: "metric", category: "process", types: tapTypes[action], action: action, reason: reason,
		time: e.now, start: s.from, end: s.to, span: true, kept: kept,
		subject: []byte(action), window: e.now, nth: e.sequences[DatasetTap],
	}
	e.head(&h)
	enc := &e.enc
	e.openMeshTLS()
	enc.open("tap")
	e.encodeTapCounts()
	if t != nil {
		encodeSelfTest(enc, t)
	}
	enc.open("counters")
	for _, name := range slices.Sorted(maps.Keys(total.Counters)) {
		enc.uint(name, total.Counters[name])
	}
	enc.close()
	enc.close()
	e.encodeCoverage(&s, nil)
	e.closeMeshTLS()
	e.finish(&h, iface)
}

// encodeTapCounts writes what each record of meshtls.tap has.
func (e *Engine) encodeTapCounts() {
	enc := &e.enc
	enc.uint("connections", uint64(len(e.live)))
	enc.uint("edges", uint64(len(e.order)))
	enc.uint("edges_gone", e.totals.gone)
	enc.uint("edges_folded", e.totals.folded)
	e.encodeInterfaces(e.interfaces())
}

func encodeSelfTest(enc *encoder, t *SelfTest) {
	enc.list("interfaces", t.Interfaces)
	enc.open("checks")
	for _, c := range t.Checks {
		enc.open(c.Name)
		enc.bool("ok", c.OK)
		enc.str("detail", c.Detail)
		enc.close()
	}
	enc.close()
	if t.Gap != nil {
		encodeGap(enc, t.Gap)
	}
}

func encodeGap(enc *encoder, g *Gap) {
	enc.open("gap")
	if g.Network != 0 {
		enc.time("network_created", g.Network)
		if g.Captured != 0 {
			enc.uint("milliseconds", uint64(max(g.Captured-g.Network, 0))/1e6)
		}
	}
	enc.uint("connections", g.Connections)
	enc.close()
}
