package topology

import (
	"slices"
	"time"
)

// Bounds of a timeline.
const (
	maxPeriods = 128
	maxChanges = 64
)

// timeline holds the weakest verdict of periods of equal length, one second at first. If there are more than maxPeriods, the length doubles.
// So it does not depend on the order in which points are added.
type timeline struct {
	shift   uint // a period is 1<<shift seconds long
	periods []period
}

// period is the earliest time of the weakest verdict in one period.
type period struct {
	number int64
	at     int64 // ns since the epoch
	rank   int
}

// add adds a verdict that a connection had at a time.
func (t *timeline) add(at int64, rank int) {
	if at == 0 || rank == rankNone {
		return
	}
	t.insert(period{at / int64(time.Second) >> t.shift, at, rank})
	for len(t.periods) > maxPeriods {
		t.shift++
		old := t.periods
		t.periods = nil
		for _, p := range old {
			t.insert(period{p.number >> 1, p.at, p.rank})
		}
	}
}

func (t *timeline) insert(p period) {
	at, found := slices.BinarySearchFunc(t.periods, p.number, func(a period, n int64) int { return int(max(-1, min(1, a.number-n))) })
	if !found {
		t.periods = slices.Insert(t.periods, at, p)
		return
	}
	if was := &t.periods[at]; p.rank > was.rank || p.rank == was.rank && p.at < was.at {
		*was = p
	}
}

// merge adds the points of o.
func (t *timeline) merge(o *timeline) {
	for _, p := range o.periods {
		t.add(p.at, p.rank)
	}
}

// has reports whether a point lies between two times.
func (t *timeline) has(from, to int64) bool {
	return slices.ContainsFunc(t.periods, func(p period) bool { return p.at >= from && p.at <= to })
}

// changes returns the latest changes of the verdict.
func (t *timeline) changes() []Change {
	var out []Change
	last := rankNone
	for _, p := range t.periods {
		if p.rank != last {
			out = append(out, Change{At: time.Unix(0, p.at).UTC(), Verdict: verdictOf[p.rank]})
			last = p.rank
		}
	}
	return out[max(0, len(out)-maxChanges):]
}
