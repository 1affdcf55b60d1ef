package selftest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// server is the listening end of the self-test. It listens on loopback only, on a port that the kernel chooses.
type server struct {
	*net.TCPListener
	address  netip.AddrPort
	accepted int // connections, including those of other processes
}

// listen starts to listen at 127.0.0.1, or at ::1 if that fails. After Close the port is free at once.
func listen(ctx context.Context) (*server, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		l, err = c.Listen(ctx, "tcp", "[::1]:0")
	}
	if err != nil {
		return nil, err
	}
	s := &server{TCPListener: l.(*net.TCPListener)}
	s.address = s.Addr().(*net.TCPAddr).AddrPort()
	return s, nil
}

// connection has both ends of a TCP connection.
type connection struct {
	client net.Conn
	server *net.TCPConn
	port   uint16 // the client's
}

// connect opens a connection to the server. Its deadline is that of ctx, which must have one.
func (s *server) connect(ctx context.Context, dial Dialer) (*connection, error) {
	client, err := dial(ctx, "tcp", s.address.String())
	if err != nil {
		return nil, err
	}
	from := client.LocalAddr().(*net.TCPAddr).AddrPort()
	end, _ := ctx.Deadline()
	accepted, err := s.accept(from, end)
	if err != nil {
		client.Close()
		return nil, err
	}
	c := &connection{client, accepted, from.Port()}
	if err = client.SetDeadline(end); err == nil {
		err = accepted.SetDeadline(end)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// accept accepts the connection from an address. It closes connections from other addresses, which any process in the pod's network
// may open.
func (s *server) accept(from netip.AddrPort, end time.Time) (*net.TCPConn, error) {
	if err := s.SetDeadline(end); err != nil {
		return nil, err
	}
	for {
		c, err := s.AcceptTCP()
		if err != nil {
			return nil, fmt.Errorf("accept the connection from %v: %w", from, err)
		}
		s.accepted++
		if c.RemoteAddr().(*net.TCPAddr).AddrPort() == from {
			return c, nil
		}
		reset(c)
	}
}

// close closes both ends.
func (c *connection) close() {
	reset(c.server)
	c.client.Close()
}

// reset closes a connection with a RST. So neither end remains in the state TIME-WAIT (RFC 9293, section 3.3.2), in which an
// application might not be able to listen at the port.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// play sends each turn from its end, and receives it at the other end before the next turn.
func (c *connection) play(turns []turn) error {
	for i := range turns {
		from, to := c.client, net.Conn(c.server)
		if turns[i].fromServer {
			from, to = to, from
		}
		if _, err := from.Write(turns[i].bytes); err != nil {
			return err
		}
		got := make([]byte, len(turns[i].bytes))
		if _, err := io.ReadFull(to, got); err != nil {
			return err
		}
		if !bytes.Equal(got, turns[i].bytes) {
			return fmt.Errorf("other bytes arrived than were sent, in turn %d", i+1)
		}
	}
	return nil
}
