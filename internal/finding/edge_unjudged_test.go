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

// TestUnjudgedIsCountedOnce: a connection that lives for several windows counts once in the finding. A window in which others follow it
// counts those, and a finding that opens again counts all connections of its window.
func TestUnjudgedIsCountedOnce(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Tick(noon)
	unknown := func(id uint64, start int64) *verdict.Judged { return talk(id, start, verdict.Unknown, "", 9000) }
	add := func(from, to uint64, start int64, change func(*verdict.Judged) *verdict.Judged) {
		for id := from; id <= to; id++ {
			r.e.Add(change(unknown(id, start)))
		}
	}
	ended := func(j *verdict.Judged) *verdict.Judged { return j }
	window := func(n int64) { r.e.Tick(noon + n*10*minute) }
	add(1, 10, noon, living)
	window(1)
	window(2) // they continue
	add(11, 13, noon+21*minute, ended)
	window(3)
	for id := uint64(1); id <= 9; id++ { // one continues
		j := unknown(id, noon)
		j.Last = noon + 31*minute
		r.e.Add(j)
	}
	window(4)
	add(14, 20, noon+41*minute, ended) // too few
	window(5)
	add(21, 29, noon+51*minute, ended)
	window(6)
	r.e.Add(oneWayTo9000(30, noon+61*minute))
	window(7)
	add(31, 40, noon+71*minute, ended)
	window(8)
	equal(t, r.findings(), []string{
		"edge-unjudged open 21 x10", "edge-unjudged ongoing 21 x10", "edge-unjudged ongoing 21 x13", "edge-unjudged ongoing 21 x13",
		"edge-unjudged ongoing 21 x13", "edge-unjudged ongoing 21 x22", "edge-unjudged resolved 0 x22", "edge-unjudged open 21 x11",
	})
}

// oneWayTo9000 returns a judged connection on the edge of the unjudged ones.
func oneWayTo9000(id uint64, start int64) *verdict.Judged {
	j := oneWay(id, start)
	j.Destination.Port, j.PeerName, j.PeerNameBasis = 9000, "", ""
	return j
}
