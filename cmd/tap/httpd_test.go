package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// startHTTPD starts a server with two pages. The test closes it at its end.
func startHTTPD(t *testing.T) *httpd {
	t.Helper()
	h, err := listenHTTP("127.0.0.1:0", slog.New(slog.DiscardHandler), func(path string) response {
		switch path {
		case "/healthz":
			return response{200, "ok\n"}
		case "/readyz":
			return response{503, "no\nway\n"}
		}
		return response{}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

// TestHTTPD sends its requests twice, with Go's client. The client would reuse a connection that the
// server kept alive.
func TestHTTPD(t *testing.T) {
	h := startHTTPD(t)
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for range 2 {
		for path, want := range map[string]string{"/healthz": "200 ok\n", "/healthz?x=1": "200 ok\n", "/readyz": "503 no\nway\n", "/else": "404 not found\n"} {
			r, err := client.Get("http://" + h.Addr().String() + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if got := fmt.Sprintf("%d %s", r.StatusCode, body); err != nil || got != want {
				t.Errorf("%s: %q, %v, want %q", path, got, err, want)
			}
		}
		r, err := client.Head("http://" + h.Addr().String() + "/readyz")
		if err != nil || r.StatusCode != 503 || r.ContentLength != 7 {
			t.Errorf("HEAD: %v %v", r, err)
		}
		r.Body.Close()
	}
}

// TestHTTPDRawRequests checks the status of unusual and malformed requests, which net/http determines. The comment on a line
// names the RFC that requires the status.
func TestHTTPDRawRequests(t *testing.T) {
	h := startHTTPD(t)
	long := strings.Repeat("a: b\r\n", 2*httpdHeader)
	for request, want := range map[string]string{
		"GET /healthz HTTP/1.0\r\n\r\n":                                                   "HTTP/1.0 200",
		"GET /healthz HTTP/1.1\nHost: a\n\n":                                              "HTTP/1.1 200",
		"GET /healthz HTTP/1.1\r\n\r\n":                                                   "HTTP/1.1 400", // RFC 9112, 3.2: Host is required
		"GET http://a/healthz HTTP/1.1\r\nHost: a\r\n\r\n":                                "HTTP/1.1 200", // RFC 9112, 3.2.2: absolute-form
		"GET /%68ealthz HTTP/1.1\r\nHost: a\r\n\r\n":                                      "HTTP/1.1 200", // RFC 3986, 6.2.2.2: the same path
		"GET //healthz HTTP/1.1\r\nHost: a\r\n\r\n":                                       "HTTP/1.1 404",
		"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nx":        "HTTP/1.1 405",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n":                                           "HTTP/1.1 405",
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n":                                       "HTTP/1.1 405",
		"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n":                                        "HTTP/1.1 405", // RFC 9110, 9.1: case matters
		"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n":                                        "HTTP/1.1 505",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                                "HTTP/1.1 405", // HTTP/2's preface (RFC 9113, 3.4)
		"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":             "HTTP/1.1 501",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nExpect: a pony\r\n\r\n":                      "HTTP/1.1 417",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n": "HTTP/1.1 200",
		"GET /healthz\r\n\r\n":                                                            "HTTP/1.1 400",
		"\x16\x03\x01\x00\x05hello\n":                                                     "HTTP/1.1 400",
		"GET / HTTP/1.1\r\n a: b\r\n\r\n":                                                 "HTTP/1.1 400",
		"GET / HTTP/1.1\r\n" + long:                                                       "HTTP/1.1 431", // RFC 6585, 5
		strings.Repeat("x", len(long)):                                                    "HTTP/1.1 431",
		"GET /" + strings.Repeat("x", len(long)) + " HTTP/1.1\r\n\r\n":                    "HTTP/1.1 431",
	} {
		c, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, request)
		c.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(c) // a reset is possible if not all of the request was read
		c.Close()
		line, rest, _ := bytes.Cut(got, []byte("\r\n"))
		reset := len(got) == 0 && len(request) > httpdHeader
		if !reset && !strings.HasPrefix(string(line), want+" ") {
			t.Errorf("%.40q: %q, want %q", request, line, want)
		}
		if bytes.Contains(rest, []byte("HTTP/1.")) {
			t.Errorf("%.40q: a second response: %q", request, rest)
		}
	}
}

// TestHTTPDBounds: idle connections keep others out only for a while, and close does not wait for them. On a busy machine close may
// be late sometimes. If it waited for the connections, it would always be late.
func TestHTTPDBounds(t *testing.T) {
	const most = 5
	for range most {
		took := closeTime(t)
		if took < httpdTime/2 {
			return
		}
		t.Logf("close took %v; a connection may take %v: trying again", took, httpdTime)
	}
	t.Errorf("close was late %d times of %d", most, most)
}

// closeTime returns how long close takes while all connections are idle.
func closeTime(t *testing.T) time.Duration {
	t.Helper()
	h := startHTTPD(t)
	var idle []net.Conn
	for range httpdConns {
		c, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	eventually.True(t, "all slots are used", func() bool { return len(h.slots) == httpdConns })
	c, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from one connection too many", n)
	}
	idle[0].Close()
	eventually.True(t, "a slot is free", func() bool { return len(h.slots) < httpdConns })
	start := time.Now()
	h.close()
	return time.Since(start)
}

// TestNoPortByDefault: a tap listens only if it is configured to listen. With TAP_LISTEN_AFTER an application can use the port
// first. The tap then runs without a server.
func TestNoPortByDefault(t *testing.T) {
	create := func(environ ...string) (tap *tap, log *bytes.Buffer) {
		s, err := readEnvironment(environ)
		if err != nil {
			t.Fatal(err)
		}
		log = &bytes.Buffer{}
		if tap, err = newTap(s, streams{err: log, out: io.Discard}); err != nil {
			t.Fatal(err)
		}
		return tap, log
	}
	if tap, _ := create(); tap.Listen != "none" {
		t.Errorf("it listens on %s", tap.Listen)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	tap, _ := create("TAP_LISTEN="+at, "TAP_LISTEN_AFTER=1h")
	stop := tap.serve(ctx)
	application, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatalf("the tap was first: %v", err)
	}
	defer application.Close()
	cancel()
	stop()
	tap, log := create("TAP_LISTEN="+at, "TAP_LISTEN_AFTER=1ns")
	done := make(chan struct{})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	tap.log = slog.New(&once{slog.NewTextHandler(log, nil), done})
	stop = tap.serve(ctx)
	<-done
	cancel()
	stop()
	if !strings.Contains(log.String(), "no health and metrics") {
		t.Errorf("it logged %q", log)
	}
}

// once is a handler that closes a channel with the first record. There must be no second record.
type once struct {
	slog.Handler
	logged chan struct{}
}

func (o *once) Handle(ctx context.Context, r slog.Record) error {
	err := o.Handler.Handle(ctx, r)
	close(o.logged)
	return err
}
