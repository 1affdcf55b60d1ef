//go:build unix

package exclusive

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// flock waits for an exclusive flock(2).
func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
