package selftest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// direct is the dialer of the tests.
var direct Dialer = new(net.Dialer).DialContext

// patient returns a context with a deadline that a busy machine meets too.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventually.Limit)
	t.Cleanup(cancel)
	return ctx
}

// withCapability skips the test if the process may not capture.
func withCapability(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrPermission) {
		return
	}
	if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func recordings(t *testing.T) []exchange {
	t.Helper()
	all, err := exchanges()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRun: both recordings get their verdicts, and the time is that of the self-test at the start of the tap.
func TestRun(t *testing.T) {
	start := time.Now()
	_, err := run(patient(t), direct, recordings(t))
	withCapability(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("it took %v", time.Since(start))
}

// TestWrongVerdict: a verdict other than the expected one is an error that has both.
func TestWrongVerdict(t *testing.T) {
	plaintext := []turn{{bytes: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")}, {fromServer: true, bytes: []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}}
	all := recordings(t)
	for _, c := range []struct {
		name string
		exchange
		is string
	}{
		{"no client certificate", exchange{"a", all[1].turns, verdict.MTLS}, `"tls" instead of "mtls"`},
		{"a client certificate", exchange{"a", all[0].turns, verdict.TLS}, `"mtls" instead of "tls"`},
		{"plaintext", exchange{"a", plaintext, verdict.MTLS}, `"plaintext" instead of "mtls"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := run(patient(t), direct, []exchange{c.exchange})
			withCapability(t, err)
			if err == nil || !strings.HasPrefix(err.Error(), "a: ") || !strings.Contains(err.Error(), c.is) {
				t.Errorf("%v, want %q", err, c.is)
			}
		})
	}
}

// TestNoVerdict: a connection that is never judged fails the test once its time is up.
func TestNoVerdict(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := run(ctx, direct, []exchange{{"only a hello", recordings(t)[0].turns[:1], verdict.MTLS}})
	withCapability(t, err)
	if err == nil || !errors.Is(err, errUnjudged) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestStrangers: other processes connect to the port before each connection of the test, and speak plaintext or repeat the
// recording with the other verdict. The result is the same as without them, and their connections are closed.
func TestStrangers(t *testing.T) {
	all := recordings(t)
	for name, hello := range map[string][]byte{"plaintext": []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "hello": all[1].turns[0].bytes, "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			var strangers []net.Conn
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				for range 3 {
					c, err := direct(ctx, network, address)
					if err != nil {
						return nil, err
					}
					strangers = append(strangers, c)
					if _, err := c.Write(hello); err != nil {
						return nil, err
					}
				}
				return direct(ctx, network, address)
			}
			ctx := patient(t)
			accepted, err := run(ctx, dial, all)
			withCapability(t, err)
			if err != nil || accepted != len(strangers)+len(all) {
				t.Errorf("%v; accepted %d connections, %d of strangers", err, accepted, len(strangers))
			}
			end, _ := ctx.Deadline()
			for _, c := range strangers {
				if err := c.SetDeadline(end); err != nil {
					t.Error(err)
				}
				if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("a stranger is connected, or read something: %d, %v", n, err)
				}
				c.Close()
			}
		})
	}
}

// TestUnanswered: an address at which nobody listens fails the test with the reason.
func TestUnanswered(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
	_, err := run(patient(t), refuse, recordings(t))
	withCapability(t, err)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

// TestPortIsFree: right after the test, its port can be used by a server that does not set SO_REUSEADDR.
func TestPortIsFree(t *testing.T) {
	var address string
	dial := func(ctx context.Context, network, to string) (net.Conn, error) {
		address = to
		return direct(ctx, network, to)
	}
	_, err := run(patient(t), dial, recordings(t))
	withCapability(t, err)
	if err != nil {
		t.Fatal(err)
	}
	if err := bindExclusively(address); err != nil {
		t.Errorf("%s: %v", address, err)
	}
}

// bindExclusively binds a socket without SO_REUSEADDR, which net.Listen would set.
func bindExclusively(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	family, local := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, local = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, local)
}
