package flow

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Decoded is the content of a packet's headers. Payload is a part of Packet.Data, and is valid for the same time.
type Decoded struct {
	Src, Dst         [16]byte // addresses; an IPv4 address is in the first four bytes
	IPv6             bool
	Zone             Zone  // network of the addresses: VLANs and tunnels
	Transport        uint8 // IP protocol number; 6 (TCP) or 17 (UDP) if Decode returned true
	SrcPort, DstPort uint16
	Seq, Ack         uint32 // TCP
	Flags            uint8  // TCP, the eight flags of RFC 9293, section 3.1
	Window           uint16 // TCP, before scaling
	Multipath        bool   // TCP: the segment has an option of Multipath TCP (RFC 8684)
	Payload          []byte // the captured part of the payload
	PayloadLen       int    // number of payload bytes by the IP length, at least len(Payload)
	Fragment         bool   // the first fragment of a datagram: it has the ports and only the start of the payload
	Reason           Reason // why the packet has no ports; Decodable if it has
	Other            uint16 // what the packet carries instead: an IP protocol number (OtherTransport), an EtherType (OtherNetwork; 0: unknown) or a link type (UnknownLink)

	fragment fragmentHeader // header of an IP fragment
	tunnels  uint8          // number of nested tunnels that may still be decapsulated
	verify   bool           // verify the checksums of TCP and UDP
	header   bool           // verify the checksum and the options of IPv4
	badSum   bool           // a checksum is wrong
	arrived  bool           // the kernel reports that the packet arrived for this host
	signed   bool           // TCP: the segment has an authentication option
	scale    uint8          // TCP: the window scale that a SYN announces: see scaleUnknown
}

// Reason is why a packet has no ports.
type Reason uint8

// The reasons.
const (
	Decodable      Reason = iota // the packet has ports
	Truncated                    // a header is truncated
	Malformed                    // a header contradicts itself
	LaterFragment                // an IP fragment that cannot be decoded alone
	OtherTransport               // neither TCP nor UDP
	OtherNetwork                 // neither IPv4 nor IPv6: ARP, LLDP, ...
	UnknownLink                  // a link type that this package does not decode
	reasons                      // number of reasons
)

var reasonNames = [...]string{"decodable", "truncated", "malformed", "later_fragment", "other_transport", "other_network", "unknown_link"}

// String returns the reason as a label for metrics.
func (r Reason) String() string { return reasonNames[r] }

// frame is the part of a frame that is not yet decoded.
type frame struct {
	b    []byte // the captured bytes
	wire int    // length on the wire, at least len(b)
}

func (f frame) skip(n int) frame { return frame{f.b[n:], f.wire - n} }

// Decode decodes the headers of p into d and reports whether the packet has TCP or UDP ports. It overwrites all of d;
// without ports d.Reason is the reason. It neither allocates nor panics for any packet.
func Decode(p *Packet, d *Decoded) bool { return decode(p, d, ChecksumUnknown) }

// decode does the work of Decode, and verifies checksums according to sum.
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

// linkLayer decodes the link-layer header and the rest of the frame.
func linkLayer(typ wire.LinkType, f frame, d *Decoded) Reason {
	switch typ {
	case wire.LinkEthernet: // destination, source, EtherType
		return cooked(f, 12, 14, d)
	case wire.LinkSLL: // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html
		return cooked(f, 14, 16, d)
	case wire.LinkSLL2: // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
		return cooked(f, 0, 20, d)
	case wire.LinkNull, wire.LinkLoop:
		// The value of an address family differs between systems, so the IP version decides.
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

// cooked reads the EtherType at offset at of a header of size bytes.
func cooked(f frame, at, size int, d *Decoded) Reason {
	if len(f.b) < size {
		return Truncated
	}
	return tagged(binary.BigEndian.Uint16(f.b[at:]), f.skip(size), d)
}

// maxTags bounds the tags before the network layer, and other headers that may repeat.
const maxTags = 8

// tagged skips VLAN tags (IEEE 802.1Q, 802.1ad) and Cisco MetaData.
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
			size = 8 // the usual size in captures; the second byte is the number of options, and this size includes one
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
