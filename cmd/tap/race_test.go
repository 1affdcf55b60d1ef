//go:build race

package main

import "testing"

// raced reports whether the race detector is on.
const raced = true

// norace skips a test with -race -short if the race detector can find nothing in it. Either the test has only one goroutine, or its
// tap is a separate program. That program is built without the detector, because it has to keep up with the traffic. `make test`
// runs these tests.
func norace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing for the race detector: not with -race -short")
	}
}
