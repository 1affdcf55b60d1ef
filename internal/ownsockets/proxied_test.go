package ownsockets

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
)

// hello returns the first bytes that crypto/tls sends.
func hello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: "broker.example"}).Handshake()
		a.Close()
	}()
	first := make([]byte, 16<<10)
	n, err := b.Read(first)
	if err != nil {
		t.Fatal(err)
	}
	return first[:n]
}

// TestSent: Sent is true for the random of a ClientHello that was sent. It is false for any other
// random.
func TestSent(t *testing.T) {
	var s Sockets
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		for buf := make([]byte, 4096); ; {
			if _, err := b.Read(buf); err != nil {
				return
			}
		}
	}()
	first, other := hello(t), hello(t)
	c := &ownConn{Conn: a, release: func() {}, proxied: &s.proxied}
	for _, data := range [][]byte{first, other} { // the second is data, not a ClientHello
		if _, err := c.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if !s.Sent([32]byte(first[11:43])) || s.Sent([32]byte(other[11:43])) || s.Sent([32]byte{}) {
		t.Error("want only the random that was sent first")
	}
	for _, short := range [][]byte{nil, {22}, first[:42], []byte("\x00\x00\x00\x23\x00\x12\x00\x03, a request in plaintext that is long enough")} {
		s.proxied.sent(short)
	}
	if s.proxied.n != 1 {
		t.Errorf("%d hellos, want 1", s.proxied.n)
	}
	for range 2 * len(s.proxied.hellos) {
		next := append([]byte(nil), first...)
		rand.Read(next[11:43])
		s.proxied.sent(next)
	}
	if s.Sent([32]byte(first[11:43])) {
		t.Error("an old random is still stored")
	}
}

// TestProxied: a connection on lo to an address that is not a loopback address is accepted by a
// proxy.
func TestProxied(t *testing.T) {
	var s Sockets
	broker := netip.MustParseAddrPort("10.1.1.9:9092")
	dial := func(port uint16, to netip.AddrPort) {
		s.add(port, to)
		s.proxied.dial(to)
	}
	holds := func(step string, with, without bool) {
		t.Helper()
		if a, b := s.Proxied(broker, true), s.Proxied(broker, false); a != with || b != without {
			t.Errorf("%s: where a proxy is known %v, else %v, want %v, %v", step, a, b, with, without)
		}
	}
	holds("nothing was dialed", false, false)
	dial(40001, netip.AddrPortFrom(netip.MustParseAddr("::ffff:10.1.1.9"), 9092))
	holds("dialed", true, false)
	s.Runs(40001, true)
	holds("on lo", true, true)
	dial(40002, broker)
	s.Runs(40002, false)
	holds("the next one left", false, false)
	dial(40003, broker)
	s.Runs(40003, true)
	holds("the pod was enrolled since", true, true)
	local := netip.MustParseAddrPort("127.0.0.1:9092")
	dial(40004, local)
	s.Runs(40004, true)
	s.Runs(40005, true) // a port that is not the program's
	if s.Proxied(local, false) {
		t.Error("a broker in the pod is reached on lo without a proxy")
	}
	for i := range 2 * maxDialed {
		dial(40006, netip.AddrPortFrom(broker.Addr(), uint16(1000+i)))
	}
	if len(s.proxied.dialed) != maxDialed || s.Proxied(broker, true) {
		t.Errorf("%d addresses, want the latest %d", len(s.proxied.dialed), maxDialed)
	}
}
