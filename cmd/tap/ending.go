package main

import "time"

// ending records whether capturing has ended, and why. A tap that has ended captures again only if
// a value in the ConfigMap demands it: removing a key, or the ConfigMap, has no such effect.
type ending struct {
	off  bool // enabled was false, and has not been true since
	over bool // the time was up, and no later until was read since
}

// update applies the current orders to e. It returns the reason why the tap must not capture, or "" if it must. The ConfigMap's
// until replaces until (TAP_UNTIL), whether it is earlier or later: TAP_UNTIL is a copy of the namespace's annotation from when the
// pod was created, and the ConfigMap follows later changes of the annotation. own (TAP_OWN_UNTIL) is the pod's own end and always
// counts.
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
