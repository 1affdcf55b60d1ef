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
	clients     *clients     // verifies the callers; nil: everybody may call
	more        func() error // a further condition of readiness: it must return nil
	drain       time.Duration
	log         *slog.Logger

	up, ending atomic.Bool
}

// NeedLeaderElection returns false: every replica serves.
func (s *server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends. It then continues for the time drain, because API servers take that long to notice that
// this replica is gone.
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
		ErrorLog:       log.New(io.Discard, "", 0), // the server would log the failed handshakes of scanners and TCP probes
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
	time.Sleep(s.drain) // the API servers need that long to learn that this replica is gone

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

// healthz responds 200 while the process runs.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "ok\n") //nolint:errcheck // an error means that the client is gone
}

// readyz responds 200 if a pod that is created now would be tapped, otherwise 503 and the reason.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n") //nolint:errcheck // an error means that the client is gone
}

// ready returns nil if the server is ready, otherwise an error that describes the reason.
func (s *server) ready() error {
	switch {
	case s.ending.Load():
		return errors.New("shutting down")
	case !s.up.Load():
		return errors.New("not listening yet")
	}
	if _, err := s.certificate(nil); err != nil {
		return err
	}
	return s.more()
}
