package finding

import "testing"

// TestEachRuleHasAClass: each rule has a category. Each technique and tactic has a name.
func TestEachRuleHasAClass(t *testing.T) {
	for _, id := range Rules() {
		c := classes[id]
		if c.category == "" {
			t.Errorf("%s has no class", id)
		}
		for _, d := range [...][]string{c.threat.Technique.Name, c.threat.Tactic.Name} {
			for _, name := range d {
				if name == "" {
					t.Errorf("%s: a technique or tactic without a name", id)
				}
			}
		}
		if a, b := len(c.threat.Technique.ID), len(c.threat.Tactic.ID); (a == 0) != (b == 0) {
			t.Errorf("%s: %d techniques and %d tactics", id, a, b)
		}
	}
}
