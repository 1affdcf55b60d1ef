package standin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds how long a proxy waits.
const patience = 5 * time.Minute

// socket sets two options of the proxy's sockets: a mark, which lets their packets pass the pod's rules, and
// permission to use addresses that are not the pod's.
func socket(_, _ string, c syscall.RawConn) error {
	var errs error
	err := c.Control(func(fd uintptr) {
		errs = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark), unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1))
	})
	return errors.Join(err, errs)
}

// listen opens a listening socket of the proxy in a namespace.
func (n *Namespace) listen(address string) (l net.Listener, err error) {
	e := n.Do(func() error {
		l, err = (&net.ListenConfig{Control: socket}).Listen(context.Background(), "tcp4", address)
		return err
	})
	return l, e
}

// dial connects a socket of the proxy in a namespace. from is the local address; the zero address means the pod's own.
// from may be the address of a peer.
func (n *Namespace) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{Control: socket, Timeout: patience}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	e := n.Do(func() error {
		c, err = d.DialContext(ctx, "tcp4", to.String())
		return err
	})
	return c, e
}

// Tunnel is an HBONE connection to a peer's port 15008. Its streams are the connections of
// applications.
type Tunnel struct {
	transport *http.Transport
	to        netip.AddrPort

	mu   sync.Mutex
	conn io.Closer // nil before the connection is open
}

// tunnel returns a tunnel whose connections dial opens. It sends no data before Open is called.
func tunnel(to netip.AddrPort, cfg *tls.Config, dial func(ctx context.Context) (net.Conn, error), done func(net.Conn, *tls.ConnectionState)) *Tunnel {
	t := &Tunnel{transport: &http.Transport{ForceAttemptHTTP2: true, MaxConnsPerHost: 1}, to: to}
	t.transport.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		raw, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		c := tls.Client(raw, cfg)
		if err := c.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		state := c.ConnectionState()
		done(raw, &state)
		t.mu.Lock()
		t.conn = c
		t.mu.Unlock()
		return c, nil
	}
	return t
}

// Open opens a stream to a target with the method CONNECT.
func (t *Tunnel) Open(ctx context.Context, target string) (*Stream, error) {
	r, w := io.Pipe()
	req := (&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: t.to.String()}, Host: target, Body: r, Header: http.Header{}}).WithContext(ctx)
	res, err := t.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("CONNECT %s: %s", target, res.Status)
	}
	return &Stream{Reader: res.Body, w: w, body: res.Body}, nil
}

// Close closes the connection and its streams.
func (t *Tunnel) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return nil
	}
	return t.conn.Close()
}

// OpenOnly is like Open, for a tunnel with only one stream: the tunnel is closed with the stream.
func (t *Tunnel) OpenOnly(ctx context.Context, target string) (*Stream, error) {
	s, err := t.Open(ctx, target)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	s.tunnel = t
	return s, nil
}

// Stream is one CONNECT request and its response.
type Stream struct {
	io.Reader
	w      io.WriteCloser
	body   io.Closer
	tunnel io.Closer // if not nil, it is closed with the stream
}

func (s *Stream) Write(b []byte) (int, error) { return s.w.Write(b) }

// CloseWrite ends the sending direction.
func (s *Stream) CloseWrite() error { return s.w.Close() }

// Close ends the stream.
func (s *Stream) Close() error {
	err := errors.Join(s.w.Close(), s.body.Close())
	if s.tunnel != nil {
		err = errors.Join(err, s.tunnel.Close())
	}
	return err
}

// conn makes a Stream a net.Conn for crypto/tls. It has no addresses and deadlines.
type conn struct{ *Stream }

func (conn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (conn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (conn) SetDeadline(time.Time) error      { return nil }
func (conn) SetReadDeadline(time.Time) error  { return nil }
func (conn) SetWriteDeadline(time.Time) error { return nil }

// serveHBONE serves HBONE on a listener until the listener is closed. It calls known for each connection whose client
// it has verified, and failed for each failed handshake. It calls open to connect a stream to its target; source is
// the client's address.
func serveHBONE(l net.Listener, cfg *tls.Config, known func(c net.Conn, s *tls.ConnectionState), failed func(c net.Conn),
	open func(ctx context.Context, source netip.Addr, target string) (io.ReadWriteCloser, error),
) {
	cfg = cfg.Clone()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		one := cfg.Clone()
		one.GetConfigForClient = nil
		one.VerifyConnection = func(s tls.ConnectionState) error { known(hello.Conn, &s); return nil }
		return one, nil
	}
	// All connections must share the session ticket keys.
	var keys [1][32]byte
	copy(keys[0][:], "stand-in for ztunnel, for tests!")
	cfg.SetSessionTicketKeys(keys[:])
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	s := &http.Server{
		ReadHeaderTimeout: patience, Protocols: protocols, TLSConfig: cfg, ErrorLog: nobody,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveConnect(w, r, open) }),
		ConnState: func(c net.Conn, state http.ConnState) {
			if t, ok := c.(*tls.Conn); ok && state == http.StateClosed && !t.ConnectionState().HandshakeComplete {
				failed(c)
			}
		},
	}
	_ = s.Serve(tls.NewListener(l, cfg))
}

func serveConnect(w http.ResponseWriter, r *http.Request, open func(ctx context.Context, source netip.Addr, target string) (io.ReadWriteCloser, error)) {
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c, err := open(r.Context(), from.Addr(), r.Host)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.Close()
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return
	}
	go func() {
		_, _ = io.Copy(c, r.Body)
		closeWrite(c)
	}()
	_, _ = io.Copy(flushed{w, flush}, c)
}

// flushed is a writer that flushes after each write.
type flushed struct {
	w     io.Writer
	flush *http.ResponseController
}

func (f flushed) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	return n, errors.Join(err, f.flush.Flush())
}

// carry copies in both directions until both have ended.
func carry(a, b io.ReadWriteCloser) {
	var both sync.WaitGroup
	for _, way := range [2][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			closeWrite(way[1])
		})
	}
	both.Wait()
}

func closeWrite(c io.Writer) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// addrs returns the addresses of both ends of a connection, client first. accepted reports whether this socket
// accepted the connection.
func addrs(c net.Conn, accepted bool) (client, server netip.AddrPort) {
	local, remote := addrOf(c.LocalAddr()), addrOf(c.RemoteAddr())
	if accepted {
		return remote, local
	}
	return local, remote
}

func addrOf(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
