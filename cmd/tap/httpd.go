package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// httpd serves small text pages for probes and scrapes. Clients are not trusted. At most httpdConns
// connections are open, each for one request and for at most httpdTime.
type httpd struct {
	net.Listener
	server  *http.Server
	respond func(path string) response
	log     *slog.Logger
	slots   chan struct{} // one for each open connection
	served  chan struct{} // closed once no further connection is accepted
}

// response is the response to a request for a path. The zero value is 404.
type response struct {
	status int
	body   string
}

const (
	httpdConns  = 16               // connections that are open at a time; further ones are closed at once
	httpdTime   = 10 * time.Second // time limit of one connection: half for the request, half for the response
	httpdHeader = 8 << 10          // bytes of a request's header; net/http adds 4096
)

// listenHTTP starts a server; close ends it.
func listenHTTP(address string, log *slog.Logger, respond func(path string) response) (*httpd, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return serveHTTP(l, log, respond), nil
}

// serveHTTP starts a server on l. The server owns l.
func serveHTTP(l net.Listener, log *slog.Logger, respond func(path string) response) *httpd {
	h := &httpd{Listener: l, respond: respond, log: log, slots: make(chan struct{}, httpdConns), served: make(chan struct{})}
	h.server = &http.Server{
		Handler:                      h,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            httpdTime / 2,
		ReadTimeout:                  httpdTime / 2,
		WriteTimeout:                 httpdTime / 2,
		IdleTimeout:                  httpdTime / 2, // has no effect, because connections are not kept alive
		MaxHeaderBytes:               httpdHeader,
		ConnState:                    h.connState,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}

	h.server.SetKeepAlivesEnabled(false) // an idle client must not occupy a slot
	go func() {
		defer close(h.served)
		_ = h.server.Serve(h) // Serve returns once the listener is closed
	}()
	return h
}

// close closes the server and all its connections and waits for their goroutines. It does not
// wait for clients. It may be called again.
func (h *httpd) close() {
	h.server.Close()
	<-h.served
	h.server.Close() // closes a connection that was accepted during the first call
	for range cap(h.slots) {
		h.slots <- struct{}{} // blocks until a connection's goroutine has ended
	}
	for range cap(h.slots) {
		<-h.slots
	}
}

// Accept implements net.Listener. It closes connections above the limit. It returns only
// net.ErrClosed. Other errors, such as a lack of file descriptors, are logged, and Accept tries
// again.
func (h *httpd) Accept() (net.Conn, error) {
	for {
		c, err := h.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			h.log.Warn("health and metrics", "error", err)
			time.Sleep(time.Second)
			continue
		}
		select {
		case h.slots <- struct{}{}:
			return c, nil
		default:
			c.Close()
		}
	}
}

// connState releases the slot of a connection when its goroutine ends.
func (h *httpd) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		<-h.slots
	}
}

// ServeHTTP implements http.Handler.
func (h *httpd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := response{http.StatusMethodNotAllowed, "expected GET or HEAD\n"}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		a = h.page(r.URL.Path)
	} else {
		w.Header().Set("Allow", "GET, HEAD")
	}
	if a.status == 0 {
		a = response{http.StatusNotFound, "not found\n"}
	}

	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body) // the client may be gone; net/http sends no body for HEAD
}

// page calls respond on a new goroutine. A panic there ends the process, and the container is restarted. On its own
// goroutine net/http would recover the panic while locks are still held, and the capture would hang.
func (h *httpd) page(path string) response {
	page := make(chan response, 1)
	go func() { page <- h.respond(path) }()
	return <-page
}
