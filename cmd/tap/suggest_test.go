package main

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"read", "read", 0}, {"raed", "read", 1}, {"rad", "read", 1}, {"reead", "read", 1}, {"roed", "read", 2}, {"ca", "abc", 3}, {"expct", "expect", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

// TestDidYouMean: only a word that is close is suggested.
func TestDidYouMean(t *testing.T) {
	known := []string{"run", "read", "topics"}
	for word, want := range map[string]string{
		"raed": "; did you mean read?", "rn": "", "runn": "; did you mean run?", "topic": "; did you mean topics?", "juge": "", "x": "", "": "", "tpics": "; did you mean topics?", "tipocs": "", "bottoms": "",
	} {
		if got := didYouMean(word, "", known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
