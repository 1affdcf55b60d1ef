package liveview

import "testing"

// TestNumbersInText: words with a number are right for 0, 1 and 2.
func TestNumbersInText(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{count(0, "packet"), "0 packets"},
		{count(1, "packet"), "1 packet"},
		{count(2, "packet"), "2 packets"},
		{silent(1), "1 more tap no longer reports"},
		{silent(2), "2 more taps no longer report"},
		{tapLine([]Tap{{Phase: Running, Dropped: 1, Older: 1}}), "1 tap, 1 running, 1 packet lost, 1 connection older than the taps"},
		{tapLine([]Tap{{Phase: Running, Dropped: 2}, {Phase: Running, Older: 2}}), "2 taps, 2 running, 2 packets lost, 2 connections older than the taps"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
