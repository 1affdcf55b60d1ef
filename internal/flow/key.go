package flow

import (
	"encoding/binary"
	"net/netip"
)

// key names a connection: the smaller endpoint first. It holds no pointer, so that the
// garbage collector need not look into the map's keys, and is made of words that are
// written and compared whole: a processor waits where it reads more at a time than was
// just written.
type key struct {
	a, b [2]uint64 // addresses as in a Decoded, in network order
	rest uint64    // ports, interface, transport, IP version
}

func keyOf(d *Decoded, iface uint16) key {
	return newKey(words(&d.Src, d.IPv6), words(&d.Dst, d.IPv6), d.SrcPort, d.DstPort, iface, d.Transport, d.IPv6)
}

func newKey(a, b [2]uint64, aPort, bPort, iface uint16, transport uint8, ipv6 bool) key {
	rest := uint64(iface)<<16 | uint64(transport)<<8
	if ipv6 {
		rest |= 1
	}
	if a[0] > b[0] || a[0] == b[0] && (a[1] > b[1] || a[1] == b[1] && aPort > bPort) {
		a, b, aPort, bPort = b, a, bPort, aPort
	}
	return key{a, b, uint64(aPort)<<48 | uint64(bPort)<<32 | rest}
}

// words reads an address of a Decoded.
func words(a *[16]byte, ipv6 bool) [2]uint64 {
	if !ipv6 {
		return [2]uint64{uint64(binary.BigEndian.Uint32(a[:])) << 32}
	}
	return [2]uint64{binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])}
}

// is tells whether two keys are the same.
func (k *key) is(o *key) bool {
	return k.rest == o.rest && k.a[0] == o.a[0] && k.b[0] == o.b[0] && k.a[1] == o.a[1] && k.b[1] == o.b[1]
}

// iface returns the interface that a key is of.
func (k *key) iface() uint16 { return uint16(k.rest >> 16) }

// keyTo returns the key that a connection has with e as its responder.
func (c *Conn) keyTo(e *Endpoint) key {
	ipv6 := !c.Orig.Addr.Is4()
	a, b := bytesOf(c.Orig.Addr), bytesOf(e.Addr)
	return newKey(words(&a, ipv6), words(&b, ipv6), c.Orig.Port, e.Port, c.Interface, c.Transport, ipv6)
}

// address and bytesOf turn an address of a Decoded into a netip.Addr and back.
func address(d *Decoded, a *[16]byte) netip.Addr {
	if d.IPv6 {
		return netip.AddrFrom16(*a)
	}
	return netip.AddrFrom4([4]byte(a[:4]))
}

func bytesOf(a netip.Addr) (b [16]byte) {
	if !a.Is4() {
		return a.As16()
	}
	v4 := a.As4()
	copy(b[:], v4[:])
	return b
}

// sender returns the side that a packet of c comes from. Both faces of a redirected
// connection have the originator in common.
func (c *Conn) sender(d *Decoded) Side {
	if d.SrcPort == c.Orig.Port && c.Orig.Addr == address(d, &d.Src) {
		return Originator
	}
	return Responder
}

// fromOriginator guesses from the first packet seen of a connection whether its sender
// is the originator. A SYN says so; in mid-stream the ports have to do.
func fromOriginator(d *Decoded) bool {
	if d.Transport == protoTCP && d.Flags&flagSYN != 0 {
		return d.Flags&flagACK == 0
	}
	const wellKnown, ephemeral = 1024, 32768
	s, r := d.SrcPort, d.DstPort
	switch {
	case (s < wellKnown) != (r < wellKnown):
		return r < wellKnown
	case d.Transport == protoTCP && (s >= ephemeral) != (r >= ephemeral):
		return s >= ephemeral
	}
	return true
}
