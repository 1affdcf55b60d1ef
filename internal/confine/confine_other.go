//go:build !linux

package confine

// Main runs the tests in this process: they are confined only on Linux.
func Main(tests func() int, _ Options) (status int) { return tests() }

// Network reports whether the tests have a network namespace of their own.
func Network() bool { return false }
