package main

import (
	"strings"
	"testing"
)

// TestBlindTapLive: a tap that cannot capture on an interface publishes a finding. Until the interface exists, each record of the tap's
// own state reports the problem too.
func TestBlindTapLive(t *testing.T) {
	t.Parallel()
	a, b := pods(t)
	tap := a.start(t, []string{"TAP_INTERFACES=eth0,net1", "TAP_EMIT=findings,posture"}, buildTap(t), "run")
	blind := func(state string) func(l string) bool {
		return func(l string) bool {
			return strings.Contains(l, `"id":"tap-blind"`) && strings.Contains(l, `"state":"`+state+`"`) && strings.Contains(l, `"name":"net1","captured":`+map[string]string{"open": "false", "resolved": "true"}[state])
		}
	}
	records := tap.line(t, blind("open"))
	open := records[len(records)-1]
	if !strings.Contains(open, `"severity":73`) || !strings.Contains(open, `"name":"eth0","captured":true`) || !strings.Contains(open, "no such") {
		t.Errorf("open: %s", open)
	}
	ip(t, "-n", a.name, "link", "add", "net1", "type", "veth", "peer", "name", "net1", "netns", b.name)
	for _, p := range []pod{a, b} {
		ip(t, "-n", p.name, "link", "set", "net1", "up")
	}
	tap.line(t, blind("resolved"))
	stopped := false
	for _, l := range tap.end(t) {
		if strings.Contains(l, `"action":"stopped"`) {
			stopped = strings.Contains(l, `"blind":false`) && strings.Count(l, `"captured":true`) == 2
		}
		if strings.Contains(l, `"withdrawn"`) || strings.Contains(l, `"id":"tap-blind"`) {
			t.Errorf("ended on purpose: %s", l)
		}
	}
	if !stopped {
		t.Error("no record of the end says that both interfaces were captured until then")
	}
}
