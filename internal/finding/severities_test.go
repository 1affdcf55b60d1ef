package finding_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// TestParseSeverities: only known rules and Elastic's steps are accepted, and each rule once.
func TestParseSeverities(t *testing.T) {
	for list, want := range map[string]int{"": 0, " plaintext-edge=99 ": 1, "plaintext-edge=0,tls-not-mutual=21,": 2} {
		if got, err := finding.ParseSeverities(list); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	for _, list := range []string{"plaintext-edge", "plaintext-edge=", "plaintext-edge=50", "plaintext=47", "tap-blind=21", "plaintext-edge=21,plaintext-edge=47", "=21"} {
		if got, err := finding.ParseSeverities(list); err == nil {
			t.Errorf("%q: %v", list, got)
		}
	}
}

// TestSeveritiesOfChart: the chart accepts severities of the rules that TAP_SEVERITY accepts, and of no others.
func TestSeveritiesOfChart(t *testing.T) {
	b, err := os.ReadFile("../../charts/tap/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Properties struct {
			Tap struct {
				Properties struct {
					Severities struct{ PatternProperties map[string]any }
				}
			}
		}
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, id := range finding.Rules() {
		if _, err := finding.ParseSeverities(id + "=21"); err == nil {
			want = append(want, id)
		}
	}
	pattern := "^(" + strings.Join(want, "|") + ")$"
	equal(t, slices.Collect(maps.Keys(v.Properties.Tap.Properties.Severities.PatternProperties)), []string{pattern})
}

// TestSeverities: a configured severity replaces that of every expectation but any, and 0 turns the rule off; a rule that
// is off is not blind.
func TestSeverities(t *testing.T) {
	for _, c := range []struct {
		name, expect, severities, want string
	}{
		{"raised", "mtls", "plaintext-edge=99", "plaintext-edge open 99 x1"},
		{"without expectation", "", "plaintext-edge=47", "plaintext-edge open 47 x1"},
		{"anything goes", "any", "plaintext-edge=47", ""},
		{"off", "mtls", "plaintext-edge=0", ""},
		{"another rule", "mtls", "tls-not-mutual=99", "plaintext-edge open 73 x1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := finding.Config{}
			cfg.Severities, _ = finding.ParseSeverities(c.severities)
			if c.expect != "" {
				cfg.Expect, _ = finding.ParseExpect("0.0.0.0/0=" + c.expect)
			}
			r := newRig(t, cfg)
			r.e.Add(plain(1, noon))
			got := ""
			if f := r.findings(); len(f) > 0 {
				got = f[0]
			}
			if got != c.want {
				t.Errorf("finding %q, want %q", got, c.want)
			}
		})
	}
}
