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

func startHTTPD(t *testing.T) *httpd {
	t.Helper()
	h, err := listenHTTP("127.0.0.1:0", slog.New(slog.DiscardHandler), func(path string) answer {
		switch path {
		case "/healthz":
			return answer{200, "ok\n"}
		case "/readyz":
			return answer{503, "no\nway\n"}
		}
		return answer{}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

// TestHTTPD asks with Go's own client, twice as it keeps connections otherwise.
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

// TestHTTPDRawRequests: net/http decides which bytes are a request. Where a comment names an RFC, the tap's former responder gave
// another status.
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
		got, _ := io.ReadAll(c) // it may end in a reset, where not all of the request was read
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

// TestHTTPDBounds: who holds connections open keeps others out for a while, no more, and close does not wait for them. A busy
// machine may be late some times; a close that waits for what the connections may take is late each time.
func TestHTTPDBounds(t *testing.T) {
	const most = 5
	for range most {
		took := closeTakes(t)
		if took < httpdTime/2 {
			return
		}
		t.Logf("close took %v, of the %v that a connection may: again", took, httpdTime)
	}
	t.Errorf("close was late %d times of %d", most, most)
}

func closeTakes(t *testing.T) time.Duration {
	t.Helper()
	h := startHTTPD(t)
	var held []net.Conn
	for range httpdConns {
		c, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	eventually.True(t, "all slots are taken", func() bool { return len(h.slots) == httpdConns })
	c, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from one connection too many", n)
	}
	held[0].Close()
	eventually.True(t, "a slot is free", func() bool { return len(h.slots) < httpdConns })
	begin := time.Now()
	h.close()
	return time.Since(begin)
}

// TestNoPortByDefault: a tap that is not told to listen takes no port, and one that is told to wait leaves it to whoever wants it
// before: it goes on without.
func TestNoPortByDefault(t *testing.T) {
	begin := func(environ ...string) (tap *tap, told *bytes.Buffer) {
		s, err := readEnvironment(environ)
		if err != nil {
			t.Fatal(err)
		}
		told = &bytes.Buffer{}
		if tap, err = newTap(s, streams{err: told, out: io.Discard}); err != nil {
			t.Fatal(err)
		}
		return tap, told
	}
	if tap, _ := begin(); tap.Listen != "none" {
		t.Errorf("it listens on %s", tap.Listen)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	tap, _ := begin("TAP_LISTEN="+at, "TAP_LISTEN_AFTER=1h")
	end := tap.serve(ctx)
	application, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatalf("the tap was first: %v", err)
	}
	defer application.Close()
	cancel()
	end()
	tap, told := begin("TAP_LISTEN="+at, "TAP_LISTEN_AFTER=1ns")
	done := make(chan struct{})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	tap.log = slog.New(&once{slog.NewTextHandler(told, nil), done})
	end = tap.serve(ctx)
	<-done
	cancel()
	end()
	if !strings.Contains(told.String(), "no health and metrics") {
		t.Errorf("it said %q", told)
	}
}

// once is a handler that closes a channel with the first thing that is said.
type once struct {
	slog.Handler
	said chan struct{}
}

func (o *once) Handle(ctx context.Context, r slog.Record) error {
	err := o.Handler.Handle(ctx, r)
	close(o.said)
	return err
}
