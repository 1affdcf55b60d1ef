//go:build race

package pipeline_test

import "testing"

// norace skips a test in which the race detector finds nothing, if the detector is on and -short is set:
// the test has one goroutine, or its tap is a separate program without the detector, which has to keep up
// with traffic. `make test` runs it.
func norace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -race -short: the race detector finds nothing here")
	}
}
