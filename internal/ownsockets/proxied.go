package ownsockets

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// proxied tracks connections of the program that a mesh's proxy in the pod's network accepts. Such a
// connection is on lo. The proxy opens a second one, whose addresses look like those of an
// application's connection. The TLS of the second connection is recognized by the random of the
// ClientHello. The program chose this random, and a passthrough proxy does not change it. The zero
// value is ready to use. It is safe for concurrent use.
type proxied struct {
	mu     sync.Mutex
	hellos [64][32]byte // randoms of the latest ClientHellos; the index is their number modulo 64
	n      int          // number of ClientHellos so far
	dialed []dialed     // destinations, the latest last
}

// dialed is a destination, and the interfaces on which the latest connection to it was captured.
type dialed struct {
	to    netip.AddrPort
	taken bool // captured on lo
	left  bool // captured on another interface
}

// maxDialed bounds the number of stored destinations. A cluster has few brokers.
const maxDialed = 64

// sent records the random of a ClientHello, if the first bytes of a connection are a ClientHello. crypto/tls writes a
// ClientHello in one piece.
func (p *proxied) sent(b []byte) {
	const clientHello, random, end = 1, 11, 43 // record, message, version, random (RFC 8446, sections 4.1.2 and 5.1)
	if len(b) < end || b[0] != wire.ContentHandshake || b[5] != clientHello {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hellos[p.n%len(p.hellos)] = [32]byte(b[random:end])
	p.n++
}

// Sent reports whether one of the program's latest 64 TLS connections sent a ClientHello with
// this random.
func (s *Sockets) Sent(random [32]byte) bool {
	p := &s.proxied
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.hellos[:min(p.n, len(p.hellos))], random)
}

// dial records a connection that is about to be opened.
func (p *proxied) dial(to netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to = unmapped(to)
	p.dialed = slices.DeleteFunc(p.dialed, func(d dialed) bool { return d.to == to })
	if len(p.dialed) >= maxDialed {
		p.dialed = slices.Delete(p.dialed, 0, 1)
	}
	p.dialed = append(p.dialed, dialed{to: to})
}

func (p *proxied) find(to netip.AddrPort) *dialed {
	for i := range p.dialed {
		if d := &p.dialed[i]; d.to == unmapped(to) {
			return d
		}
	}
	return nil
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Runs records that a packet of the program's connection with a local port was captured on lo, or on
// another interface.
func (s *Sockets) Runs(port uint16, onLoopback bool) {
	s.mu.Lock()
	to := s.ports[port].to
	s.mu.Unlock()
	p := &s.proxied
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.find(to); d != nil && !to.Addr().IsLoopback() {
		d.taken, d.left = d.taken || onLoopback, d.left || !onLoopback
	}
}

// Proxied reports whether a proxy in the pod accepts the program's connections to this address and
// port. It returns false if such a connection was captured on an interface other than lo. Otherwise
// it returns true if one was captured on lo, or if known is true (the pod has such a proxy).
func (s *Sockets) Proxied(to netip.AddrPort, known bool) bool {
	p := &s.proxied
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.find(to)
	return d != nil && !d.left && (d.taken || known)
}
