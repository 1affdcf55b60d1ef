package finding_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

func expects(t *testing.T, list string) []finding.Expectation {
	t.Helper()
	x, err := finding.ParseExpect(list)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// mutes parses a list of mutes.
func mutes(t testing.TB, list string) []finding.Mute {
	t.Helper()
	m, err := finding.ParseMutes(list)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWithdrawn: a changed expectation resolves no finding. If an edge no longer breaks the rule, its finding is
// withdrawn with the reason. If the edge breaks the rule again, the finding opens again.
func TestWithdrawn(t *testing.T) {
	for name, end := range map[string]bool{"a living connection": false, "one that ended": true} {
		t.Run(name, func(t *testing.T) {
			strict := expects(t, "10.0.0.0/8=mtls")
			r := newRig(t, finding.Config{Expect: strict, Window: 10 * time.Minute})
			r.e.Tick(noon)
			j := plain(1, noon+second)
			if !end {
				j = living(j)
			}
			r.e.Add(j)
			r.e.Expect(expects(t, "0.0.0.0/0=any"))
			r.e.Add(plain(2, noon+30*second))
			r.e.Tick(noon + 10*minute)
			r.e.Add(plain(3, noon+11*minute))
			r.e.Tick(noon + 30*minute)
			var states []string
			for _, d := range r.of(finding.DatasetFinding) {
				states = append(states, d.text("meshtls.finding.state"))
				if d.text("meshtls.finding.state") == "withdrawn" && (d.text("event.reason") != "expectation_changed" || d.text("meshtls.expectation") != "any" ||
					!strings.Contains(d.text("message"), "because the expectation changed")) {
					t.Errorf("withdrawn finding %v", d)
				}
			}
			if !slices.Equal(states, []string{"open", "withdrawn"}) {
				t.Errorf("states %q", states)
			}
			for _, d := range r.of(finding.DatasetPosture) {
				if d.text("event.action") == "snapshot" && d.text("meshtls.expectation") != "any" {
					t.Errorf("expectation %s in a posture, want any", d.text("meshtls.expectation"))
				}
			}
			r.forget()
			r.e.Expect(strict)
			r.e.Add(plain(4, noon+31*minute))
			if got := r.findings(); len(got) != 1 || !strings.HasPrefix(got[0], "plaintext-edge open") {
				t.Errorf("after the strict expectation is back: findings %q", got)
			}
		})
	}
}

// TestExpectedLess: a laxer expectation does not resolve a finding of an edge that still breaks the rule. The finding
// remains, with its new severity.
func TestExpectedLess(t *testing.T) {
	r := newRig(t, finding.Config{Expect: expects(t, "10.0.0.0/8=mtls")})
	r.e.Tick(noon)
	r.e.Add(plain(1, noon+second))
	r.e.Expect(expects(t, "10.0.0.0/8=tls"))
	r.e.Add(plain(2, noon+30*second))
	r.e.Tick(noon + 10*minute)
	docs := r.of(finding.DatasetFinding)
	if last := docs[len(docs)-1]; len(docs) != 2 || last.text("meshtls.finding.state") != "ongoing" || last.number("event.severity") != 47 {
		t.Errorf("findings %v, want a last one that is ongoing with severity 47", docs)
	}
}

// TestMute: muting a rule withdraws its open findings. Their connections are still counted, and unmuting
// opens the findings again. Each record lists the muted rules and, separately, those that the namespace
// muted.
func TestMute(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Tick(noon)
	r.e.Add(plain(1, noon+second))
	muted := mutes(t, "plaintext-edge")
	muted[0].Namespace = true
	r.e.Mute(muted)
	r.e.Namespace(expects(t, "10.9.0.0/16:80=any,[fd00::/8]:80=tls"))
	r.e.Add(plain(2, noon+30*second))
	r.e.Tick(noon + 10*minute)
	for _, d := range r.of(finding.DatasetPosture) {
		if d.text("event.action") != "snapshot" {
			continue
		}
		for path, want := range map[string]string{"meshtls.coverage.muted": "plaintext-edge", "meshtls.coverage.namespace.mute": "plaintext-edge", "meshtls.coverage.namespace.expect": "10.9.0.0/16:80=any"} {
			if list, ok := d.at(path).([]any); !ok || list[0] != want {
				t.Errorf("%s is %v", path, d.at(path))
			}
		}
	}
	r.e.Mute(nil)
	r.e.Namespace(nil)
	r.e.Tick(noon + 20*minute)
	var states []string
	for _, d := range r.of(finding.DatasetFinding) {
		states = append(states, d.text("meshtls.finding.state")+" "+d.text("event.reason"))
	}
	if !slices.Equal(states, []string{"open ", "withdrawn muted", "open "}) {
		t.Errorf("states %q", states)
	}
}
