package flow

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Decoded is what the headers of a packet say. Payload is a part of Packet.Data and
// valid as long as that is.
type Decoded struct {
	Src, Dst         [16]byte // addresses; an IPv4 address takes the first four bytes
	IPv6             bool
	Zone             Zone  // around the addresses
	Transport        uint8 // IP protocol number, 6 TCP or 17 UDP where Decode returned true
	SrcPort, DstPort uint16
	Seq, Ack         uint32 // TCP
	Flags            uint8  // TCP, the eight of RFC 9293, section 3.1
	Window           uint16 // TCP, not scaled
	Multipath        bool   // TCP: an option of Multipath TCP (RFC 8684)
	Payload          []byte // what was captured of the payload
	PayloadLen       int    // payload bytes by the IP length, at least len(Payload)
	Fragment         bool   // the first fragment of a datagram: the ports are there, the rest is not
	Reason           Reason // why there are no ports; Decodable where there are
	Other            uint16 // what is inside instead: an IP protocol number (OtherTransport), an EtherType (OtherNetwork; 0: none) or a link type

	fragment fragmentHeader // of a fragment
	tunnels  uint8          // how many may still be opened
	verify   bool           // the checksums of TCP and UDP
	header   bool           // the checksum and the options of IPv4
	badSum   bool           // one is wrong
	arrived  bool           // by the kernel's word, at one of the packet's ends
	signed   bool           // TCP: an option of authentication
	scale    uint8          // TCP: the scale of windows that a SYN announces: see scaleUnknown
}

// Reason says why a packet has no ports to go by.
type Reason uint8

// The reasons.
const (
	Decodable      Reason = iota // it has
	Truncated                    // the snap length cut a header
	Malformed                    // a header contradicts itself
	LaterFragment                // an IP fragment that cannot be read alone
	OtherTransport               // neither TCP nor UDP
	OtherNetwork                 // neither IPv4 nor IPv6: ARP, LLDP, ...
	UnknownLink                  // a link type that is not decoded here
	reasons                      // how many there are
)

var reasonNames = [...]string{"decodable", "truncated", "malformed", "later_fragment", "other_transport", "other_network", "unknown_link"}

// String returns the reason as a label for metrics.
func (r Reason) String() string { return reasonNames[r] }

// frame is what of a frame is still to be decoded.
type frame struct {
	b    []byte // captured
	wire int    // length on the wire
}

func (f frame) skip(n int) frame { return frame{f.b[n:], f.wire - n} }

// Decode reads the headers of p into d and tells whether it has TCP or UDP ports. d is
// overwritten whole; where there are no ports d.Reason says why. It neither allocates
// nor panics, whatever the packet.
func Decode(p *Packet, d *Decoded) bool { return decode(p, d, ChecksumUnknown) }

// decode is Decode. It verifies what sum says that nobody has verified.
func decode(p *Packet, d *Decoded, sum Checksum) bool {
	*d = Decoded{Zone: p.Zone, verify: sum == ChecksumUnverified, header: sum != ChecksumUnknown}
	if p.Decapsulate {
		d.tunnels = maxTunnels
	}
	d.Reason = linkLayer(p.Link, frame{p.Data, max(p.Length, len(p.Data))}, d)
	return d.Reason == Decodable
}

// DecodesLink reports whether Decode knows the header of a link type.
func DecodesLink(l wire.LinkType) bool {
	switch l {
	case wire.LinkNull, wire.LinkEthernet, wire.LinkRaw, wire.LinkLoop, wire.LinkSLL, wire.LinkIPv4, wire.LinkIPv6, wire.LinkSLL2:
		return true
	}
	return false
}

// linkLayer steps over the link layer's header.
func linkLayer(typ wire.LinkType, f frame, d *Decoded) Reason {
	switch typ {
	case wire.LinkEthernet: // destination, source, EtherType
		return cooked(f, 12, 14, d)
	case wire.LinkSLL: // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html
		return cooked(f, 14, 16, d)
	case wire.LinkSLL2: // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
		return cooked(f, 0, 20, d)
	case wire.LinkNull, wire.LinkLoop:
		// The address family differs between systems; the version nibble does not.
		if len(f.b) < 4 {
			return Truncated
		}
		return byNibble(f.skip(4), d)
	case wire.LinkRaw, wire.LinkIPv4, wire.LinkIPv6:
		return byNibble(f, d)
	case LinkOther:
		return OtherNetwork
	}
	return d.other(UnknownLink, uint16(typ))
}

// cooked reads the EtherType that stands at an offset of a header of size bytes.
func cooked(f frame, at, size int, d *Decoded) Reason {
	if len(f.b) < size {
		return Truncated
	}
	return tagged(binary.BigEndian.Uint16(f.b[at:]), f.skip(size), d)
}

// maxTags bounds the tags before the network layer.
const maxTags = 8

// tagged steps over VLAN tags (IEEE 802.1Q, 802.1ad) and Cisco MetaData.
func tagged(typ uint16, f frame, d *Decoded) Reason {
	for range maxTags {
		size := 0
		switch typ {
		case wire.EtherVLAN, wire.EtherQinQ, wire.EtherOldQinQ:
			size = 4
		case wire.EtherMetaData:
			if len(f.b) < 2 {
				return Truncated
			}
			size = 8 // as seen; the second byte counts options beyond the first
			if f.b[1] > 1 {
				size += int(f.b[1]-1) * 4
			}
		case wire.EtherIPv4:
			return network(f, 4, d)
		case wire.EtherIPv6:
			return network(f, 6, d)
		default:
			return inEthernet(typ, f, d)
		}
		if len(f.b) < size {
			return Truncated
		}
		if typ != wire.EtherMetaData {
			d.Zone = d.Zone.VLAN(typ, binary.BigEndian.Uint16(f.b))
		}
		typ, f = binary.BigEndian.Uint16(f.b[size-2:]), f.skip(size)
	}
	return Malformed
}
