package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/ownsockets"
)

// dialer opens the connections of one Kafka sink and can close them all.
type dialer struct {
	sockets *ownsockets.Sockets
	tls     *TLSConfig // nil: none
	limit   time.Duration

	life    context.Context // once it is done, no connection is opened
	brokers []string        // the brokers of the configuration

	mu     sync.Mutex
	open   map[*conn]struct{}
	last   *tls.ConnectionState // state of the last TLS handshake
	silent map[string]time.Time // when an address last failed to respond in time
}

// avoidFor is how long the dialer avoids a broker that did not respond in time, if there are other
// brokers. If a broker hangs, its kernel still accepts connections, and each of them would cost a
// timeout.
const avoidFor = 30 * time.Second

// errSilent is the error of dial for a broker that is avoided.
var errSilent = errors.New("it did not respond a moment ago")

// avoids reports whether the dialer avoids a broker. It does if the broker did not respond a moment
// ago, unless all other brokers did not respond either.
func (d *dialer) avoids(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	quiet := func(a string) bool { return time.Since(d.silent[a]) < avoidFor }
	return quiet(address) && slices.ContainsFunc(d.brokers, func(a string) bool { return a != address && !quiet(a) })
}

// noteSilent records that a broker did not respond in time.
func (d *dialer) noteSilent(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.silent == nil || len(d.silent) > 100 { // bounds the map where brokers often change their names
		d.silent = map[string]time.Time{}
	}
	d.silent[address] = time.Now()
}

// lastState returns the state of the last TLS handshake. It returns nil if there was no handshake.
func (d *dialer) lastState() *tls.ConnectionState {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// errConnect is a failure of TCP or TLS, before a request was sent to the broker.
type errConnect struct {
	address string
	tls     bool // the TLS handshake failed, not the TCP connection
	err     error
}

func (e *errConnect) Error() string { return e.address + ": " + e.err.Error() }
func (e *errConnect) Unwrap() error { return e.err }

// cause returns the text of the error without the address that was dialed. It has the IP address if the dialed one has a name.
func (e *errConnect) cause() string {
	op, ok := errors.AsType[*net.OpError](e.err)
	switch {
	case !ok || op.Op != "dial" || op.Err == nil:
		return e.err.Error()
	case op.Addr == nil || op.Addr.String() == e.address:
		return op.Err.Error()
	}
	return op.Addr.String() + ": " + op.Err.Error()
}

// errFile is a certificate or key file that cannot be used.
type errFile struct {
	setting string
	err     error
}

func (e *errFile) Error() string { return e.err.Error() }
func (e *errFile) Unwrap() error { return e.err }

// dial connects and completes the TLS handshake; see kafka.Transport.Dial.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.avoids(address) {
		return nil, &errConnect{address: address, err: errSilent}
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()
	raw, err := d.sockets.DialContext(ctx, network, address)
	if err != nil {
		return nil, &errConnect{address: address, err: err}
	}

	c := &conn{Conn: raw, dialer: d, address: address}
	if !d.track(c) {
		raw.Close()
		return nil, &errConnect{address: address, err: net.ErrClosed}
	}

	if d.tls == nil {
		return c, nil
	}
	secure, err := d.handshake(ctx, c, address)
	if err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

func (d *dialer) handshake(ctx context.Context, c net.Conn, address string) (net.Conn, error) {
	cfg, err := d.tls.load()
	if err != nil {
		return nil, err
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}

	secure := tls.Client(c, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, &errConnect{address: address, tls: true, err: err}
	}
	state := secure.ConnectionState()
	d.mu.Lock()
	d.last = &state
	d.mu.Unlock()
	return secure, nil
}

// load reads the files and returns the configuration for crypto/tls.
func (t *TLSConfig) load() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, &errFile{settingTLSCAFile, err}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &errFile{settingTLSCAFile, fmt.Errorf("%s contains no PEM certificate", t.CAFile)}
		}
	}

	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			setting := settingTLSCertFile
			if p, ok := errors.AsType[*os.PathError](err); ok && p.Path == t.KeyFile {
				setting = settingTLSKeyFile
			}
			return nil, &errFile{setting, err}
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func (d *dialer) track(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil {
		return false
	}
	if d.open == nil {
		d.open = map[*conn]struct{}{}
	}
	d.open[c] = struct{}{}
	return true
}

// closeAll closes every connection. The caller must cancel life first, so that no connection is
// added.
func (d *dialer) closeAll() {
	d.mu.Lock()
	var all []*conn
	for c := range d.open {
		all = append(all, c)
	}
	d.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// conn bounds the time of each read and write by the dialer's limit. kafka-go reads only while it
// waits for a response. It sets no deadline for SASL, and a deadline of five minutes for metadata.
// Without conn, a broker that hangs would block the sink.
type conn struct {
	net.Conn
	dialer  *dialer
	address string

	mu       sync.Mutex
	deadline time.Time // the deadline that SetDeadline has set
}

func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return c.Conn.SetDeadline(t)
}

func (c *conn) bound(set func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := time.Now().Add(c.dialer.limit)
	if !c.deadline.IsZero() && c.deadline.Before(t) {
		t = c.deadline
	}
	return set(t)
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.bound(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.dialer.noteSilent(c.address)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.bound(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
