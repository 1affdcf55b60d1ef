package pcapfilter

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// layer is the layout of a link-layer header.
type layer struct {
	kind    layerKind
	typ     uint32 // offset of the EtherType, or of the address family
	payload uint32 // offset of the first byte after the header
}

type layerKind uint8

const (
	byEtherType layerKind = iota // an EtherType gives the next protocol
	byFamily                     // an address family gives the next protocol
	byVersion                    // there is no header: the IP version gives the next protocol
)

var layers = map[wire.LinkType]layer{
	wire.LinkEthernet: {byEtherType, 12, 14},
	wire.LinkSLL:      {byEtherType, 14, 16}, // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html
	wire.LinkSLL2:     {byEtherType, 0, 20},  // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
	wire.LinkNull:     {byFamily, 0, 4},
	wire.LinkLoop:     {byFamily, 0, 4},
	wire.LinkRaw:      {byVersion, 0, 0},
	wire.LinkIPv4:     {byVersion, 0, 0},
	wire.LinkIPv6:     {byVersion, 0, 0},
}

// Address families: AF_INET, which is the same on all systems, and the values of AF_INET6 on
// Linux, on NetBSD and OpenBSD, on FreeBSD and on macOS.
var (
	families4 = []uint32{2}
	families6 = []uint32{10, 24, 28, 30}
)

// etherProto tests which protocol follows the link-layer header.
func (g *generator) etherProto(number uint32, yes, no Label) {
	switch g.layer.kind {
	case byEtherType:
		g.loadMoved(sizeH, g.layer.typ+g.tags)
		g.jump(jmpJEQ, number, yes, no)
		return
	case byFamily:
		families := map[uint32][]uint32{wire.EtherIPv4: families4, wire.EtherIPv6: families6}[number]
		if len(families) > 0 {
			g.emit(classLD|modeABS|sizeW, g.layer.typ)
			var both []uint32
			for _, f := range families {
				if g.cfg.Link == wire.LinkNull { // the family is in the byte order of the capturing host
					both = append(both, f<<24)
				}
				both = append(both, f)
			}
			g.OneOf(both, yes, no)
			return
		}
	case byVersion:
		if version := map[uint32]uint32{wire.EtherIPv4: 0x40, wire.EtherIPv6: 0x60}[number]; version != 0 {
			g.emit(classLD|modeABS|sizeB, 0)
			g.emit(classALU|aluAND|sourceK, 0xf0)
			g.jump(jmpJEQ, version, yes, no)
			return
		}
	}
	g.Goto(no)
}

// loadMoved loads at an offset past the link-layer addresses, where a VLAN tag may shift the header.
func (g *generator) loadMoved(size uint16, at uint32) {
	if !g.moving {
		g.emit(classLD|modeABS|size, at)
		return
	}
	g.emit(classLDX|modeMEM, movedBy)
	g.emit(classLD|modeIND|size, at)
}

// loadNetwork loads from an offset in the network-layer header.
func (g *generator) loadNetwork(size uint16, at uint32) { g.loadMoved(size, g.network()+at) }

// network returns the offset of the network-layer header.
func (g *generator) network() uint32 { return g.layer.payload + g.tags }

// findTransport sets X to the distance from network() to the payload of IPv4. It overwrites
// the accumulator if the header may be shifted.
func (g *generator) findTransport() {
	if !g.moving {
		g.emit(classLDX|modeMSH|sizeB, g.network())
		return
	}
	g.emit(classLDX|modeMEM, movedBy)
	g.emit(classLD|modeIND|sizeB, g.network())
	g.emit(classALU|aluAND|sourceK, 0xf)
	g.emit(classALU|aluLSH|sourceK, 2)
	g.emit(classALU|aluADD|sourceX, 0)
	g.emit(classMISC|miscTAX, 0)
}

// needsEthernet refuses a condition that only Ethernet has, if the link type is not Ethernet. what
// names the condition in the error.
func (g *generator) needsEthernet(at int, what string) bool {
	if g.cfg.Link == wire.LinkEthernet {
		return true
	}
	g.fail(at, "%s: only Ethernet has them, and this is %s", what, linkTitle(g.cfg.Link))
	return false
}

// etherHost tests Ethernet addresses.
func (g *generator) etherHost(n *etherHost, yes, no Label) {
	if !g.needsEthernet(n.at, "Ethernet addresses") {
		return
	}
	g.ends(n.dir, yes, no, func(src bool, yes, no Label) {
		at := uint32(0)
		if src {
			at = 6
		}
		g.mac(at, n.mac, yes, no)
	})
}

// mac tests the Ethernet address at an offset, its last four bytes first.
func (g *generator) mac(at uint32, mac [6]byte, yes, no Label) {
	rest := g.Label()
	g.emit(classLD|modeABS|sizeW, at+2)
	g.jump(jmpJEQ, uint32(mac[2])<<24|uint32(mac[3])<<16|uint32(mac[4])<<8|uint32(mac[5]), rest, no)
	g.Bind(rest)
	g.emit(classLD|modeABS|sizeH, at)
	g.jump(jmpJEQ, uint32(mac[0])<<8|uint32(mac[1]), yes, no)
}

