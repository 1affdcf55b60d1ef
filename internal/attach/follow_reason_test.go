package attach

import "testing"

// TestEndOfThePod: the end of a pod is the reason, and not the signal that it sends to the tap, in whatever order the plugin learns of them.
func TestEndOfThePod(t *testing.T) {
	for _, test := range []struct {
		end          Ended
		reason, want string
	}{
		{Ended{Known: true, Reason: hasEnded}, "signal", "a signal ended it"},
		{Ended{Known: true, Reason: hasEnded}, "for", "its time is up"},
		{Ended{Known: true, Reason: hasEnded}, "", hasEnded},
		{Ended{Known: true, Reason: podDeleted}, "signal", podDeleted},
		{Ended{Known: true, Reason: "its pod has ended"}, "signal", "its pod has ended"},
		{Ended{Known: true, Failed: true, Reason: "it was killed (status 137)"}, "signal", "it was killed (status 137)"},
	} {
		e := test.end
		if e.specify(test.reason); e.Reason != test.want {
			t.Errorf("%+v, %q: %q, want %q", test.end, test.reason, e.Reason, test.want)
		}
	}
}
