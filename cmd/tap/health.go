package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// serve starts the server of /healthz, /readyz and /metrics after the time TAP_LISTEN_AFTER, unless TAP_LISTEN is none. The
// caller must call stop when ctx has ended; stop stops the server.
func (t *tap) serve(ctx context.Context) (stop func()) {
	var h *httpd
	done := make(chan struct{})
	start := func() {
		defer close(done)
		select {
		case <-time.After(t.ListenWait):
			h = t.listen()
		case <-ctx.Done():
		}
	}

	switch {
	case t.Listen == "" || t.Listen == "none":
		close(done)
	case t.ListenWait <= 0:
		h = t.listen()
		close(done)
	default:
		go start()
	}

	return func() {
		if <-done; h != nil {
			h.close()
		}
	}
}

// listen starts the server. If that fails, for example because the port is in use, it logs the error and returns nil. The
// tap then works without a server.
func (t *tap) listen() *httpd {
	h, err := listenHTTP(t.Listen, t.log, t.respond)
	if err != nil {
		t.log.Warn("no health and metrics", "error", err, "see", "TAP_LISTEN")
		return nil
	}
	if a, ok := h.Addr().(*net.TCPAddr); ok { // a port that is in use is the application's
		t.pipeline.Do(func(p *pipeline.Locked) { p.Judge.SetListen(uint16(a.Port)) })
	}
	return h
}

// respond returns the response for a path. /healthz has status 200 while the process works at all. /readyz has status 200 while
// the tap captures on every interface and delivers records. It also has status 200 while the tap must not capture. Otherwise it
// has status 503, and a reason on each line. The last line has the result of the self-test, which never changes the status: a failed
// test does not impair what the tap does, and a readiness probe on this page would keep the pod from its clients.
func (t *tap) respond(path string) response {
	switch path {
	case "/":
		return response{200, fmt.Sprintf("meshtls-tap %s\n/healthz\n/readyz\n/metrics\n", version)}
	case "/healthz":
		t.pipeline.Do(func(*pipeline.Locked) {}) // this call hangs if the capture hangs
		return response{200, "ok\n"}
	case "/readyz":
		return t.readiness()
	case "/metrics":
		var b strings.Builder
		t.metrics(&b)
		return response{200, b.String()}
	}
	return response{}
}

func (t *tap) readiness() response {
	if reason := t.idling.Load(); reason != nil {
		return response{200, fmt.Sprintf("idle: %s\n", *reason)}
	}
	tested := "self_test: " + t.tested.Load().String() + "\n"
	if problems := t.problems(); len(problems) > 0 {
		return response{503, strings.Join(problems, "\n") + "\n" + tested}
	}
	return response{200, "ok\n" + tested}
}
