package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
)

// httpd answers GET and HEAD with small texts and closes the connection (RFC 9112,
// section 9.6): what probes and scrapes need, and no more. net/http would do, and makes
// the tap 0.6 MB larger.
type httpd struct {
	listener net.Listener
	answer   func(path string) answer
	log      *slog.Logger
	slots    chan struct{} // one for each connection that is being answered
	done     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// answer is what a path is answered by. The zero value is 404.
type answer struct {
	status int
	body   string
}

const (
	httpdConns  = 16               // at a time; more are closed at once
	httpdTime   = 10 * time.Second // for one connection
	httpdHeader = 8 << 10          // bytes of a request at most
)

// statusText has the statuses that are given (RFC 9110, section 15).
var statusText = map[int]string{
	200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable",
}

// listenHTTP starts a server; close ends it.
func listenHTTP(address string, log *slog.Logger, answer func(path string) answer) (*httpd, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	h := &httpd{listener: l, answer: answer, log: log, slots: make(chan struct{}, httpdConns), conns: map[net.Conn]struct{}{}}
	h.done.Go(h.accept)
	return h, nil
}

// close ends the server with all its connections and waits for it.
func (h *httpd) close() {
	h.listener.Close()
	h.mu.Lock()
	h.closed = true
	for c := range h.conns {
		c.Close()
	}
	h.mu.Unlock()
	h.done.Wait()
}

func (h *httpd) accept() {
	for {
		c, err := h.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptor left, perhaps: it passes
			h.log.Warn("health and metrics", "error", err)
			time.Sleep(time.Second)
			continue
		}
		select {
		case h.slots <- struct{}{}:
			h.track(c, true)
			h.done.Go(func() { h.serve(c) })
		default:
			c.Close()
		}
	}
}

func (h *httpd) track(c net.Conn, open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !open:
		delete(h.conns, c)
	case h.closed:
		c.Close()
	default:
		h.conns[c] = struct{}{}
	}
}

// serve answers the one request of a connection.
func (h *httpd) serve(c net.Conn) {
	defer func() {
		h.track(c, false)
		c.Close()
		<-h.slots
	}()
	if c.SetDeadline(time.Now().Add(httpdTime)) != nil {
		return
	}
	method, path, ok := readRequest(bufio.NewReader(io.LimitReader(c, httpdHeader)))
	a := answer{status: 400, body: "expected GET PATH HTTP/1.1\n"}
	switch {
	case ok && method != "GET" && method != "HEAD":
		a = answer{405, "expected GET or HEAD\n"}
	case ok:
		a = h.answer(path)
	}
	if a.status == 0 {
		a = answer{404, "not found\n"}
	}
	body := a.body
	if method == "HEAD" {
		body = ""
	}
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		a.status, statusText[a.status], len(a.body), body)
}

// readRequest reads a request's line and skips its header (RFC 9112, sections 3 and 5).
// The path is without the query.
func readRequest(r *bufio.Reader) (method, path string, ok bool) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", "", false
	}
	f := strings.Split(strings.TrimRight(line, "\r\n"), " ")
	if len(f) != 3 || !strings.HasPrefix(f[2], "HTTP/1.") || !strings.HasPrefix(f[1], "/") {
		return "", "", false
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", "", false
		}
		if strings.TrimRight(line, "\r\n") == "" {
			path, _, _ = strings.Cut(f[1], "?")
			return f[0], path, true
		}
	}
}
