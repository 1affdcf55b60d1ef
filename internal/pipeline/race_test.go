//go:build race

package pipeline_test

import "testing"

// norace skips a test that has nothing for the race detector, where it is on and time is short: `make test` runs it without.
// Either it is of one goroutine, or the tap is a program of its own that has to keep up with the traffic, built without the detector.
func norace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing for the race detector: not with -race -short")
	}
}
