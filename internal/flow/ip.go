package flow

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// byNibble decodes an IP packet whose version no EtherType announces.
func byNibble(f frame, d *Decoded) Reason {
	if len(f.b) == 0 {
		return Truncated
	}
	version := f.b[0] >> 4
	if version != 4 && version != 6 {
		return OtherNetwork
	}
	return network(f, version, d)
}

// network decodes an IP packet of a version. Every receiver drops a packet with another version in its header, or
// with a length beyond the frame. Such a packet must not count here, because it could hide packets that are
// received.
func network(f frame, version uint8, d *Decoded) Reason {
	if len(f.b) == 0 {
		return Truncated
	}
	if f.b[0]>>4 != version {
		return Malformed
	}
	var proto uint8
	var r Reason
	if version == 4 {
		f, proto, r = ipv4(f, d)
	} else {
		f, proto, r = ipv6(f, d)
	}
	if r != Decodable {
		return r
	}
	return transport(f, proto, d)
}

// transport decodes the payload of an IP packet.
func transport(f frame, proto uint8, d *Decoded) Reason {
	d.Transport = proto
	switch proto {
	case wire.ProtoTCP:
		return tcpHeader(f, d)
	case wire.ProtoUDP:
		if r := udpHeader(f, d); r != Decodable {
			return r
		}
		return inUDP(d)
	}
	return inIP(f, proto, d)
}

// ipv4 decodes an IPv4 header (RFC 791, section 3.1). It returns the payload, with the length that the header states,
// and the payload's protocol.
func ipv4(f frame, d *Decoded) (g frame, proto uint8, r Reason) {
	if len(f.b) < 20 {
		return frame{}, 0, Truncated
	}
	header := int(f.b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(f.b[2:]))
	if total == 0 { // segmentation offload: the frame is longer than the field can express
		if total = f.wire; d.verify && total <= maxLength16 {
			return frame{}, 0, Malformed
		}
	}
	if header < 20 || total < header || total > f.wire {
		return frame{}, 0, Malformed
	}
	if len(f.b) < header {
		return frame{}, 0, Truncated
	}

	copy(d.Src[:], f.b[12:16])
	copy(d.Dst[:], f.b[16:20])
	if d.header {
		d.badSum = d.badSum || !correct(addSum(0, f.b[:header]))
		if header > 20 && refusedOptions(f.b[20:header]) {
			return frame{}, 0, Malformed
		}
	}

	g = frame{f.b[header:min(total, len(f.b))], total - header}
	if word := binary.BigEndian.Uint16(f.b[6:]); word&0x3fff != 0 {
		d.fragment = fragmentHeader{
			is: true, id: uint32(binary.BigEndian.Uint16(f.b[4:])), offset: word & 0x1fff * fragmentUnit, more: word&0x2000 != 0, proto: f.b[9], data: g,
		}
		if d.fragment.offset > 0 {
			return frame{}, 0, LaterFragment
		}
		d.Fragment = true
	}
	if proto = f.b[9]; proto == wire.ProtoAH {
		return extensions(g, proto, d)
	}
	return g, proto, Decodable
}

// refusedOptions reports whether hosts drop a packet because of its IPv4 options. They drop it for a source route (RFC
// 791, section 3.1; RFC 7126, section 4.3; Linux with accept_source_route off), and for an option with an impossible
// length (ip_options_compile in Linux).
func refusedOptions(options []byte) bool {
	const end, none, loose, strict = 0, 1, 131, 137
	for len(options) > 0 && options[0] != end {
		switch {
		case options[0] == none:
			options = options[1:]
		case options[0] == loose, options[0] == strict, len(options) < 2 || options[1] < 2 || int(options[1]) > len(options):
			return true
		default:
			options = options[options[1]:]
		}
	}
	return false
}

// ipv6 decodes an IPv6 header and its extension headers (RFC 8200, sections 3 and 4).
func ipv6(f frame, d *Decoded) (g frame, proto uint8, r Reason) {
	if len(f.b) < 40 {
		return frame{}, 0, Truncated
	}
	n := int(binary.BigEndian.Uint16(f.b[4:]))
	if n == 0 { // a jumbogram (RFC 2675) or segmentation offload
		n = jumbo(f, d)
	}
	if n < 0 || 40+n > f.wire {
		return frame{}, 0, Malformed
	}
	d.IPv6 = true
	copy(d.Src[:], f.b[8:24])
	copy(d.Dst[:], f.b[24:40])
	return extensions(frame{f.b[40:min(40+n, len(f.b))], n}, f.b[6], d)
}

// maxLength16 is the largest length that a 16-bit field can express.
const maxLength16 = 1<<16 - 1

// jumbo returns the payload length of an IPv6 packet whose 16-bit length is 0, or -1 if its receiver drops the packet.
// Linux puts a jumbo payload option first in segments of more than 64 KiB (BIG TCP), or leaves the option out. In
// capture files of other systems, offloaded segments of any length have length 0. In a live capture, a packet of at
// most 64 KiB whose checksum is unverified (verify) was not offloaded, and its receiver drops it.
func jumbo(f frame, d *Decoded) int {
	const option, size = 0xc2, 4
	n := f.wire - 40
	switch hop := f.b[40:]; {
	case f.b[6] != wire.ProtoHopByHop:
		if d.verify && n <= maxLength16 {
			return -1
		}
	case len(hop) >= 8 && hop[2] == option && hop[3] == size:
		if n = int(binary.BigEndian.Uint32(hop[4:])); n <= maxLength16 {
			return -1
		}
	}
	return n
}

