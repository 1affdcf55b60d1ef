//go:build !linux

package live

import "errors"

// events announces nothing, because this system has no rtnetlink(7).
type events struct{}

func (*events) open(func()) error { return errors.ErrUnsupported }

func (*events) close() {}

func (*events) drain() (addresses, links, ok bool) { return false, false, false }

func localRoutes() ([]localRoute, error) { return nil, errors.ErrUnsupported }
