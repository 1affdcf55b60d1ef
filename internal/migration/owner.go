package migration

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// margin is how far the records of two taps may be apart, in ns: a tap that runs publishes
// something in each window of 10 minutes.
const margin = minWatched

// owner returns the workload that had an address when the connections of an edge were seen,
// empty if that is unknown. An address is its pod's only while the pod has it. Its tap's records
// show when that was: another pod can have the address before and after.
func (v *view) owner(a netip.Addr, e *entry) (name string) {
	for _, t := range v.ids[a] {
		switch {
		case !t.ran(e) || t.name == name:
		case name != "":
			return "" // of several
		default:
			name = t.name
		}
	}
	return name
}

// ran reports whether a tap was running at the time of all records of an edge. The records of an
// input may end before those of another tap, but not where a tap reports its own start or stop.
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
		return true // without times nothing can be said
	}
	if !begun {
		start -= margin
	}
	if !stopped {
		end += margin
	}
	return e.earliestEnd >= start && e.latestStart <= end
}

// addTimes records the times of a record of an edge.
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
