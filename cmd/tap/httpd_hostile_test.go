package main

import (
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// pipes is a listener in memory, whose connections work in the virtual time of a synctest bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error {
	defer func() { _ = recover() }() // the channel may be closed twice
	close(p)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestHTTPDSlowClients: a connection ends after httpdTime and frees its slot, no matter what its client delays.
func TestHTTPDSlowClients(t *testing.T) {
	drip := func(c net.Conn, text string) {
		for ; ; time.Sleep(time.Second) {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
	for name, client := range map[string]func(net.Conn){
		"sends nothing":            func(net.Conn) {},
		"sends a line each second": func(c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\n"); drip(c, "a: b\r\n") },
		"sends a byte each second": func(c net.Conn) { drip(c, "G") },
		"sends no body": func(c net.Conn) {
			io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
		},
		"sends a slow body": func(c net.Conn) {
			go io.Copy(io.Discard, c)
			io.WriteString(c, "POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
			drip(c, "1\r\na\r\n")
		},
		"reads nothing": func(c net.Conn) { io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") },
		"sends request after request": func(c net.Conn) {
			go io.Copy(io.Discard, c)
			drip(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		},
		"waits after the response": func(c net.Conn) {
			io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
			c.Read(make([]byte, 1<<10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := make(pipes)
				h := serveHTTP(l, slog.New(slog.DiscardHandler), func(string) response { return response{200, strings.Repeat("page\n", 100_000)} })
				defer h.close()
				server, c := net.Pipe()
				defer c.Close()
				l <- server
				go client(c)
				time.Sleep(httpdTime + time.Second)
				synctest.Wait()
				if n := len(h.slots); n != 0 {
					t.Errorf("%d connections after %v", n, httpdTime)
				}
			})
		})
	}
}

// TestHTTPDGoroutines: a thousand clients that each send half a request use no more goroutines than httpdConns
// connections use.
func TestHTTPDGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	h := startHTTPD(t)
	for range 1000 {
		c, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /healthz HTTP/1.1\r\n")
	}
	eventually.True(t, "all slots are used", func() bool { return len(h.slots) == httpdConns })
	if n, most := runtime.NumGoroutine()-before, 3*httpdConns+5; n > most {
		t.Errorf("%d goroutines, want at most %d", n, most)
	}
	h.server.Close()
	eventually.True(t, "all slots are free", func() bool { return len(h.slots) == 0 })
	eventually.True(t, "their goroutines have ended", func() bool { return runtime.NumGoroutine()-before <= 5 })
}

// failing is a listener whose first Accept fails, as when the kernel has no memory for a socket.
type failing struct {
	net.Listener
	err error
}

func (f *failing) Accept() (net.Conn, error) {
	if err := f.err; err != nil {
		f.err = nil
		return nil, err
	}
	return f.Listener.Accept()
}

// TestHTTPDAcceptFails: the server survives an error of Accept that would end net/http's server.
func TestHTTPDAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := make(pipes)
		var log strings.Builder
		h := serveHTTP(&failing{l, os.ErrPermission}, slog.New(slog.NewTextHandler(&log, nil)), func(string) response { return response{200, "ok\n"} })
		server, c := net.Pipe()
		defer c.Close()
		l <- server
		io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(got), "\r\n\r\nok\n") {
			t.Errorf("%q, %v", got, err)
		}
		h.close()
		if !strings.Contains(log.String(), os.ErrPermission.Error()) {
			t.Errorf("it logged %q", &log)
		}
	})
}

// TestHTTPDPanic: a panic of a page ends the process, which prints its stack. The server runs in a child process.
func TestHTTPDPanic(t *testing.T) {
	const child = "TAP_TEST_HTTPD_PANIC"
	if os.Getenv(child) != "" {
		h, err := listenHTTP("127.0.0.1:0", slog.New(slog.DiscardHandler), func(string) response { panic("a page fails") })
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		io.ReadAll(c)
		return // the process survives, so the test fails
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestHTTPDPanic$")
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+t.TempDir()) // the child does not clean up
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: a page fails") {
		t.Errorf("%v, want a panic:\n%s", err, out)
	}
}
