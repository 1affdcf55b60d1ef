//go:build unix

package buffer

import (
	"errors"
	"os"
	"syscall"
)

// flock takes an exclusive lock that ends with the process; see flock(2).
func flock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return os.NewSyscallError("flock", err)
}
