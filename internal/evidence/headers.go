package evidence

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Lengths of headers in bytes.
const (
	headerARP      = 28 // RFC 826, for Ethernet and IPv4
	headerIPv4     = 20
	headerIPv6     = 40
	headerICMP     = 8
	headerNeighbor = 24 // ICMPv6 neighbor solicitation and advertisement, up to the target (RFC 4861, section 4.3)
	headerSCTP     = 12
	headerUDP      = 8
)

// headerBytes returns the length of the headers of a frame up to that of the transport protocol, at most len(b). Of a fragment that is not the
// first, it returns the length of the headers up to that of IP. The frame begins with an Ethernet header or, for any other link type, with IP.
func headerBytes(link wire.LinkType, b []byte) int {
	at, typ := 0, 0
	if link == wire.LinkEthernet {
		for at = 12; at+2 <= len(b); at += 4 {
			typ = int(binary.BigEndian.Uint16(b[at:]))
			if typ != wire.EtherVLAN && typ != wire.EtherQinQ && typ != wire.EtherOldQinQ {
				break
			}
		}
		at += 2
	} else if typ = wire.EtherIPv4; len(b) > 0 && b[0]>>4 == 6 {
		typ = wire.EtherIPv6
	}
	switch {
	case typ == wire.EtherARP:
		at += headerARP
	case typ == wire.EtherIPv4 && len(b) >= at+headerIPv4:
		proto, later := b[at+9], binary.BigEndian.Uint16(b[at+6:])&0x1fff != 0
		if at += int(b[at]&15) * 4; !later {
			at = transportEnd(b, at, proto)
		}
	case typ == wire.EtherIPv6 && len(b) >= at+headerIPv6:
		at = extensionsEnd(b, at+headerIPv6, b[at+6])
	}
	return min(at, len(b))
}

// extensionsEnd returns the end of the transport header after IPv6 extension headers (RFC 8200, section 4).
func extensionsEnd(b []byte, at int, next byte) int {
	for range 8 {
		if len(b) < at+8 {
			break
		}
		switch next {
		case wire.ProtoHopByHop, wire.ProtoRouting, wire.ProtoDestOptions:
			next, at = b[at], at+8+int(b[at+1])*8
		case wire.ProtoFragment:
			if binary.BigEndian.Uint16(b[at+2:])>>3 != 0 {
				return at + 8
			}
			next, at = b[at], at+8
		default:
			return transportEnd(b, at, next)
		}
	}
	return at
}

// transportEnd returns the end of the transport header that begins at an offset. Without a known protocol it is that offset.
func transportEnd(b []byte, at int, proto byte) int {
	switch proto {
	case wire.ProtoTCP:
		if at+12 < len(b) {
			return at + int(b[at+12]>>4)*4
		}
	case wire.ProtoUDP:
		return at + headerUDP
	case wire.ProtoICMP:
		return at + headerICMP
	case wire.ProtoICMPv6:
		if at < len(b) && (b[at] == 135 || b[at] == 136) {
			return at + headerNeighbor
		}
		return at + headerICMP
	case wire.ProtoSCTP:
		return at + headerSCTP
	}
	return at
}
