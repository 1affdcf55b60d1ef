package pcapfile

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Link types whose header is skipped, so that filters and package flow see IP or Ethernet
// (https://www.tcpdump.org/linktypes.html).
const (
	linkSLIP        wire.LinkType = 8
	linkPPP         wire.LinkType = 9
	linkFDDI        wire.LinkType = 10
	linkRawBSD      wire.LinkType = 12 // DLT_RAW on most systems; some tools write it to files
	linkRawOpenBSD  wire.LinkType = 14
	linkPPPHDLC     wire.LinkType = 50
	linkPPPEther    wire.LinkType = 51
	linkRFC1483     wire.LinkType = 100
	linkCHDLC       wire.LinkType = 104
	link80211       wire.LinkType = 105
	linkFrameRelay  wire.LinkType = 107
	linkENC         wire.LinkType = 109
	linkPFLog       wire.LinkType = 117
	linkPrism       wire.LinkType = 119
	linkIPOverFC    wire.LinkType = 122
	linkRadiotap    wire.LinkType = 127
	link1394        wire.LinkType = 138
	linkPKTAPOld    wire.LinkType = 149 // LINKTYPE_USER2, which macOS wrote for PKTAP
	linkAVS         wire.LinkType = 163
	linkPPPPPPD     wire.LinkType = 166
	linkPPI         wire.LinkType = 192
	linkPPPDir      wire.LinkType = 204
	linkCHDLCDir    wire.LinkType = 205
	linkNFLOG       wire.LinkType = 239
	linkNetAnalyzer wire.LinkType = 240
	linkNetTranspar wire.LinkType = 241
	linkPKTAP       wire.LinkType = 258
	linkMPacket     wire.LinkType = 274
	linkBRCM        wire.LinkType = 281
	linkBRCMPrepend wire.LinkType = 282
	linkDSA         wire.LinkType = 284
	linkEDSA        wire.LinkType = 285
)

// PPP protocol numbers (RFC 1332, RFC 5072).
const pppIPv4, pppIPv6 = 0x0021, 0x0057

// view is the part of a packet that is not yet decoded: rest starts with a header of type link.
type view struct {
	link wire.LinkType
	rest []byte
	zone flow.Zone // zone according to the skipped headers
}

// other is the result for a link layer that carries no IP.
var other = view{link: flow.LinkOther}

// step returns the payload of a link layer, and false if this package does not decode the link type.
func step(link wire.LinkType, b []byte) (view, bool) {
	switch link { //nolint:exhaustive // callers pass no link type that flow decodes
	case linkRawBSD, linkRawOpenBSD:
		return ipAfter(b, 0), true
	case linkSLIP:
		return ipAfter(b, 16), true
	case linkENC:
		return ipAfter(b, 12), true
	case linkPPP, linkPPPHDLC:
		return ppp(b), true
	case linkPPPDir:
		return ppp(from(b, 1)), true
	case linkPPPPPPD: // a byte for the direction replaces the address
		return ppp(from(b, 2)), true
	case linkPPPEther: // version and type, code, session, length
		return numbered(ppp(from(b, 6)), link, b, 2), true
	case linkCHDLC:
		return byEtherType(from(b, 2)), true
	case linkCHDLCDir:
		return byEtherType(from(b, 3)), true
	case linkFrameRelay: // the first two bytes of the address
		return numbered(frameRelay(b), link, b, 0), true
	case linkRFC1483:
		return llc(b), true
	case linkFDDI:
		return llc(from(b, 13)), true
	case linkIPOverFC:
		return llc(from(b, 16)), true
	case link1394:
		return byEtherType(from(b, 16)), true
	case linkMPacket:
		return ethernetAfter(b, 8), true
	case linkNetAnalyzer:
		return ethernetAfter(b, 4), true
	case linkNetTranspar:
		return ethernetAfter(b, 12), true
	case linkBRCMPrepend:
		return ethernetAfter(b, 4), true
	case linkBRCM, linkDSA: // two addresses, then the tag
		return byEtherType(from(b, 16)), true
	case linkEDSA: // two addresses, EtherType 0xdada, two bytes, then the tag
		return byEtherType(from(b, 20)), true
	case linkPFLog:
		return pflog(b), true
	case linkNFLOG:
		return nflog(b), true
	case linkPKTAP:
		return pktap(b)
	case linkPKTAPOld:
		return pktap(b)
	case link80211:
		return wireless(b, 0), true
	case linkRadiotap:
		return radiotap(b), true
	case linkPrism:
		return wireless(from(b, prismLength(b)), 0), true
	case linkAVS:
		return wireless(from(b, avsLength(b)), 0), true
	case linkPPI:
		return ppi(b)
	}
	return view{}, false
}

