package migration

import (
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// margin is how long, in ns, a tap may have run before its first and after its last record: a tap publishes a
// heartbeat every 5 minutes.
const margin = int64(10 * time.Minute)

// owner returns the workload that had an address when the connections of an edge were seen. It returns an empty name if
// the workload is unknown or ambiguous. Another pod can have the address earlier and later, so only taps that were
// running at that time count.
func (v *view) owner(a netip.Addr, e *entry) (name string) {
	for _, t := range v.ids[a] {
		switch {
		case !t.ran(e) || t.name == name:
		case name != "":
			return "" // several workloads had the address
		default:
			name = t.name
		}
	}
	return name
}

// ran reports whether a tap was running during the records of an edge. A tap that did not report its start
// or stop may have run for margin before its first or after its last record.
func (t *tap) ran(e *entry) bool {
	start, end := int64(0), int64(0)
	begun, stopped := false, false
	for _, u := range t.runs {
		if u.start == 0 {
			continue
		}
		if start == 0 || u.start < start {
			start, begun = u.start, u.hasStart
		}
		if u.end > end {
			end, stopped = u.end, u.hasStop
		}
	}

	if start == 0 || e.earliestEnd == 0 {
		return true // no time is known
	}

	if !begun {
		start -= margin
	}

	if !stopped {
		end += margin
	}
	return e.earliestEnd >= start && e.latestStart <= end
}

// addTimes updates the earliest end and the latest start of the edge's records.
func (g *entry) addTimes(r *record.Record) {
	from, to := stamp(r.Event.Start), stamp(r.Event.End)
	if to == 0 || to < from {
		return
	}
	if g.earliestEnd == 0 || to < g.earliestEnd {
		g.earliestEnd = to
	}
	g.latestStart = max(g.latestStart, from)
}
