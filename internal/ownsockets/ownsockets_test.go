package ownsockets

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"
)

// owns reports whether an open connection of the program has this local port.
func owns(s *Sockets, port uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.ports[port]
	return ok && o.until.IsZero()
}

func TestSockets(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Skipf("no such address here: %v", err)
			}
			defer l.Close()
			var s Sockets
			before := time.Now()
			c, err := s.DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			a, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			port := uint16(a.RemoteAddr().(*net.TCPAddr).Port)
			if !owns(&s, port) || s.OwnedAt(port, before) || !s.OwnedAt(port, time.Now()) {
				t.Errorf("port %d of an open connection: %+v", port, s.ports)
			}
			if owns(&s, uint16(l.Addr().(*net.TCPAddr).Port)) {
				t.Error("owns the server's port")
			}
			c.Close()
			closed := time.Now()
			if owns(&s, port) {
				t.Error("owns the port after Close")
			}
			if !s.OwnedAt(port, closed) || s.OwnedAt(port, closed.Add(lingering+time.Second)) {
				t.Errorf("port %d of a closed connection: %+v", port, s.ports)
			}
		})
	}
}

// TestSocketsBeforeConnect checks the port in the last hook before connect(2).
func TestSocketsBeforeConnect(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var s Sockets
	var known uint16
	a := dialing{sockets: &s}
	d := net.Dialer{ControlContext: func(ctx context.Context, network, address string, c syscall.RawConn) error {
		err := a.control(ctx, network, address, c)
		if a.port == 0 || !owns(&s, a.port) {
			t.Errorf("port %d is not known before the SYN", a.port)
		}
		known = a.port
		return err
	}}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.LocalAddr().(*net.TCPAddr).Port; got != int(known) {
		t.Errorf("connected from port %d, announced %d", got, known)
	}
}

func TestSocketsRefused(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // no program listens there now
	var s Sockets
	if c, err := s.DialContext(t.Context(), "tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Skip("somebody else took the port")
	}
	if len(s.ports) != 1 {
		t.Fatalf("%d ports, want 1", len(s.ports))
	}
	for port := range s.ports {
		if owns(&s, port) || !s.OwnedAt(port, time.Now()) {
			t.Errorf("port %d of a refused connection: %+v", port, s.ports)
		}
	}
}
