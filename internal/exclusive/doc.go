// Package exclusive keeps tests that saturate the machine from running next to each other.
//
// `go test ./...` runs the tests of several packages at a time. Tests that capture live traffic or start a broker use both cores for
// seconds, and disturb each other's peers. They take turns by a lock on a file, which is valid across processes and which the kernel
// releases when its holder dies.
//
// Order of use: [Machine] at the start of a test, or [Lock] in TestMain before m.Run for a whole package.
//
// The lock is a courtesy and no guarantee: any other program may be busy at the same time. A test must pass on a busy machine too.
package exclusive
