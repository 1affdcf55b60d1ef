package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// serve starts the server of /healthz, /readyz and /metrics, where there is to be one, once
// TAP_LISTEN_AFTER is over. It returns what ends it, which is called when ctx has ended.
func (t *tap) serve(ctx context.Context) (end func()) {
	var h *httpd
	done := make(chan struct{})
	begin := func() {
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
		go begin()
	}
	return func() {
		if <-done; h != nil {
			h.close()
		}
	}
}

// listen takes the port. One that is taken is no reason to end: the tap goes on without it,
// and says so.
func (t *tap) listen() *httpd {
	h, err := listenHTTP(t.Listen, t.log, t.answer)
	if err != nil {
		t.log.Warn("no health and metrics", "error", err, "see", "TAP_LISTEN")
		return nil
	}
	if a, ok := h.Addr().(*net.TCPAddr); ok { // only what it got is its own: else it is the application's
		t.pipeline.Do(func(p *pipeline.Locked) { p.Judge.SetListen(uint16(a.Port)) })
	}
	return h
}

// answer answers a path: /healthz with 200 as long as the process works at all, /readyz
// with 200 when it captures on every interface and the last delivery went well, or does
// nothing because it was told so, else with 503 and one reason on each line.
func (t *tap) answer(path string) answer {
	switch path {
	case "/":
		return answer{200, fmt.Sprintf("meshtls-tap %s\n/healthz\n/readyz\n/metrics\n", version)}
	case "/healthz":
		t.pipeline.Do(func(*pipeline.Locked) {}) // one that hangs is not healthy
		return answer{200, "ok\n"}
	case "/readyz":
		return t.readiness()
	case "/metrics":
		var b strings.Builder
		t.metrics(&b)
		return answer{200, b.String()}
	}
	return answer{}
}

func (t *tap) readiness() answer {
	if why := t.idling.Load(); why != nil {
		return answer{200, fmt.Sprintf("idle: %s\n", *why)}
	}
	if problems := t.problems(); len(problems) > 0 {
		return answer{503, strings.Join(problems, "\n") + "\n"}
	}
	return answer{200, "ok\n"}
}