// ends tests the source, the destination or both. test writes the code for one of them.
func (g *generator) ends(d direction, yes, no Label, test func(src bool, yes, no Label)) {
	switch d {
	case srcEnd:
		test(true, yes, no)
	case dstEnd:
		test(false, yes, no)
	case anyEnd:
		other := g.Label()
		test(true, yes, other)
		g.Bind(other)
		test(false, yes, no)
	case bothEnd:
		other := g.Label()
		test(true, other, no)
		g.Bind(other)
		test(false, yes, no)
	}
}

// group tests for a multicast or broadcast destination.
func (g *generator) group(n *group, yes, no Label) {
	inside := g.Label()
	switch n.kind {
	case etherBroadcast:
		if g.needsEthernet(n.at, "broadcast addresses") {
			g.mac(0, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, yes, no)
		}
		g.Bind(inside)
	case etherMulticast:
		if g.needsEthernet(n.at, "multicast addresses of the link layer") {
			g.emit(classLD|modeABS|sizeB, 0)
			g.jump(jmpJSET, 1, yes, no)
		}
		g.Bind(inside)
	case ipMulticast: // RFC 5771, and the reserved block above it
		g.etherProto(wire.EtherIPv4, inside, no)
		g.Bind(inside)
		g.loadNetwork(sizeB, 16)
		g.jump(jmpJGE, 224, yes, no)
	case ip6Multicast: // RFC 4291, section 2.7
		g.etherProto(wire.EtherIPv6, inside, no)
		g.Bind(inside)
		g.loadNetwork(sizeB, 24)
		g.jump(jmpJEQ, 0xff, yes, no)
	}
}

// passing tests whether the host sent or received the packet.
func (g *generator) passing(n *passing, yes, no Label) {
	if !n.outbound {
		yes, no = no, yes
	}
	switch {
	case g.cfg.Live:
		g.emit(classLD|modeABS|sizeH, ancillaryType)
	case g.cfg.Link == wire.LinkSLL:
		g.emit(classLD|modeABS|sizeH, 0)
	case g.cfg.Link == wire.LinkSLL2:
		g.emit(classLD|modeABS|sizeB, 10)
	default:
		g.fail(n.at, "a packet's direction is not in a capture of %s", linkTitle(g.cfg.Link))
		return
	}
	g.jump(jmpJEQ, packetTypeOutgoing, yes, no)
}

// tagTypes are the EtherTypes of VLAN tags.
var tagTypes = []uint32{wire.EtherVLAN, wire.EtherQinQ, wire.EtherOldQinQ}

// tagSize is the size of a VLAN tag in bytes.
const tagSize = 4

// vlan tests for a VLAN tag. Later conditions in the expression apply to the headers after the tag.
func (g *generator) vlan(n *vlan, yes, no Label) {
	switch {
	case !g.needsEthernet(n.at, "VLAN tags"):
	case g.cfg.Live && !g.moving:
		g.outerTag(n, yes, no)
	default:
		tagged := yes
		if n.hasID {
			tagged = g.Label()
		}
		g.loadMoved(sizeH, g.layer.typ+g.tags)
		g.OneOf(tagTypes, tagged, no)
		if n.hasID {
			g.Bind(tagged)
			g.loadMoved(sizeH, g.layer.payload+g.tags)
			g.identifier(n.id, yes, no)
		}
		g.tags += tagSize
	}
}

// outerTag tests for the first VLAN tag of a live packet. The kernel may have removed the tag
// from the packet's bytes. If the tag is still there, the headers after it are shifted.
func (g *generator) outerTag(n *vlan, yes, no Label) {
	taken, left, moved, id := g.Label(), g.Label(), g.Label(), g.Label()
	g.emit(classLD|modeABS|sizeB, ancillaryHasVLAN)
	g.jump(jmpJEQ, 1, taken, left)
	g.Bind(left)
	g.emit(classLD|modeABS|sizeH, g.layer.typ)
	g.OneOf(tagTypes, moved, no)
	g.Bind(moved)
	g.emit(classLD|modeIMM, tagSize)
	g.emit(classST, movedBy)
	if n.hasID {
		g.emit(classLD|modeABS|sizeH, g.layer.payload)
		g.Goto(id)
		g.Bind(taken)
		g.emit(classLD|modeABS|sizeH, ancillaryVLAN)
		g.Bind(id)
		g.identifier(n.id, yes, no)
	} else {
		g.Bind(taken)
		g.Bind(id)
		g.Goto(yes)
	}
	g.moving = true
}

// identifier compares id with the VLAN identifier in the accumulator. The accumulator contains the
// tag's control information.
func (g *generator) identifier(id uint32, yes, no Label) {
	g.emit(classALU|aluAND|sourceK, maxVLAN)
	g.jump(jmpJEQ, id, yes, no)
}
