package flow

import (
	"encoding/binary"
	"net/netip"
)

// key names a connection: the smaller endpoint first. It holds no pointer, so that the
// garbage collector need not look into the map's keys.
type key struct {
	a, b         [16]byte // as in a Decoded
	aPort, bPort uint16
	iface        uint16
	transport    uint8
	ipv6         bool
}

func keyOf(d *Decoded, iface uint16) key {
	k := key{d.Src, d.Dst, d.SrcPort, d.DstPort, iface, d.Transport, d.IPv6}
	k.order()
	return k
}

func (k *key) order() {
	if c := compare(&k.a, &k.b); c > 0 || c == 0 && k.aPort > k.bPort {
		k.a, k.b = k.b, k.a
		k.aPort, k.bPort = k.bPort, k.aPort
	}
}

func compare(a, b *[16]byte) int {
	x, y := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:])
	if x == y {
		x, y = binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// keyTo returns the key that a connection has with e as its responder.
func (c *Conn) keyTo(e *Endpoint) key {
	k := key{bytesOf(c.Orig.Addr), bytesOf(e.Addr), c.Orig.Port, e.Port, c.Interface, c.Transport, !c.Orig.Addr.Is4()}
	k.order()
	return k
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
