package main

import "time"

// ending is why capturing has ended, if it has. A tap that has ended captures again only if the
// ConfigMap demands it: removing a key, or the ConfigMap, has no such effect.
type ending struct {
	off  bool // enabled was false, and has not been true since
	over bool // the time was up, and no later until was read since
}

// update updates e by the current orders and returns why nothing is to be captured, empty if something is. The ConfigMap's until
// replaces until (TAP_UNTIL), whether it is earlier or later: it follows the namespace's annotation, which TAP_UNTIL was copied from
// when the pod was created. own (TAP_OWN_UNTIL) is the pod's own end and always counts.
func (e *ending) update(o *orders, until, own, now time.Time) (reason string) {
	if o.hasUntil {
		until = o.until
	}
	past := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	e.off = o.off || e.off && !o.on
	e.over = past(until) || past(own) || e.over && !o.until.After(now)
	switch {
	case e.off:
		return "disabled"
	case e.over:
		return "until"
	}
	return ""
}
