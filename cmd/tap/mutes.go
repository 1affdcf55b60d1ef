package main

import (
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// sameMutes reports whether two lists have the same mutes in the same order.
func sameMutes(a, b []finding.Mute) bool {
	return slices.EqualFunc(a, b, func(a, b finding.Mute) bool { return a.Namespace == b.Namespace && a.String() == b.String() })
}

// logMutes logs, once for each mute, that it has neither an end nor a reason, or that it has ended.
func (t *tap) logMutes(now time.Time) {
	noted := map[string]bool{}
	for i := range t.muted {
		m := &t.muted[i]
		remark := ""
		switch {
		case m.IsBare():
			remark = "a mute has no end and no reason; see tap run --help"
		case m.HasEnded(now):
			remark = "a mute has ended; its findings are published again"
		default:
			continue
		}
		from := "TAP_MUTE"
		if m.Namespace {
			from = "the namespace's ConfigMap"
		}
		key := remark + from + m.String()
		if noted[key] = true; !t.noted[key] {
			t.log.Warn(remark, "mute", m.String(), "from", from)
		}
	}
	t.noted = noted
}
