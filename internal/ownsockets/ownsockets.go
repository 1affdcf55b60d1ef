package ownsockets

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lingering is how long a port still counts as the program's after the close. The last segments of
// a connection, and the RST of a refused connection, come within this time.
const lingering = 2 * time.Second

// remembered is how long closed ports are stored, for packets that are still in the capture
// ring.
const remembered = time.Minute

// Sockets records the local TCP ports of the connections that the program opens through
// DialContext. A port is recorded from before the SYN is sent until the connection is closed. The
// zero value is ready to use. All methods are safe for concurrent use.
//
// The port is known before the SYN because the socket is bound to an ephemeral port before it
// connects. IP_BIND_ADDRESS_NO_PORT must not be set. With this option the kernel would choose the
// port in connect, which is too late. The kernel could also give the same port to another program
// that connects to another address, and that connection would be excluded from the capture too.
type Sockets struct {
	mu      sync.Mutex
	ports   map[uint16]ownership
	dials   uint64
	proxied proxied
}

// Dials returns how many times DialContext has tried to connect to an address. Failed attempts
// count too.
func (s *Sockets) Dials() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// ownership is the time during which a port was, or still is, the program's.
type ownership struct {
	from, until time.Time      // until is zero while the connection is open
	to          netip.AddrPort // destination of the connection
	seen        []Captured     // the first captured connection of each interface, at most maxSeen
}

// maxSeen bounds the number of interfaces on which one connection is captured.
const maxSeen = 8

// Captured is a captured connection whose local port may be the program's.
type Captured struct {
	Port      uint16 // local port
	Peer      netip.AddrPort
	Interface string
	At        time.Time // time of its first packet
	HasSYN    bool      // its SYN was seen
}

// Owns reports whether a captured connection is one of the program's. OwnedAt must be true for its port,
// and no other connection with this port must have been captured before on its interface. A port belongs to
// one connection of the program at a time. After that connection was closed or reset, another program can
// use the port. So a connection that starts later, or has another peer, is not the program's, even if the
// program has not noticed a reset yet.
func (s *Sockets) Owns(c Captured) bool {
	if !s.OwnedAt(c.Port, c.At) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.ports[c.Port]
	if c.HasSYN && !o.until.IsZero() && c.At.After(o.until) {
		return false
	}
	for i := range o.seen {
		if first := &o.seen[i]; first.Interface == c.Interface {
			return c.Peer == first.Peer && (!c.HasSYN || c.At.Equal(first.At))
		}
	}
	if len(o.seen) < maxSeen {
		o.seen = append(o.seen, c)
		s.ports[c.Port] = o
	}
	return true
}

// OwnedAt reports whether the program itself used a local TCP port at the given time of the
// system's clock. The port still counts as the program's for 2 s after the program closed the
// connection, for the last segments. OwnedAt must be called at most one minute after the close.
func (s *Sockets) OwnedAt(port uint16, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.ports[port]
	return ok && !at.Before(o.from) && (o.until.IsZero() || at.Before(o.until.Add(lingering)))
}

// DialContext does the same as net.Dialer's DialContext, but tries the addresses one after the other, each
// for at most 4 s. The port is released when the returned connection is closed.
func (s *Sockets) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	a := dialing{sockets: s}
	d := net.Dialer{
		Timeout:        4 * time.Second, // time limit for each address
		FallbackDelay:  -1,              // attempts are not made in parallel, so only one port is in use
		ControlContext: a.control,
	}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		a.release()
		return nil, err
	}
	return &ownConn{Conn: c, release: a.release, proxied: &s.proxied}, nil
}

// add records a port before its socket connects, and deletes old records.
func (s *Sockets) add(port uint16, to netip.AddrPort) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports == nil {
		s.ports = map[uint16]ownership{}
	}
	for p, o := range s.ports {
		if !o.until.IsZero() && now.Sub(o.until) > remembered {
			delete(s.ports, p)
		}
	}
	s.ports[port] = ownership{from: now, to: to}
	s.dials++
}

// remove records that the connection with this local port was closed.
func (s *Sockets) remove(port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.ports[port]; ok {
		o.until = time.Now()
		s.ports[port] = o
	}
}

// dialing is the state of one call of DialContext.
type dialing struct {
	sockets *Sockets
	port    uint16 // local port of the socket that is connecting; 0: none
}

func (a *dialing) control(_ context.Context, network, address string, c syscall.RawConn) error {
	a.release() // the attempt with the previous address has failed
	var port uint16
	var err error
	if e := c.Control(func(fd uintptr) { port, err = bindEphemeral(fd, network) }); e != nil {
		return e
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	a.port = port
	to, _ := netip.ParseAddrPort(address) // if invalid, to is zero, and no proxy is expected
	a.sockets.add(port, to)
	a.sockets.proxied.dial(to)
	return nil
}

func (a *dialing) release() {
	if a.port != 0 {
		a.sockets.remove(a.port)
		a.port = 0
	}
}

// ownConn is a connection of the program. It releases its port on Close, and records the ClientHello that it sends.
type ownConn struct {
	net.Conn
	once    sync.Once
	release func()
	proxied *proxied
	wrote   atomic.Bool
}

func (c *ownConn) Write(b []byte) (int, error) {
	if !c.wrote.Swap(true) {
		c.proxied.sent(b)
	}
	return c.Conn.Write(b)
}

// Close closes the connection and releases its port.
func (c *ownConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
