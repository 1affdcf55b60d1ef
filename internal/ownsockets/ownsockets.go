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

// lingering is how long after its close a port still counts as own: the last segments of a
// connection, and the RST of a refused one, follow the close.
const lingering = 2 * time.Second

// remembered is how long closed ports are remembered, for packets that still wait in the
// capture ring.
const remembered = time.Minute

// Sockets knows the local TCP ports of the connections that the program itself made
// through DialContext, from before the SYN leaves until the connection is closed. The zero
// value is ready to use. All methods are safe for concurrent use.
//
// The port is known early because the socket is bound to an ephemeral port before it
// connects. IP_BIND_ADDRESS_NO_PORT must not be set on it: the kernel would then choose
// the port in connect, too late to be known, and could share it with another program's
// connection to another address, which would be left out with it.
type Sockets struct {
	mu      sync.Mutex
	ports   map[uint16]ownership
	dials   uint64
	proxied proxied
}

// Dials returns how many connections DialContext has tried to open, including those that failed.
func (s *Sockets) Dials() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// ownership is when a port was, or still is, this program's.
type ownership struct {
	from, until time.Time      // until is zero while it is open
	to          netip.AddrPort // its destination
	seen        []Captured     // the connection as each interface showed it first, at most maxSeen
}

// maxSeen bounds the interfaces that show one connection.
const maxSeen = 8

// Captured is a captured connection whose local port may be the program's.
type Captured struct {
	Port      uint16 // local
	Peer      netip.AddrPort
	Interface string
	At        time.Time // of its first packet
	HasSYN    bool      // its SYN was seen
}

// Owns reports whether a captured connection is one of the program's: OwnedAt says so, and it is
// the first on its interface. A port belongs to one connection of the program at a time. When that
// one was reset, which the program may notice late, or was closed, another program can take the
// port: what begins then, or has another peer, is that program's.
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

// OwnedAt reports whether the local TCP port was the program's at that time, by the
// system's clock. It includes the last segments after a close (2 s). Packets may be asked
// about up to a minute after their connection ended.
func (s *Sockets) OwnedAt(port uint16, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.ports[port]
	return ok && !at.Before(o.from) && (o.until.IsZero() || at.Before(o.until.Add(lingering)))
}

// DialContext connects like net.Dialer's does, one address after the other. The port is
// released when the returned connection is closed.
func (s *Sockets) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	a := dialing{sockets: s}
	d := net.Dialer{
		Timeout:        4 * time.Second, // for each address
		FallbackDelay:  -1,              // no race of two sockets: one port at a time
		ControlContext: a.control,
	}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		a.release()
		return nil, err
	}
	return &ownConn{Conn: c, release: a.release, proxied: &s.proxied}, nil
}

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

func (s *Sockets) remove(port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.ports[port]; ok {
		o.until = time.Now()
		s.ports[port] = o
	}
}

// dialing is one DialContext: it has the port of the socket that connects at the moment.
type dialing struct {
	sockets *Sockets
	port    uint16
}

func (a *dialing) control(_ context.Context, network, address string, c syscall.RawConn) error {
	a.release() // the address before did not answer
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
	to, _ := netip.ParseAddrPort(address) // unknown: no proxy is looked for
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

// ownConn releases its port when it is closed, and records the ClientHello that it sends.
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
