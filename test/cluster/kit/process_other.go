//go:build !linux

package kit

import (
	"os/exec"
	"syscall"
	"testing"
)

// Start works only on Linux.
func Start(t testing.TB, _ *exec.Cmd) func(syscall.Signal) error {
	t.Helper()
	t.Skip("the cluster tests run on Linux")
	return nil
}
