package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// server is the HTTPS server of the endpoints. It runs on every replica.
type server struct {
	listen      string
	handler     http.Handler
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	clients     *clients     // who may call; nil: everybody
	more        func() error // what else readiness needs
	drain       time.Duration
	log         *slog.Logger

	up, ending atomic.Bool
}

// NeedLeaderElection is false: every replica answers.
func (s *server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends, and then for as long as it takes until no API server calls
// any more.
func (s *server) Start(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return err
	}
	web := &http.Server{
		Handler:           s.handler,
		TLSConfig:         s.tls(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       log.New(io.Discard, "", 0), // handshakes of scanners and of probes
	}
	served := make(chan error, 1)
	go func() { served <- web.ServeTLS(l, "", "") }()
	s.up.Store(true)
	s.log.Info("webhook listens", "address", l.Addr().String())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	s.ending.Store(true)
	time.Sleep(s.drain) // the endpoints of the Service have to forget us first
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := web.Shutdown(last); err != nil {
		web.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// tls returns the configuration of the HTTPS server.
func (s *server) tls() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate}
	if s.clients == nil {
		return config
	}
	return s.clients.require(config)
}

// healthz answers as long as the process does.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "ok\n") //nolint:errcheck // the client is gone
}

// readyz answers 200 when a pod that comes now is tapped, else 503 and why not.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n") //nolint:errcheck // the client is gone
}

func (s *server) ready() error {
	switch {
	case s.ending.Load():
		return errors.New("ending")
	case !s.up.Load():
		return errors.New("not listening yet")
	}
	if _, err := s.certificate(nil); err != nil {
		return err
	}
	return s.more()
}
