package finding_test

import (
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestUnreadIsNotUnjudged: segments that no end has read, which anybody can send, do not raise edge-unjudged. They do not hide
// connections that do, either.
func TestUnreadIsNotUnjudged(t *testing.T) {
	for _, c := range []struct {
		reason       string
		unread, more uint64
		want         bool
	}{
		{"never_answered", 40, 0, false},
		{"answered_by_resets", 40, 9, false},
		{"never_answered", 40, 10, true},
	} {
		r := newRig(t, finding.Config{Window: time.Hour})
		for id := range c.unread + c.more {
			j := talk(id, noon+int64(id)*second, verdict.Unknown, "", 9000)
			if id >= c.more {
				j.Reasons = []string{c.reason}
			}
			r.e.Add(j)
		}
		r.e.Flush(noon + 20*minute)
		found := false
		for _, d := range r.of(finding.DatasetFinding) {
			found = found || d.text("rule.id") == "edge-unjudged"
		}
		if found != c.want {
			t.Errorf("%d connections with %s and %d others: found %t", c.unread, c.reason, c.more, found)
		}
	}
}
