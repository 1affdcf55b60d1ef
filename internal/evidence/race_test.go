//go:build race

package evidence_test

import "testing"

// norace skips a test with -race -short if the race detector can find nothing in it: the test has one
// goroutine, or its tap is a separate program. That program is built without the detector, because it has
// to keep up with traffic. `make test` runs these tests.
func norace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -race -short: the race detector finds nothing here")
	}
}
