package flow

import (
	"encoding/binary"
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// key identifies a connection, with the smaller endpoint first. It has no pointers, so the garbage collector does not
// scan the keys of maps. Its words are written and compared one by one, because a processor stalls when it reads more
// bytes at a time than were just written.
type key struct {
	aHigh, aLow uint64 // addresses as in Decoded, in network byte order
	bHigh, bLow uint64
	rest        uint64 // ports, interface, transport, IP version
	zone        Zone
}

func (k *key) set(d *Decoded, iface uint16) {
	k.aHigh, k.aLow = words(&d.Src, d.IPv6)
	k.bHigh, k.bLow = words(&d.Dst, d.IPv6)
	aPort, bPort := d.SrcPort, d.DstPort
	if k.aHigh > k.bHigh || k.aHigh == k.bHigh && (k.aLow > k.bLow || k.aLow == k.bLow && aPort > bPort) {
		k.aHigh, k.aLow, k.bHigh, k.bLow = k.bHigh, k.bLow, k.aHigh, k.aLow
		aPort, bPort = bPort, aPort
	}
	k.rest = uint64(aPort)<<48 | uint64(bPort)<<32 | uint64(iface)<<16 | uint64(d.Transport)<<8
	if d.IPv6 {
		k.rest |= 1
	}
	k.zone = d.Zone
}

// words converts an address of a Decoded to two words.
func words(a *[16]byte, ipv6 bool) (high, low uint64) {
	if !ipv6 {
		return uint64(binary.BigEndian.Uint32(a[:])) << 32, 0
	}
	return binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])
}

// equal reports whether two keys are equal.
func (k *key) equal(o *key) bool {
	return k.rest == o.rest && k.zone == o.zone && k.aHigh == o.aHigh && k.bHigh == o.bHigh && k.aLow == o.aLow && k.bLow == o.bLow
}

// iface returns the key's interface.
func (k *key) iface() uint16 { return uint16(k.rest >> 16) }

// keyTo returns the key of the connection with e as responder, in zone z.
func (c *Conn) keyTo(e *Endpoint, z Zone) (k key) {
	k.set(&Decoded{
		Src: bytesOf(c.Orig.Addr), Dst: bytesOf(e.Addr), SrcPort: c.Orig.Port, DstPort: e.Port,
		Transport: c.Transport, IPv6: !c.Orig.Addr.Is4(), Zone: z,
	}, c.Interface)
	return k
}

// matches reports whether a packet with key k belongs to c.
func (c *Conn) matches(k *key, d *Decoded) bool {
	if c.Transport != d.Transport || c.Interface != k.iface() || k.zone != c.Zones[0] && k.zone != c.Zones[1] {
		return false
	}
	src, dst := address(d, &d.Src), address(d, &d.Dst)
	return c.Orig.isAt(src, d.SrcPort) && c.respondsAt(dst, d.DstPort) || c.Orig.isAt(dst, d.DstPort) && c.respondsAt(src, d.SrcPort)
}

// respondsAt reports whether an address and port belong to the responder, as the originator used them or as a redirect
// changed them.
func (c *Conn) respondsAt(a netip.Addr, port uint16) bool {
	return c.Resp.isAt(a, port) || c.Redirected != nil && c.Redirected.isAt(a, port)
}

func (e *Endpoint) isAt(a netip.Addr, port uint16) bool { return e.Port == port && e.Addr == a }

// address and bytesOf convert an address of a Decoded to a netip.Addr and back.
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

// sender returns the side that sent a packet of c. Both faces of a redirected connection have the same originator.
func (c *Conn) sender(d *Decoded) Side {
	if d.SrcPort == c.Orig.Port && c.Orig.Addr == address(d, &d.Src) {
		return Originator
	}
	return Responder
}

// fromOriginator guesses whether the sender of a connection's first packet seen is the originator. The flags of a SYN
// or SYN-ACK decide; in mid-stream the ports do.
func fromOriginator(d *Decoded) bool {
	if d.Transport == wire.ProtoTCP && d.Flags&wire.FlagSYN != 0 {
		return d.Flags&wire.FlagACK == 0
	}
	const wellKnown, ephemeral = 1024, 32768
	s, r := d.SrcPort, d.DstPort
	switch {
	case (s < wellKnown) != (r < wellKnown):
		return r < wellKnown
	case d.Transport == wire.ProtoTCP && (s >= ephemeral) != (r >= ephemeral):
		return s >= ephemeral
	}
	return true
}
