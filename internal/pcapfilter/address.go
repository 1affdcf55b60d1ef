package pcapfilter

import (
	"net/netip"
	"strconv"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// host returns the condition of host and net. A prefix length or a mask may follow an IPv4 or
// IPv6 address.
func (p *parser) host(q qualifiers, t token) node {
	if q.proto != nil && q.proto.number != 0 {
		return p.problem(t, "%s has no addresses: expected ip, ip6, arp or ether before them, or none, as in %s and host %s", q.proto.name, q.proto.name, t.text)
	}
	switch {
	case t.kind == kindMAC && q.ether() && q.typ != "net":
		return &etherHost{q.dir, t.mac, t.at}
	case t.kind == kindMAC:
		return p.problem(t, "expected %s; an Ethernet address needs ether before it", q.expected())
	case t.kind == kindName:
		return p.problem(t, "expected %s; names are not resolved", q.expected())
	case q.ether():
		return p.problem(t, "expected %s", q.expected())
	case t.kind == kindIPv6:
		return p.host6(q, t)
	case t.kind == kindIPv4, t.kind == kindNumber:
		return p.host4(q, t)
	}
	return p.problem(t, "expected %s", q.expected())
}

// host4 returns the condition of an IPv4 address or network.
func (p *parser) host4(q qualifiers, t token) node {
	n := &host4{dir: q.dir, over: []uint32{wire.EtherIPv4, wire.EtherARP, wire.EtherRARP}}
	if q.proto != nil {
		n.over = []uint32{uint32(q.proto.ether)}
		if q.proto.ether == wire.EtherIPv6 {
			return p.problem(t, "expected an IPv6 address after ip6")
		}
	}
	switch {
	case t.kind == kindNumber && (q.typ != "net" || t.value == 0 || t.value > 255):
		return p.problem(t, "expected %s", q.expected())
	case t.kind == kindNumber:
		t.parts = 1
	case t.parts < 4 && q.typ != "net":
		return p.problem(t, "expected an address of four numbers, or net before a part of one")
	}

	shift := 8 * uint32(4-t.parts)
	n.address, n.mask = t.value<<shift, ^uint32(0)<<shift
	if !p.mask(q, t, n) {
		return nil
	}
	if n.address&^n.mask != 0 {
		return p.problem(t, "the address has bits beyond the network's: expected %s", netip.AddrFrom4(bytes4(n.address&n.mask)))
	}
	return n
}

func bytes4(a uint32) [4]byte { return [4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)} }

// mask reads a prefix length or a mask after an IPv4 address, if there is one.
func (p *parser) mask(q qualifiers, t token, n *host4) bool {
	switch {
	case t.kind == kindNumber && (p.is("/") || p.is("mask")):
		p.unexpected("and, or or the end: a prefix length or a mask needs more of an address before it, such as " + t.text + ".0.0.0")
		return false
	case p.is("/"):
		bits, ok := p.length32(q, 32)
		n.mask = uint32(^uint64(0) << (32 - bits))
		return ok
	case p.consume("mask"):
		if p.tok.kind != kindIPv4 {
			p.unexpected("a mask such as 255.255.0.0")
			return false
		}
		shift := 8 * uint32(4-p.tok.parts)
		n.mask = p.tok.value << shift
		p.advance()
		return p.onlyNet(q, p.tok)
	}
	return true
}

// length32 reads a prefix length. The argument most is the largest valid length.
func (p *parser) length32(q qualifiers, most uint32) (uint32, bool) {
	p.advance()
	t := p.tok
	if t.kind != kindNumber || t.value > most {
		p.unexpected("a prefix length from 0 to " + strconv.Itoa(int(most)))
		return 0, false
	}
	p.advance()
	return t.value, p.onlyNet(q, t)
}

// onlyNet refuses a prefix length or a mask after a qualifier other than net.
func (p *parser) onlyNet(q qualifiers, t token) bool {
	if q.typ != "net" {
		p.fail(t.at, "a prefix length or a mask makes a network: expected net before the address")
		return false
	}
	return true
}

// host6 returns the condition of an IPv6 address or network.
func (p *parser) host6(q qualifiers, t token) node {
	if q.proto != nil && q.proto.ether != wire.EtherIPv6 {
		return p.problem(t, "expected an IPv4 address after %s", q.proto.name)
	}
	bits := uint32(128)
	if p.is("/") {
		var ok bool
		if bits, ok = p.length32(q, 128); !ok {
			return nil
		}
	}
	n := &host6{dir: q.dir, prefix: netip.PrefixFrom(t.ipv6, int(bits))}
	if masked := n.prefix.Masked(); masked.Addr() != n.prefix.Addr() {
		return p.problem(t, "the address has bits beyond the network's: expected %s", masked.Addr())
	}
	return n
}
