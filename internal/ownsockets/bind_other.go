//go:build !unix

package ownsockets

import "errors"

// bindEphemeral leaves the port to connect where the tap does not capture anyway.
func bindEphemeral(uintptr, string) (uint16, error) { return 0, errors.ErrUnsupported }
