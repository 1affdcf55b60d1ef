//go:build !unix

package buffer

import (
	"errors"
	"os"
)

// flock refuses where there is no flock(2): nothing captures there.
func flock(*os.File) error { return errors.ErrUnsupported }
