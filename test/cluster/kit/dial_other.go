//go:build !linux

package kit

import (
	"context"
	"errors"
	"net"
	"testing"
)

type dial = func(ctx context.Context, network, address string) (net.Conn, error)

var errLinux = errors.New("a node runs on Linux only")

func dialer(string) (dial, error) { return nil, errLinux }

// A Network is the network namespace of a pod.
type Network struct{}

// Network works only on Linux.
func (c *Cluster) Network(t testing.TB, _ string) *Network {
	t.Helper()
	t.Fatal(errLinux)
	return nil
}

// Dial works only on Linux.
func (n *Network) Dial(context.Context, string, string) (net.Conn, error) { return nil, errLinux }

// Listen works only on Linux.
func (n *Network) Listen(string) (net.Listener, error) { return nil, errLinux }
