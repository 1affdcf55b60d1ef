//go:build !linux

package kit

import (
	"context"
	"errors"
	"net"
)

type dial = func(ctx context.Context, network, address string) (net.Conn, error)

func dialer(string) (dial, error) { return nil, errors.New("a node runs on Linux only") }
