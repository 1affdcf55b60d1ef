//go:build !unix

package ownsockets

import "errors"

// bindEphemeral returns errors.ErrUnsupported: on this system the tap does not capture, so the port need not be known.
func bindEphemeral(uintptr, string) (uint16, error) { return 0, errors.ErrUnsupported }