// from returns b without its first n bytes, and an empty slice if b has fewer.
func from(b []byte, n int) []byte { return b[min(max(n, 0), len(b)):] }

// ipAfter returns the view of an IP packet after n bytes.
func ipAfter(b []byte, n int) view { return view{link: wire.LinkRaw, rest: from(b, n)} }

func ethernetAfter(b []byte, n int) view { return view{link: wire.LinkEthernet, rest: from(b, n)} }

// numbered returns v in the zone of the network whose number is in the 16 bits of b at an offset.
func numbered(v view, link wire.LinkType, b []byte, at int) view {
	if len(b) >= at+2 {
		v.zone = v.zone.In(uint16(link), uint32(binary.BigEndian.Uint16(b[at:])))
	}
	return v
}

// byEtherType decodes an EtherType and skips VLAN tags.
func byEtherType(b []byte) view {
	var zone flow.Zone
	for len(b) >= 2 {
		switch typ := binary.BigEndian.Uint16(b); typ {
		case wire.EtherIPv4, wire.EtherIPv6:
			return view{link: wire.LinkRaw, rest: b[2:], zone: zone}
		case wire.EtherVLAN, wire.EtherQinQ:
			if len(b) >= 4 {
				zone = zone.VLAN(typ, binary.BigEndian.Uint16(b[2:]))
			}
			b = from(b, 4)
		default:
			return other
		}
	}
	return ipAfter(b, len(b)) // truncated
}

// ppp decodes a PPP frame. The address and control bytes, and the first byte of the protocol number, may be missing
// (RFC 1661, section 6). Cisco HDLC is recognized by its address.
func ppp(b []byte) view {
	if len(b) >= 2 && (b[0] == 0x0f || b[0] == 0x8f) && b[1] == 0 {
		return byEtherType(from(b, 2))
	}
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b = b[2:]
	}
	switch {
	case len(b) < 2:
		return ipAfter(b, len(b))
	case b[0] == pppIPv4, b[0] == pppIPv6:
		return ipAfter(b, 1)
	}
	if p := binary.BigEndian.Uint16(b); p == pppIPv4 || p == pppIPv6 {
		return ipAfter(b, 2)
	}
	return other
}

// llc decodes LLC with SNAP headers (IEEE 802.2, RFC 1042).
func llc(b []byte) view {
	const dsap, ui = 0xaa, 0x03
	switch {
	case len(b) < 8:
		return ipAfter(b, len(b))
	case b[0] == dsap && b[1] == dsap && b[2] == ui && b[3]|b[4]|b[5] == 0:
		return byEtherType(b[6:])
	}
	return other
}

// frameRelay decodes the Q.922 address of two to four bytes and the header of RFC 2427.
func frameRelay(b []byte) view {
	const ui, ipv4, ipv6, snap = 0x03, 0xcc, 0x8e, 0x80
	n := 0
	for n < len(b) && n < 4 && b[n]&1 == 0 {
		n++
	}
	b = from(b, n+1)
	switch {
	case len(b) >= 2 && (binary.BigEndian.Uint16(b) == wire.EtherIPv4 || binary.BigEndian.Uint16(b) == wire.EtherIPv6): // Cisco's format: an EtherType
		return byEtherType(b)
	case len(b) < 3:
		return ipAfter(b, len(b))
	case b[0] != ui:
		return other
	}

	if b = b[1:]; b[0] == 0 { // padding
		b = b[1:]
	}
	switch {
	case b[0] == ipv4, b[0] == ipv6:
		return ipAfter(b, 1)
	case b[0] == snap && len(b) >= 6 && b[1]|b[2]|b[3] == 0:
		return byEtherType(b[4:])
	}

	return other
}

// pflog decodes OpenBSD's packet filter log. Its first byte is the header's length without padding.
func pflog(b []byte) view {
	if len(b) == 0 {
		return ipAfter(b, 0)
	}
	return ipAfter(b, (int(b[0])+3)&^3)
}

