package topology

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Tap is one tapped pod, or one capture file, with the times and losses that it reported.
type Tap struct {
	Name    string // NAMESPACE/POD, or the workload if the pod is not known; for captures, their names; "" for taps beyond the bound
	Capture bool   // a capture file
	First   time.Time
	Last    time.Time // of its records; both are zero if they have no time
	Packets uint64    // packets that it saw, without those that it lost
	Dropped uint64    // packets that it lost
	Older   uint64    // connections older than it
}

// Taps returns the taps whose records were added, sorted by their names.
func (g *Graph) Taps() []Tap {
	var out []Tap
	for _, t := range g.taps {
		x := Tap{Name: t.name(), Capture: t.capture}
		for _, r := range t.runs {
			x.Packets += r.capture.Packets
			x.Dropped += r.capture.Dropped
			x.Older += r.capture.Older
			if at := time.Unix(0, r.first).UTC(); r.first != 0 && (x.First.IsZero() || at.Before(x.First)) {
				x.First = at
			}
			if at := time.Unix(0, r.last).UTC(); r.last != 0 && at.After(x.Last) {
				x.Last = at
			}
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Tap) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (t *tap) name() string {
	name := t.pod
	switch {
	case t.capture:
		return strings.Join(slices.Sorted(maps.Keys(t.runs)), ", ")
	case name == "":
		name = t.workload
	}
	if name == "" || t.namespace == "" {
		return name
	}
	return t.namespace + "/" + name
}
