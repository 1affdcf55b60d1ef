package main

import "time"

// ending is why capturing has ended, if it has. A tap that has ended goes on only if the
// configuration says so: a key that is gone, or a ConfigMap that is deleted, turns no
// tap on again.
type ending struct {
	off  bool // enabled was false, and has not been true since
	over bool // the time was over, and no until after it was read since
}

// look takes in what is ordered now and returns why nothing is to be captured, empty if
// something is. The until of the ConfigMap counts in place of until (TAP_UNTIL), sooner or
// later: it follows the namespace's annotation, which TAP_UNTIL was when the pod was made.
// own (TAP_OWN_UNTIL), the pod's own end, counts whatever the ConfigMap says.
func (e *ending) look(o *orders, until, own, now time.Time) string {
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