// nflog decodes a netfilter log message: a header, then attributes in the byte order of the capturing machine
// (https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html).
func nflog(b []byte) view {
	const header, payload = 4, 9
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for at := header; at+4 <= len(b); {
			size, kind := int(order.Uint16(b[at:])), order.Uint16(b[at+2:])
			if size < 4 || kind > 255 {
				break
			}
			if kind == payload {
				return ipAfter(b[at+4:max(at+4, min(at+size, len(b)))], 0)
			}
			at += (size + 3) &^ 3
		}
	}
	return other
}

// pktap decodes the header of macOS: its length, the type of the next header, and the link type
// (https://www.tcpdump.org/linktypes/LINKTYPE_PKTAP.html). The link type is the system's DLT_ value, which differs from the link type in
// files only for raw IP.
func pktap(b []byte) (view, bool) {
	const least, packet = 108, 1
	if len(b) < 12 {
		return view{}, false
	}
	n, next, dlt := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	if n < least || int64(n) > int64(len(b)) || dlt > 0xffff {
		return view{}, false
	}
	if next != packet {
		return other, true
	}
	return inside(wire.LinkType(dlt), b[n:])
}

// inside returns the view of b. The header before b names the link type.
func inside(link wire.LinkType, b []byte) (view, bool) {
	if flow.DecodesLink(link) {
		return view{link: link, rest: b}, true
	}
	if link == linkPKTAP || link == linkPKTAPOld || link == linkPPI {
		return view{}, false
	}
	return step(link, b)
}

// ppi decodes a per-packet information header (https://www.tcpdump.org/linktypes/LINKTYPE_PPI.html).
func ppi(b []byte) (view, bool) {
	if len(b) < 8 {
		return ipAfter(b, len(b)), true
	}
	link := binary.LittleEndian.Uint32(b[4:])
	if link > 0xffff {
		return view{}, false
	}
	return inside(wire.LinkType(link), from(b, int(binary.LittleEndian.Uint16(b[2:]))))
}

// radiotap decodes the header's length and the frame's flags, if present.
func radiotap(b []byte) view {
	const present, tsft, flags, extended, padded = 4, 1 << 0, 1 << 1, 1 << 31, 0x20
	if len(b) < 8 {
		return ipAfter(b, len(b))
	}
	n, at, bits := int(binary.LittleEndian.Uint16(b[2:])), present, uint32(extended)
	first := binary.LittleEndian.Uint32(b[present:])
	for bits&extended != 0 && at+4 <= min(n, len(b)) {
		bits = binary.LittleEndian.Uint32(b[at:])
		at += 4
	}
	if first&tsft != 0 {
		at = (at+7)&^7 + 8
	}
	align := 1
	if first&flags != 0 && at < min(n, len(b)) && b[at]&padded != 0 {
		align = 4
	}
	return wireless(from(b, n), align)
}

func prismLength(b []byte) int {
	const avs = 0x80211000 // start of an AVS header, which has the same link type
	if len(b) < 8 {
		return len(b)
	}
	if binary.BigEndian.Uint32(b)&0xfffff000 == avs {
		return avsLength(b)
	}
	return int(min(binary.LittleEndian.Uint32(b[4:]), 1<<16))
}

func avsLength(b []byte) int {
	if len(b) < 8 {
		return len(b)
	}
	return int(min(binary.BigEndian.Uint32(b[4:]), 1<<16))
}

// wireless decodes an unencrypted IEEE 802.11 data frame (clause 9.3.2). Its header is padded to a multiple of align.
func wireless(b []byte, align int) view {
	const data, null, qos, order, protected = 2, 0x4, 0x8, 0x80, 0x40
	if len(b) < 24 {
		return ipAfter(b, len(b))
	}
	kind, subtype, flags := b[0]>>2&3, b[0]>>4, b[1]
	if kind != data || subtype&null != 0 || flags&protected != 0 {
		return other
	}
	n := 24
	if flags&3 == 3 { // To DS and From DS are set: there is a fourth address
		n += 6
	}
	if subtype&qos != 0 {
		if n += 2; flags&order != 0 {
			n += 4
		}
	}
	if align > 1 {
		n = (n + align - 1) / align * align
	}
	return llc(from(b, n))
}
