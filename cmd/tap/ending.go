package main

import "time"

// ending records whether capturing has ended, and why. Once capturing has ended, only a value in the ConfigMap can start it again.
// Removing a key, or the ConfigMap, does not start it.
type ending struct {
	off  bool // enabled was false, and has not been true since
	over bool // the time was up, and the ConfigMap has had no later until since
}

// update applies the current orders to e. It returns the reason for which the tap must not capture, or "" if it must capture. until
// is TAP_UNTIL, a copy of the namespace's annotation from when the pod was created. The ConfigMap follows later changes of the
// annotation, so its until replaces TAP_UNTIL, whether it is earlier or later. own (TAP_OWN_UNTIL) is the pod's own end and always
// applies.
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