// extensions skips IPv6 extension headers, and AH in IPv4 too (RFC 4302). Like Linux it accepts any number that fits
// into a packet.
func extensions(g frame, proto uint8, d *Decoded) (frame, uint8, Reason) {
	for {
		var n int
		switch proto {
		case wire.ProtoHopByHop, wire.ProtoRouting, wire.ProtoDestOptions, wire.ProtoAH, wire.ProtoFragment:
			if len(g.b) < 8 {
				return g, proto, short(g, 8)
			}
			n = (int(g.b[1]) + 1) * 8
			if proto == wire.ProtoAH {
				n = (int(g.b[1]) + 2) * 4
			}
		default:
			return g, proto, Decodable
		}

		if proto == wire.ProtoFragment { // the second byte of a fragment header is reserved
			n = 8
			if word := binary.BigEndian.Uint16(g.b[2:]); word&^6 != 0 {
				if !d.fragment.is {
					d.fragment = fragmentHeader{is: true, id: binary.BigEndian.Uint32(g.b[4:]), offset: word &^ 7, more: word&1 != 0, proto: g.b[0], data: g.skip(8)}
				}
				if word&^7 > 0 {
					return g, proto, LaterFragment
				}
				d.Fragment = true
			}
		}
		if len(g.b) < n {
			return g, proto, short(g, n)
		}
		g, proto = g.skip(n), g.b[0]
	}
}

// short returns the reason for which g has fewer than n bytes: the capture is truncated, or the IP header announces too
// few bytes.
func short(g frame, n int) Reason {
	if g.wire < n {
		return Malformed
	}
	return Truncated
}

// timestampOptions is the start of nearly every segment's options: two no-operations, then timestamps of 10 bytes.
const timestampOptions = 1<<24 | 1<<16 | 8<<8 | 10

// tcpHeader decodes a TCP header (RFC 9293, section 3.1). Its options may be truncated.
func tcpHeader(g frame, d *Decoded) Reason {
	if len(g.b) < 20 {
		return short(g, 20)
	}
	header := int(g.b[12]>>4) * 4
	if header < 20 || header > g.wire {
		return Malformed
	}
	d.SrcPort = binary.BigEndian.Uint16(g.b)
	d.DstPort = binary.BigEndian.Uint16(g.b[2:])
	d.Seq = binary.BigEndian.Uint32(g.b[4:])
	d.Ack = binary.BigEndian.Uint32(g.b[8:])
	d.Flags = g.b[13]
	d.Window = binary.BigEndian.Uint16(g.b[14:])
	if d.scale = scaleNone; header != 20 && (header != 32 || len(g.b) < header || binary.BigEndian.Uint32(g.b[20:]) != timestampOptions) {
		d.options(g.b[20:min(header, len(g.b))], len(g.b) >= header)
	}
	d.PayloadLen = g.wire - header
	d.Payload = g.b[min(header, len(g.b)):]
	if d.verify {
		d.checkSum(g, g.wire)
	}
	if d.padded() {
		d.Payload, d.PayloadLen = nil, 0
	}
	return Decodable
}

// options decodes TCP options (https://www.iana.org/assignments/tcp-parameters): Multipath TCP (RFC 8684, section
// 3), authentication (RFC 2385, RFC 5925) and the window scale of a SYN (RFC 7323, section 2.2). whole reports
// that b has all options of the segment. Otherwise, a scale that is not in b is unknown.
func (d *Decoded) options(b []byte, whole bool) {
	const end, none, scale, md5, authentication, mptcp = 0, 1, 3, 19, 29, 30
	if !whole {
		d.scale = scaleUnknown
	}
	for len(b) > 0 && b[0] != end {
		if b[0] == none {
			b = b[1:]
			continue
		}
		d.Multipath = d.Multipath || b[0] == mptcp
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		switch b[0] {
		case md5, authentication:
			d.signed = true
		case scale:
			if b[1] == 3 {
				d.scale = scaleZero + min(b[2], unknownShift)
			}
		}
		b = b[b[1]:]
	}
}

// padded reports whether an apparent payload is Ethernet padding that the IP length counts by mistake, as some
// network cards and capture tools set it. Such padding is two or six zero bytes in a segment without PSH. The
// shortest Ethernet frame has 46 bytes of data, 6 more than the headers of IPv4 and TCP, or 2 more with 4 bytes of
// options or a VLAN tag. Padding that counted as data would shift the stream. If the bytes are data after all,
// they become a gap.
func (d *Decoded) padded() bool {
	n := d.PayloadLen
	if n != 2 && n != 6 || n != len(d.Payload) || d.IPv6 || d.Flags&(wire.FlagPSH|wire.FlagURG) != 0 {
		return false
	}
	for _, b := range d.Payload {
		if b != 0 {
			return false
		}
	}
	return true
}

// udpHeader decodes a UDP header (RFC 768). In IPv6 a length of 0 means a jumbogram (RFC 2675): the datagram extends to
// the end of the packet. The length may exceed the packet only in a first fragment.
func udpHeader(g frame, d *Decoded) Reason {
	if len(g.b) < 8 {
		return short(g, 8)
	}
	n := int(binary.BigEndian.Uint16(g.b[4:]))
	if n == 0 && d.IPv6 || d.Fragment && n > g.wire {
		n = g.wire
	}
	if n < 8 || n > g.wire {
		return Malformed
	}
	d.SrcPort = binary.BigEndian.Uint16(g.b)
	d.DstPort = binary.BigEndian.Uint16(g.b[2:])
	d.PayloadLen = n - 8
	d.Payload = g.b[8:min(n, len(g.b))]
	if d.verify && g.b[6]|g.b[7] != 0 { // 0: the sender computed no checksum; a socket may allow that in IPv6 too (RFC 6935)
		d.checkSum(g, n)
	}
	return Decodable
}
