package flow

import "encoding/binary"

// Decoded is what the headers of a packet say. Payload is a slice of Packet.Data.
type Decoded struct {
	Src, Dst         [16]byte // IPv4 as IPv4-mapped
	V6               bool
	Transport        uint8 // IP protocol number
	SrcPort, DstPort uint16
	Seq, Ack         uint32 // TCP
	Flags            uint8  // TCP
	Payload          []byte
	Length           int  // payload bytes by the IP length; Payload may be shorter (snap length)
	Fragment         bool // part of a fragmented datagram
	Later            bool // a fragment other than the first: no ports
}

// TCP flags (RFC 9293 section 3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

const (
	protoTCP = 6
	protoUDP = 17
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// Decode reads the headers of p into d. It tells whether there is TCP or UDP (or a
// later fragment of it). It neither allocates nor panics.
func Decode(p *Packet, d *Decoded) bool {
	b, typ, ok := network(p)
	if !ok {
		return false
	}
	*d = Decoded{}
	switch typ {
	case etherIPv4:
		return d.ipv4(b, p)
	case etherIPv6:
		return d.ipv6(b, p)
	}
	return false
}

// network finds the IP packet in a frame.
func network(p *Packet) (b []byte, ethertype uint16, ok bool) {
	b = p.Data
	switch p.Link {
	case LinkEthernet:
		if len(b) < 14 {
			return nil, 0, false
		}
		return ethernet(b[14:], binary.BigEndian.Uint16(b[12:]))
	case LinkLinuxSLL:
		if len(b) < 16 {
			return nil, 0, false
		}
		return ethernet(b[16:], binary.BigEndian.Uint16(b[14:]))
	case LinkLinuxSLL2:
		if len(b) < 20 {
			return nil, 0, false
		}
		return ethernet(b[20:], binary.BigEndian.Uint16(b))
	case LinkNull, LinkLoop:
		if len(b) < 4 {
			return nil, 0, false
		}
		return byVersion(b[4:])
	case LinkRaw, LinkIPv4, LinkIPv6:
		return byVersion(b)
	}
	return nil, 0, false
}

func byVersion(b []byte) ([]byte, uint16, bool) {
	if len(b) == 0 {
		return nil, 0, false
	}
	switch b[0] >> 4 {
	case 4:
		return b, etherIPv4, true
	case 6:
		return b, etherIPv6, true
	}
	return nil, 0, false
}

// ethernet steps over VLAN tags and Cisco MetaData.
func ethernet(b []byte, typ uint16) ([]byte, uint16, bool) {
	for range 8 {
		switch typ {
		case 0x8100, 0x88a8, 0x9100:
			if len(b) < 4 {
				return nil, 0, false
			}
			b, typ = b[4:], binary.BigEndian.Uint16(b[2:])
		case 0x8909:
			if len(b) < 8 {
				return nil, 0, false
			}
			b, typ = b[8:], binary.BigEndian.Uint16(b[6:])
		default:
			return b, typ, true
		}
	}
	return nil, 0, false
}

func (d *Decoded) ipv4(b []byte, p *Packet) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	ihl := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if ihl < 20 || len(b) < ihl {
		return false
	}
	if total == 0 { // TSO: the hardware would have filled it in
		total = len(b) + p.Length - len(p.Data)
	}
	if total < ihl {
		return false
	}
	frag := binary.BigEndian.Uint16(b[6:])
	d.Fragment = frag&0x3fff != 0
	d.Later = frag&0x1fff != 0
	d.Transport = b[9]
	d.Src = [16]byte{10: 0xff, 11: 0xff, 12: b[12], 13: b[13], 14: b[14], 15: b[15]}
	d.Dst = [16]byte{10: 0xff, 11: 0xff, 12: b[16], 13: b[17], 14: b[18], 15: b[19]}
	return d.transport(b[ihl:min(total, len(b))], total-ihl)
}

func (d *Decoded) ipv6(b []byte, p *Packet) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return false
	}
	d.V6 = true
	copy(d.Src[:], b[8:24])
	copy(d.Dst[:], b[24:40])
	total := int(binary.BigEndian.Uint16(b[4:]))
	if total == 0 {
		total = len(b) - 40 + p.Length - len(p.Data)
	}
	next := b[6]
	b = b[40:]
	b = b[:min(total, len(b))]
	for range 8 {
		size := 0
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(b) < 2 {
				return false
			}
			size = int(b[1])*8 + 8
		case 44: // fragment
			if len(b) < 8 {
				return false
			}
			d.Fragment = true
			d.Later = binary.BigEndian.Uint16(b[2:])&0xfff8 != 0
			size = 8
		case 51: // authentication
			if len(b) < 2 {
				return false
			}
			size = int(b[1])*4 + 8
		default:
			d.Transport = next
			return d.transport(b, total)
		}
		if len(b) < size || total < size {
			return false
		}
		next = b[0]
		b, total = b[size:], total-size
		if d.Later {
			d.Transport = next
			return d.transport(b, total)
		}
	}
	return false
}

func (d *Decoded) transport(b []byte, length int) bool {
	if d.Transport != protoTCP && d.Transport != protoUDP {
		return false
	}
	if d.Later {
		return true
	}
	if d.Transport == protoUDP {
		if len(b) < 8 {
			return false
		}
		d.SrcPort, d.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if n := int(binary.BigEndian.Uint16(b[4:])); n >= 8 && n < length {
			length = n
		}
		d.Payload, d.Length = b[8:min(len(b), length)], length-8
		return true
	}
	if len(b) < 20 {
		return false
	}
	size := int(b[12]>>4) * 4
	if size < 20 || size > length {
		return false
	}
	d.SrcPort, d.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	d.Seq, d.Ack, d.Flags = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), b[13]
	d.Payload, d.Length = b[min(size, len(b)):], length-size
	return true
}
