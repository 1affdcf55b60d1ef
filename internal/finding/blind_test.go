package finding_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// sight holds the states of the interfaces that a test reports to the engine.
type sight struct{ states []finding.InterfaceState }

func (s *sight) set(now int64, name string, captured bool) {
	for i := range s.states {
		if x := &s.states[i]; x.Name == name {
			x.Captured, x.Since, x.Error = captured, now, ""
			if !captured {
				x.Error = "operation not permitted: give the container NET_RAW"
			}
		}
	}
}

func eyes(t *testing.T, cfg finding.Config) (*rig, *sight) {
	s := &sight{[]finding.InterfaceState{{Name: "eth0", Captured: true, Since: noon}, {Name: "lo", Captured: true, Since: noon}}}
	cfg.Tap, cfg.Identity, cfg.Interfaces = pod.UID, pod, func() []finding.InterfaceState { return s.states }
	return newRig(t, cfg), s
}

func (r *rig) blindStates() []string {
	var out []string
	severities := map[string]int64{"open": 73, "ongoing": 73}
	for _, d := range r.of(finding.DatasetFinding) {
		if d.text("rule.id") == "tap-blind" {
			out = append(out, d.text("meshtls.finding.state"))
			if d.number("event.severity") != severities[d.text("meshtls.finding.state")] || d.text("meshtls.finding.group_id") == "" {
				r.t.Errorf("severity %d, group %q", d.number("event.severity"), d.text("meshtls.finding.group_id"))
			}
		}
	}
	return out
}

// TestTapBlind: an interface that is not captured for some seconds opens a finding. The finding is emitted
// when it opens, once in each window, and when the interface is captured again.
func TestTapBlind(t *testing.T) {
	r, s := eyes(t, finding.Config{Window: 10 * time.Minute})
	s.set(noon, "eth0", false)
	s.set(noon, "lo", false)
	r.e.Started(noon, finding.SelfTest{})
	r.e.Lost(noon, "eth0", "operation not permitted: give the container NET_RAW")
	r.e.Tick(noon + 4*second)
	if got := r.blindStates(); got != nil {
		t.Errorf("findings within the grace time: %q", got)
	}
	r.e.Tick(noon + 6*second)
	open := r.of(finding.DatasetFinding)
	if got := r.blindStates(); !slices.Equal(got, []string{"open"}) || !strings.Contains(open[0].text("message"), "eth0, lo") || !strings.Contains(open[0].text("message"), "NET_RAW") {
		t.Fatalf("findings %q, open %q", got, open)
	}
	if open[0].at("meshtls.tap.blind") != true {
		t.Error("meshtls.tap.blind is not true")
	}
	r.e.Tick(noon + 60*second)
	s.set(noon+61*second, "lo", true)
	r.e.Recovered(noon+61*second, "lo")
	r.e.Tick(noon + 11*minute)
	r.e.Tick(noon + 21*minute)
	s.set(noon+22*minute, "eth0", true)
	r.e.Recovered(noon+22*minute, "eth0")
	r.e.Tick(noon + 30*minute)
	if got := r.blindStates(); !slices.Equal(got, []string{"open", "ongoing", "ongoing", "resolved"}) {
		t.Errorf("findings %q", got)
	}
	s.set(noon+40*minute, "eth0", false)
	r.e.Tick(noon + 41*minute)
	if got := r.blindStates(); got[len(got)-1] != "open" || len(got) != 5 {
		t.Errorf("lost again: %q", got)
	}
}

// TestTapNotBlind: no finding stays open because of a race at the start, a short loss or an
// intended end.
func TestTapNotBlind(t *testing.T) {
	r, s := eyes(t, finding.Config{})
	s.set(noon, "eth0", false)
	r.e.Started(noon, finding.SelfTest{})
	r.e.Tick(noon + 2*second)
	s.set(noon+3*second, "eth0", true)
	r.e.Tick(noon + 60*second)
	s.set(noon+61*second, "lo", false)
	r.e.Tick(noon + 63*second)
	r.e.Flush(noon + 64*second)
	r.e.Stopped(noon+64*second, "signal")
	if got := r.blindStates(); got != nil {
		t.Errorf("findings %q", got)
	}
	r, s = eyes(t, finding.Config{})
	s.set(noon, "eth0", false)
	r.e.Started(noon, finding.SelfTest{})
	r.e.Tick(noon + 10*second)
	r.e.Flush(noon + 20*second)
	r.e.Stopped(noon+20*second, "until")
	if got := r.blindStates(); !slices.Equal(got, []string{"open", "withdrawn"}) {
		t.Errorf("findings after the tap was stopped: %q", got)
	}
}

// TestTapKeys: a compacted topic keeps the last record of each kind of state of the tap, and the last
// state of each interface.
func TestTapKeys(t *testing.T) {
	r, s := eyes(t, finding.Config{Heartbeat: 5 * time.Minute})
	r.e.Started(noon, finding.SelfTest{})
	s.set(noon+minute, "eth0", false)
	r.e.Lost(noon+minute, "eth0", "gone")
	r.e.Degraded(noon+2*minute, "records were dropped")
	r.e.Tick(noon + 5*minute)
	s.set(noon+6*minute, "eth0", true)
	r.e.Recovered(noon+6*minute, "eth0")
	r.e.Flush(noon + 7*minute)
	r.e.Stopped(noon+7*minute, "signal")
	last := map[string]string{}
	for i, x := range r.records {
		if x.Dataset == finding.DatasetTap {
			last[strings.TrimPrefix(x.Key, pod.UID)] = r.docs[i].text("event.action")
			if r.docs[i].at("meshtls.tap.interface_states") == nil {
				t.Errorf("%s has no state of the interfaces", r.docs[i].text("event.action"))
			}
		}
	}
	for key, action := range map[string]string{"|started": "started", "|heartbeat": "heartbeat", "|degraded": "degraded", "|degraded|eth0": "recovered", "|stopped": "stopped"} {
		if last[key] != action {
			t.Errorf("the last record of key %q is %q, want %q: %v", key, last[key], action, last)
		}
	}
}
