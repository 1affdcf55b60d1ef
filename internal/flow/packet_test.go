package flow_test

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// The packets of the decoder's tests are built byte by byte, so that the tests share no code with the decoder and
// gopacket.

// headers describes a packet; wrap adds the link layer.
type headers struct {
	src, dst     netip.AddrPort
	udp          bool
	seq, ack     uint32
	flags        uint8
	options      []byte // TCP options, padded to four bytes
	ipOptions    []byte // IPv4 options, padded to four bytes
	extensions   []byte // types of IPv6 extension headers before TCP or UDP; in IPv4: AH
	moreFragment bool   // IPv4: the first fragment of a datagram
	fragment     uint16 // IPv4: the fragment offset in units of eight bytes
	payload      []byte
	trailer      int // bytes after the IP packet, such as the Ethernet padding of short frames
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// transport returns the TCP or UDP header with the payload, and the protocol number.
func (h *headers) transport() ([]byte, byte) {
	var b []byte
	b = binary.BigEndian.AppendUint16(b, h.src.Port())
	b = binary.BigEndian.AppendUint16(b, h.dst.Port())
	if h.udp {
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(h.payload)))
		return append(append(b, 0, 0), h.payload...), 17
	}
	options := pad4(h.options)
	b = binary.BigEndian.AppendUint32(b, h.seq)
	b = binary.BigEndian.AppendUint32(b, h.ack)
	b = append(b, byte(5+len(options)/4)<<4, h.flags, 0xff, 0xff, 0, 0, 0, 0)
	return append(append(b, options...), h.payload...), 6
}

// ip returns the IP packet.
func (h *headers) ip() []byte {
	inner, proto := h.transport()
	next := proto
	for _, typ := range slices.Backward(h.extensions) {
		inner = append(extension(typ, next), inner...)
		next = typ
	}
	if h.src.Addr().Is4() {
		options := pad4(h.ipOptions)
		b := []byte{4<<4 | byte(5+len(options)/4), 0}
		b = binary.BigEndian.AppendUint16(b, uint16(20+len(options)+len(inner)))
		b = append(b, 1, 2)
		fragment := h.fragment
		if h.moreFragment {
			fragment |= 0x2000
		}
		b = binary.BigEndian.AppendUint16(b, fragment)
		b = append(b, 64, next, 0, 0)
		b = append(b, h.src.Addr().AsSlice()...)
		b = append(b, h.dst.Addr().AsSlice()...)
		return append(append(b, options...), inner...)
	}

	b := []byte{6 << 4, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(inner)))
	b = append(b, next, 64)
	b = append(b, h.src.Addr().AsSlice()...)
	b = append(b, h.dst.Addr().AsSlice()...)
	return append(b, inner...)
}

// extension returns an IPv6 extension header (RFC 8200, section 4).
func extension(typ, next byte) []byte {
	switch typ {
	case 44: // fragment header: the first and only fragment
		return []byte{next, 0, 0, 0, 1, 2, 3, 4}
	case 43: // routing header: type 0 with one address
		return append([]byte{next, 2, 0, 1, 0, 0, 0, 0}, make([]byte, 16)...)
	case 51: // authentication header (RFC 4302): three words of check value
		return append([]byte{next, 4, 0, 0}, make([]byte, 20)...)
	}
	return []byte{next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // with a PadN option
}

// tag is a tag before the network layer.
type tag struct {
	typ  uint16
	size int // bytes after the EtherType; the last two are the next EtherType
}

var (
	vlan = tag{0x8100, 4}
	qinq = tag{0x88a8, 4}
	cmd  = tag{0x8909, 8} // Cisco MetaData
)

// wrap adds a link-layer header to an IP packet.
func wrap(link wire.LinkType, ip []byte, trailer int, tags ...tag) []byte {
	ether := uint16(0x0800)
	family := byte(2)
	if ip[0]>>4 == 6 {
		ether, family = 0x86dd, 30
	}
	types := make([]uint16, 0, len(tags)+1)
	for _, t := range tags {
		types = append(types, t.typ)
	}
	types = append(types, ether)
	var b []byte
	switch link {
	case wire.LinkEthernet:
		b = binary.BigEndian.AppendUint16(append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2), types[0])
	case wire.LinkSLL:
		b = binary.BigEndian.AppendUint16(append(b, 0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0), types[0])
	case wire.LinkSLL2:
		b = append(binary.BigEndian.AppendUint16(b, types[0]), 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0)
	case wire.LinkNull:
		b = append(b, family, 0, 0, 0)
	case wire.LinkLoop:
		b = append(b, 0, 0, 0, family)
	}

	for i, t := range tags {
		body := make([]byte, t.size)
		if t.typ == cmd.typ {
			body[0], body[1] = 1, 1
		}
		binary.BigEndian.PutUint16(body[t.size-2:], types[i+1])
		b = append(b, body...)
	}

	return append(append(b, ip...), make([]byte, trailer)...)
}
