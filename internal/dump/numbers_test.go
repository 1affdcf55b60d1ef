package dump

import "testing"

// TestNumbersInText: the result of a capture is right for 0, 1 and 2.
func TestNumbersInText(t *testing.T) {
	for want, r := range map[string]Result{
		"0 packets, 0 bytes, 0 packets dropped": {},
		"1 packet, 1 byte, 1 packet dropped":    {Packets: 1, Bytes: 1, Dropped: 1},
		"2 packets, 2 bytes, 2 packets dropped": {Packets: 2, Bytes: 2, Dropped: 2},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
