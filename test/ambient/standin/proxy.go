package standin

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// nobody is a logger that discards the messages of net/http.
var nobody = log.New(io.Discard, "", 0)

// Hop describes how to reach a destination.
type Hop struct {
	Via   netip.AddrPort // the peer's HBONE port
	Inner bool           // Via is a gateway: a second HBONE connection runs inside the tunnel, to the pod beyond the gateway
	To    netip.AddrPort // the pod beyond the gateway at which the inner HBONE connection ends
}

// Mesh maps each destination, an address and port, to its hop, as istiod would configure it. A destination without an
// entry is outside of the mesh.
type Mesh map[netip.AddrPort]Hop

// Proxy replaces ztunnel in one pod: its sockets are in the pod's namespace.
type Proxy struct {
	Pod      *Namespace
	Address  netip.Addr // the pod's
	Identity *Identity
	Mesh     Mesh
	Log      *Log
	Sessions tls.ClientSessionCache // if nil, the proxy never resumes sessions, like ztunnel

	listeners []net.Listener
}

// Start opens the three listeners of an enrolled pod.
func (p *Proxy) Start() error {
	for _, x := range []struct {
		address string
		serve   func(net.Listener)
	}{
		{"0.0.0.0:15008", p.inbound}, {"0.0.0.0:15001", p.each(p.outbound)}, {"0.0.0.0:15006", p.each(p.plaintext)},
	} {
		l, err := p.Pod.listen(x.address)
		if err != nil {
			return errors.Join(err, p.Close())
		}
		p.listeners = append(p.listeners, l)
		go x.serve(l)
	}
	return nil
}

// Close closes the listeners.
func (p *Proxy) Close() error {
	var errs []error
	for _, l := range p.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func (p *Proxy) each(serve func(net.Conn)) func(net.Listener) {
	return func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}
}

// inbound serves HBONE. For each stream it opens a connection to the application, with the client's address as its
// source.
func (p *Proxy) inbound(l net.Listener) {
	serveHBONE(l, p.Identity.server(), func(c net.Conn, s *tls.ConnectionState) {
		client, server := addrs(c, true)
		p.Log.Add(Event{Kind: HBONEIn, Client: client, Server: server, Peer: spiffeOf(s), Resumed: s.DidResume})
	}, func(c net.Conn) {
		client, server := addrs(c, true)
		p.Log.Add(Event{Kind: Refused, Client: client, Server: server})
	}, func(ctx context.Context, source netip.Addr, target string) (io.ReadWriteCloser, error) {
		to, err := netip.ParseAddrPort(target)
		if err != nil {
			return nil, err
		}
		return p.deliver(ctx, source, to)
	})
}

// deliver connects to the pod's application on lo, with a client's address as the source.
func (p *Proxy) deliver(ctx context.Context, source netip.Addr, to netip.AddrPort) (net.Conn, error) {
	c, err := p.Pod.dial(ctx, source, netip.AddrPortFrom(p.Address, to.Port()))
	if err != nil {
		return nil, err
	}
	client, server := addrs(c, false)
	p.Log.Add(Event{Kind: Delivered, Client: client, Server: server})
	return c, nil
}

// plaintext forwards connections that arrived without HBONE.
func (p *Proxy) plaintext(c net.Conn) {
	meant, err := originalDestination(c)
	if err != nil || meant.Port() == PortPlaintext {
		return
	}
	client, _ := addrs(c, true)
	p.Log.Add(Event{Kind: PlainIn, Client: client, Server: meant})
	to, err := p.deliver(context.Background(), client.Addr(), meant)
	if err != nil {
		return
	}
	defer to.Close()
	carry(c, to)
}

// outbound forwards the application's connections. If the destination is in the mesh, it uses HBONE; otherwise it
// forwards the bytes unchanged.
func (p *Proxy) outbound(c net.Conn) {
	meant, err := originalDestination(c)
	if err != nil || meant.Port() == PortOutbound {
		return
	}
	client, _ := addrs(c, true)
	p.Log.Add(Event{Kind: Redirected, Client: client, Server: meant})
	hop, ok := p.Mesh[meant]
	if !ok {
		p.passthrough(c, client, meant)
		return
	}
	s, err := p.Tunnel(hop).OpenOnly(context.Background(), meant.String())
	if err != nil {
		return
	}
	defer s.Close()
	carry(c, s)
}

func (p *Proxy) passthrough(c net.Conn, source, to netip.AddrPort) {
	out, err := p.Pod.dial(context.Background(), p.Address, to)
	if err != nil {
		return
	}
	defer out.Close()
	client, server := addrs(out, false)
	p.Log.Add(Event{Kind: PlainOut, Client: client, Server: server, For: source})
	carry(c, out)
}

// Tunnel returns an HBONE tunnel to the next hop. The streams of the tunnel lead to the target.
func (p *Proxy) Tunnel(hop Hop) *Tunnel {
	outer := tunnel(hop.Via, p.Identity.client(p.Sessions), func(ctx context.Context) (net.Conn, error) { return p.Pod.dial(ctx, p.Address, hop.Via) },
		func(c net.Conn, s *tls.ConnectionState) {
			client, server := addrs(c, false)
			p.Log.Add(Event{Kind: HBONEOut, Client: client, Server: server, Peer: spiffeOf(s), Resumed: s.DidResume})
		})
	if !hop.Inner {
		return outer
	}
	return tunnel(hop.To, p.Identity.client(nil), func(ctx context.Context) (net.Conn, error) {
		s, err := outer.OpenOnly(ctx, hop.To.String())
		return conn{s}, err
	},
		func(_ net.Conn, s *tls.ConnectionState) {
			p.Log.Add(Event{Kind: HBONEOut, Server: hop.To, Peer: spiffeOf(s), Inner: true})
		})
}

// StartGateway opens the listener of a waypoint or, if relay is true, of an east-west gateway. A waypoint forwards
// streams over its own HBONE connections. A gateway forwards the bytes of a stream unchanged.
func (p *Proxy) StartGateway(relay bool) error {
	l, err := p.Pod.listen("0.0.0.0:15008")
	if err != nil {
		return err
	}
	p.listeners = append(p.listeners, l)
	go serveHBONE(l, p.Identity.server(), func(c net.Conn, s *tls.ConnectionState) {
		client, server := addrs(c, true)
		p.Log.Add(Event{Kind: HBONEIn, Client: client, Server: server, Peer: spiffeOf(s), Resumed: s.DidResume})
	}, func(net.Conn) {}, func(ctx context.Context, _ netip.Addr, target string) (io.ReadWriteCloser, error) {
		to, err := netip.ParseAddrPort(target)
		if err != nil {
			return nil, err
		}
		if !relay {
			return p.Tunnel(p.Mesh[to]).OpenOnly(context.WithoutCancel(ctx), target)
		}
		c, err := p.Pod.dial(ctx, p.Address, to)
		if err != nil {
			return nil, err
		}
		client, server := addrs(c, false)
		p.Log.Add(Event{Kind: Relayed, Client: client, Server: server})
		return c, nil
	})
	return nil
}

// originalDestination returns the original destination of a redirected connection from netfilter (SO_ORIGINAL_DST,
// linux/netfilter_ipv4.h).
func originalDestination(c net.Conn) (netip.AddrPort, error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	const soOriginalDst = 80
	var addr *unix.IPv6Mreq // IPv6Mreq has room for a struct sockaddr_in: family, port, address
	e := raw.Control(func(fd uintptr) { addr, err = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, soOriginalDst) })
	if err := errors.Join(e, err); err != nil {
		return netip.AddrPort{}, err
	}
	b := addr.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3])), nil
}
