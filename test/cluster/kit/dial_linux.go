package kit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer returns a dial function that connects from the network namespace of a process. The first word in the file
// pidFile is the id of the process.
func dialer(pidFile string) (dial, error) {
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, err
	}
	pid, _, _ := strings.Cut(string(content), " ")
	namespace := "/proc/" + pid + "/ns/net"
	if _, err := os.Stat(namespace); err != nil {
		return nil, fmt.Errorf("the node is gone: %w", err)
	}
	return dialerIn(namespace), nil
}

// dialerIn returns a dial function that connects from a network namespace.
func dialerIn(namespace string) dial {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		inErr := within(namespace, func() {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
		})
		return conn, errors.Join(inErr, err)
	}
}

// within calls f on a thread in a network namespace. A socket stays in the namespace in which it was created, even if
// another thread uses it later.
func within(namespace string, f func()) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread is never unlocked, so it ends with the goroutine
		file, err := os.Open(namespace)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err != nil {
			done <- fmt.Errorf("enter %s: %w", namespace, err)
			return
		}
		f()
		done <- nil
	}()
	return <-done
}

// A Network is the network namespace of a pod.
type Network struct{ namespace string }

// Network returns the network namespace of a process. pid is the process's id in the process namespace of the node.
func (c *Cluster) Network(t testing.TB, pid string) *Network {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.Work, "state", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(content), " ") // the node's first process, by which this process reaches the node's /proc
	n := &Network{"/proc/" + first + "/root/proc/" + pid + "/ns/net"}
	if _, err := os.Stat(n.namespace); err != nil {
		t.Fatal(err)
	}
	return n
}

// Dial connects from the network namespace.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialerIn(n.namespace)(ctx, network, address)
}

// Listen listens for TCP connections in the network namespace.
func (n *Network) Listen(address string) (l net.Listener, err error) {
	inErr := within(n.namespace, func() { l, err = net.Listen("tcp", address) })
	return l, errors.Join(inErr, err)
}
