// Package exclusive keeps tests that saturate the machine from running at the same time.
//
// `go test ./...` runs the tests of several packages at the same time. Tests that capture live traffic or start a
// broker use all cores for seconds, and would disturb each other. They take turns with a lock on a file. The lock works
// across processes, and the kernel releases it when a process ends.
//
// Order of use: [Machine] at the start of a test, or [Lock] in TestMain before m.Run for a whole package.
//
// The lock is no guarantee: other programs may be busy at the same time. A test must also pass on a busy machine.
package exclusive
