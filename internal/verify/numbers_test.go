package verify

import "testing"

// TestNumbersInText: words with a number are right for 0, 1 and 2.
func TestNumbersInText(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{count(0, "pod"), "0 pods"},
		{count(1, "pod"), "1 pod"},
		{count(2, "pod"), "2 pods"},
		{are(0), "0 are"},
		{are(1), "1 is"},
		{are(2), "2 are"},
		{olderOnly(1), "the only traffic between them was on 1 connection older than the taps, whose handshake was not seen"},
		{olderOnly(2), "the only traffic between them was on 2 connections older than the taps, whose handshakes were not seen"},
		{olderToo(1), "1 connection of the client's pod is older than its tap"},
		{olderToo(2), "2 connections of the client's pod are older than its tap"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
