package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// server answers /healthz, /readyz and /metrics.
type server struct {
	http *http.Server
	done chan struct{}
}

// serve starts the server. A port that is taken is no reason to end: the tap goes on
// without it and says so.
func (t *tap) serve() *server {
	s := &server{done: make(chan struct{})}
	if t.Listen == "" || t.Listen == "none" {
		close(s.done)
		return s
	}
	l, err := net.Listen("tcp", t.Listen)
	if err != nil {
		t.log.Warn("no health and metrics", "error", err, "see", "TAP_LISTEN")
		close(s.done)
		return s
	}
	s.http = &http.Server{
		Handler: t.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.log.Warn("health and metrics ended", "error", err)
		}
	}()
	return s
}

// close ends the server and waits for it.
func (s *server) close() error {
	if s.http == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}

// handler answers: /healthz with 200 as long as the process works at all, /readyz with
// 200 when it captures on every interface and the last delivery went well, else with
// 503 and one reason on each line.
func (t *tap) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		t.pipeline.mu.Lock() // one that hangs is not healthy
		defer t.pipeline.mu.Unlock()
		io.WriteString(w, "ok\n") //nolint:errcheck // the client is gone
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		problems := t.problems()
		if why := t.idling.Load(); why != nil {
			fmt.Fprintf(w, "idle: %s\n", *why)
			return
		}
		if len(problems) == 0 {
			io.WriteString(w, "ok\n") //nolint:errcheck // the client is gone
			return
		}
		http.Error(w, strings.Join(problems, "\n"), http.StatusServiceUnavailable)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		t.metrics(w)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "meshtls-tap %s\n/healthz\n/readyz\n/metrics\n", version)
	})
	return mux
}
