package topology

import (
	"strings"
	"testing"
)

// TestNumbersInText: sentences with a number are right for 0, 1, 2 and 3.
func TestNumbersInText(t *testing.T) {
	addresses := func(names ...string) string {
		u := unknowns{}
		of := map[string]bool{}
		for _, n := range names {
			of[n] = true
		}
		u.addresses(of, "one: %s", "many: %s")
		return u.list[0].Text
	}
	for _, test := range []struct{ got, want string }{
		{plural(0, "pod"), "0 pods"},
		{plural(1, "pod"), "1 pod"},
		{plural(2, "pod"), "2 pods"},
		{was(1, "record"), "1 record was"},
		{was(2, "record"), "2 records were"},
		{are(1, "record"), "1 record is"},
		{are(2, "record"), "2 records are"},
		{uses(1), "1 workload uses"},
		{uses(2), "2 workloads use"},
		{every(1), "The only edge"},
		{every(2), "All 2 edges"},
		{reported(0, 1), "No tap reported from its only pod"},
		{reported(0, 2), "No tap reported from any of its 2 pods"},
		{reported(1, 2), "Taps reported from only 1 of its 2 pods"},
		{ofThe(1, 1), "the only connection"},
		{ofThe(1, 2), "1 of the 2 connections"},
		{ofThe(2, 2), "any of the 2 connections"},
		{addresses("a"), "one: a"},
		{addresses("a", "b"), "many: a, b"},
		{addresses(strings.Split("a b c d e f g h i", " ")...), "many: a, b, c, d, e, f, g, h and 1 more"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

// TestNumbersOfLosses: the sentences about losses are right for 1 and 2.
func TestNumbersOfLosses(t *testing.T) {
	want := [][2]string{
		{
			"When it last reported, 1 tap did not capture an interface of its pod: nothing is known about the traffic there.",
			"When they last reported, 2 taps did not capture an interface of their pods: nothing is known about the traffic there.",
		},
		{
			"For a time, 1 tap did not capture an interface of its pod: nothing is known about the traffic there at that time.",
			"For a time, 2 taps did not capture an interface of their pods: nothing is known about the traffic there at that time.",
		},
		{"1 tap failed its self-test, so it may not see what it should.", "2 taps failed their self-tests, so they may not see what they should."},
		{
			"No posture of 1 tap was read, so its connections that are still open are not known.",
			"No postures of 2 taps were read, so their connections that are still open are not known.",
		},
		{"Taps lost 1 packet: connections may be missing or unjudged.", "Taps lost 2 packets: connections may be missing or unjudged."},
		{"Taps had no memory to follow 1 connection to its end.", "Taps had no memory to follow 2 connections to their ends."},
		{
			"1 connection is older than its tap: its handshake was not seen, and a verdict needs a new connection.",
			"2 connections are older than their taps: their handshakes were not seen, and a verdict needs a new connection.",
		},
		{"1 packet could not be decoded, and may have carried connections.", "2 packets could not be decoded, and may have carried connections."},
		{"1 record is missing, as the numbers of the others show.", "2 records are missing, as the numbers of the others show."},
		{"Taps forgot 1 edge, because there were too many edges.", "Taps forgot 2 edges, because there were too many edges."},
	}
	if len(counters) != len(want) {
		t.Fatalf("%d sentences, and %d are tested", len(counters), len(want))
	}
	for i := range counters {
		for n := range uint64(2) {
			if got := counters[i].text(n + 1); got != want[i][n] {
				t.Errorf("%q, want %q", got, want[i][n])
			}
		}
	}
}
