//go:build !unix

package buffer

import (
	"errors"
	"os"
)

// flock returns an error on systems without flock(2), where there is no live capture.
func flock(*os.File) error { return errors.ErrUnsupported }
