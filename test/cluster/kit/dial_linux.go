package kit

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer returns a dial function that connects from the network namespace of a process. The first word in the file
// pidFile is the id of the process. A socket stays in the namespace in which it was created, even if another thread
// uses it later.
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
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			runtime.LockOSThread() // the thread is never unlocked, so it ends with the goroutine
			done <- func() (r result) {
				f, err := os.Open(namespace)
				if err != nil {
					return result{err: err}
				}
				defer f.Close()
				if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
					return result{err: fmt.Errorf("enter %s: %w", namespace, err)}
				}
				r.conn, r.err = new(net.Dialer).DialContext(ctx, network, address)
				return r
			}()
		}()
		r := <-done
		return r.conn, r.err
	}, nil
}
