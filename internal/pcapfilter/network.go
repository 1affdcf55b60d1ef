package pcapfilter

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Offsets in the headers of IPv4 (RFC 791, section 3.1), IPv6 (RFC 8200, section 3), ARP
// (RFC 826) and the transports with ports.
const (
	ip4Fragment = 6 // flags and offset
	ip4Protocol = 9
	ip4Source   = 12
	ip4Dest     = 16
	offsetBits  = 0x1fff // the bits of the field at ip4Fragment that are the offset

	ip6Next   = 6
	ip6Source = 8
	ip6Dest   = 24
	ip6Header = 40

	arpSource = 14
	arpDest   = 24

	sourcePort = 0
	destPort   = 2
)

// ipProto tests the protocol that IP carries. It skips a fragment header of IPv6, but no other
// extension header.
func (g *generator) ipProto(n *ipProto, yes, no Label) {
	other := no
	if n.over4 && n.over6 {
		other = g.Label()
	}
	if n.over4 {
		inside := g.Label()
		g.etherProto(wire.EtherIPv4, inside, other)
		g.Bind(inside)
		g.loadNetwork(sizeB, ip4Protocol)
		g.jump(jmpJEQ, n.number, yes, other)
		if n.over6 {
			g.Bind(other)
		}
	}
	if n.over6 {
		inside, fragment, next := g.Label(), g.Label(), g.Label()
		g.etherProto(wire.EtherIPv6, inside, no)
		g.Bind(inside)
		g.loadNetwork(sizeB, ip6Next)
		g.jump(jmpJEQ, n.number, yes, fragment)
		g.Bind(fragment)
		g.jump(jmpJEQ, wire.ProtoFragment, next, no)
		g.Bind(next)
		g.loadNetwork(sizeB, ip6Header)
		g.jump(jmpJEQ, n.number, yes, no)
	}
}

// host4 tests IPv4 addresses, in the headers of IPv4 and in ARP and RARP.
func (g *generator) host4(n *host4, yes, no Label) {
	for i, over := range n.over {
		if over != wire.EtherIPv4 && g.layer.kind != byEtherType {
			continue // there is no ARP
		}
		next := no
		if i < len(n.over)-1 {
			next = g.Label()
		}
		inside := g.Label()
		g.etherProto(over, inside, next)
		g.Bind(inside)
		g.ends(n.dir, yes, next, func(src bool, yes, no Label) {
			g.loadNetwork(sizeW, address4(over, src))
			if n.mask != ^uint32(0) {
				g.emit(classALU|aluAND|sourceK, n.mask)
			}
			g.jump(jmpJEQ, n.address, yes, no)
		})
		if next != no {
			g.Bind(next)
		}
	}
	if last := n.over[len(n.over)-1]; last != wire.EtherIPv4 && g.layer.kind != byEtherType {
		g.Goto(no)
	}
}

// address4 returns the offset of an IPv4 address in the header of IPv4, ARP or RARP (over).
func address4(over uint32, src bool) uint32 {
	switch {
	case over != wire.EtherIPv4 && src:
		return arpSource
	case over != wire.EtherIPv4:
		return arpDest
	case src:
		return ip4Source
	}
	return ip4Dest
}

// host6 tests IPv6 addresses, up to the length of the prefix.
func (g *generator) host6(n *host6, yes, no Label) {
	inside := g.Label()
	g.etherProto(wire.EtherIPv6, inside, no)
	g.Bind(inside)
	address, bits := n.prefix.Addr().As16(), n.prefix.Bits()
	if bits == 0 {
		g.Goto(yes)
		return
	}
	g.ends(n.dir, yes, no, func(src bool, yes, no Label) {
		at := uint32(ip6Dest)
		if src {
			at = ip6Source
		}
		for i := 0; i < bits; i += 32 {
			next := yes
			if i+32 < bits {
				next = g.Label()
			}
			g.loadNetwork(sizeW, at+uint32(i/8))
			if bits < i+32 {
				g.emit(classALU|aluAND|sourceK, ^uint32(0)<<(i+32-bits))
			}
			g.jump(jmpJEQ, binary.BigEndian.Uint32(address[i/8:]), next, no)
			if next != yes {
				g.Bind(next)
			}
		}
	})
}

// ports tests ports. In IPv6 the ports must directly follow the fixed header. In IPv4 the packet
// must not be a later fragment.
func (g *generator) ports(n *ports, yes, no Label) {
	inside6, found6, ip4 := g.Label(), g.Label(), g.Label()
	g.etherProto(wire.EtherIPv6, inside6, ip4)
	g.Bind(inside6)
	g.loadNetwork(sizeB, ip6Next)
	g.OneOf(n.over, found6, no)
	g.Bind(found6)
	g.ends(n.dir, yes, no, func(src bool, yes, no Label) {
		g.loadNetwork(sizeH, ip6Header+portOffset(src))
		g.within(n, yes, no)
	})

	g.Bind(ip4)
	inside4, found4, whole := g.Label(), g.Label(), g.Label()
	g.etherProto(wire.EtherIPv4, inside4, no)
	g.Bind(inside4)
	g.loadNetwork(sizeB, ip4Protocol)
	g.OneOf(n.over, found4, no)
	g.Bind(found4)
	g.loadNetwork(sizeH, ip4Fragment)
	g.jump(jmpJSET, offsetBits, no, whole)
	g.Bind(whole)
	g.findTransport()
	g.ends(n.dir, yes, no, func(src bool, yes, no Label) {
		g.emit(classLD|modeIND|sizeH, g.network()+portOffset(src))
		g.within(n, yes, no)
	})
}

func portOffset(src bool) uint32 {
	if src {
		return sourcePort
	}
	return destPort
}

// within tests whether the accumulator is within the range of ports.
func (g *generator) within(n *ports, yes, no Label) {
	if n.low == n.up {
		g.jump(jmpJEQ, n.low, yes, no)
		return
	}
	enough := g.Label()
	g.jump(jmpJGE, n.low, enough, no)
	g.Bind(enough)
	g.jump(jmpJGT, n.up, no, yes)
}
