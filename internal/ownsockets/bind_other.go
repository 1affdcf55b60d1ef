//go:build !unix

package ownsockets

import "errors"

// bindEphemeral returns errors.ErrUnsupported. On this system the tap does not capture, so it need not know the port.
func bindEphemeral(uintptr, string) (uint16, error) { return 0, errors.ErrUnsupported }
