package flow

import "encoding/binary"

// Tunnels are opened where Packet.Tunnels says so, as in a capture of a link: of a
// tunneled packet the inner addresses and ports count. A pod's own interface shows what
// the pod sends and receives, and there the outer packet is it. Network identifiers
// (VNI, key, label) do not tell connections apart.

// EtherTypes, IP protocol numbers and UDP ports of tunnels.
const (
	etherMPLS         = 0x8847 // RFC 3032
	etherMPLSUpstream = 0x8848 // RFC 5332
	etherPPPoE        = 0x8864 // session stage, RFC 2516
	etherTransparent  = 0x6558 // Ethernet in GRE and Geneve

	protoIPIP = 4  // RFC 2003
	proto6in4 = 41 // RFC 4213
	protoGRE  = 47 // RFC 2784

	portVXLAN  = 4789 // RFC 7348
	portGeneve = 6081 // RFC 8926

	pppIPv4 = 0x0021 // RFC 1332
	pppIPv6 = 0x0057 // RFC 5072
)

// maxTunnels bounds the tunnels within each other.
const maxTunnels = 4

// deeper begins a tunneled packet: nothing of the outer one counts. It reports false
// where no tunnel is to be opened.
func (d *Decoded) deeper() bool {
	if d.tunnels == 0 || d.part.is {
		return false
	}
	*d = Decoded{tunnels: d.tunnels - 1}
	return true
}

// inEthernet opens what an EtherType announces, other than IP.
func inEthernet(typ uint16, f frame, d *Decoded) Reason {
	switch typ {
	case etherPPPoE:
		return pppoe(f, d)
	case etherMPLS, etherMPLSUpstream:
		return mpls(f, d)
	}
	return OtherNetwork
}

// pppoe opens a PPPoE session: version and type, code, session, length, then a PPP
// protocol number.
func pppoe(f frame, d *Decoded) Reason {
	if len(f.b) < 8 {
		return Truncated
	}
	if f.b[0] != 0x11 || f.b[1] != 0 {
		return OtherNetwork
	}
	protocol := binary.BigEndian.Uint16(f.b[6:])
	f = f.skip(8)
	switch {
	case protocol == pppIPv4 && d.deeper():
		return network(f, 4, d)
	case protocol == pppIPv6 && d.deeper():
		return network(f, 6, d)
	}
	return OtherNetwork
}

// mpls steps over a label stack. What follows names itself by its first bits only: IP, or
// Ethernet behind a control word (RFC 4448).
func mpls(f frame, d *Decoded) Reason {
	for range maxTags {
		if len(f.b) < 4 {
			return Truncated
		}
		bottom := f.b[2]&1 != 0
		f = f.skip(4)
		if !bottom {
			continue
		}
		switch {
		case len(f.b) == 0:
			return Truncated
		case !d.deeper():
			return OtherNetwork
		case f.b[0]>>4 == 0 && len(f.b) < 4:
			return Truncated
		case f.b[0]>>4 == 0:
			return linkLayer(LinkEthernet, f.skip(4), d)
		}
		return byNibble(f, d)
	}
	return Malformed
}

// inIP opens an IP packet that carries neither TCP nor UDP.
func inIP(f frame, proto uint8, d *Decoded) Reason {
	switch {
	case proto == protoIPIP && d.deeper():
		return network(f, 4, d)
	case proto == proto6in4 && d.deeper():
		return network(f, 6, d)
	case proto == protoGRE:
		return gre(f, d)
	}
	return OtherTransport
}

// gre opens GRE of version 0 with its optional fields (RFC 2784, RFC 2890).
func gre(f frame, d *Decoded) Reason {
	const checksum, key, sequence, version = 0x8000, 0x2000, 0x1000, 7
	if len(f.b) < 4 {
		return Truncated
	}
	flags, typ := binary.BigEndian.Uint16(f.b), binary.BigEndian.Uint16(f.b[2:])
	size := 4
	for _, option := range [...]uint16{checksum, key, sequence} {
		if flags&option != 0 {
			size += 4
		}
	}
	switch {
	case flags&version != 0:
		return OtherTransport
	case len(f.b) < size:
		return Truncated
	case !d.deeper():
		return OtherTransport
	}
	return payloadOf(typ, f.skip(size), d)
}

// payloadOf decodes what an EtherType in a tunnel's header announces.
func payloadOf(typ uint16, f frame, d *Decoded) Reason {
	if typ == etherTransparent {
		return linkLayer(LinkEthernet, f, d)
	}
	return tagged(typ, f, d)
}

// inUDP opens VXLAN and Geneve. The port alone is no proof: the header has to be one, and
// a packet with ports has to be inside, else the datagram stays what it is. Where the
// snap length cut what is inside, nothing can be said.
func inUDP(d *Decoded) Reason {
	if d.tunnels == 0 || d.DstPort != portVXLAN && d.DstPort != portGeneve || d.Fragment {
		return Decodable
	}
	f := frame{d.Payload, d.PayloadLen}
	typ, size, reason := tunnelHeader(d.DstPort, f.b)
	if reason == Decodable && len(f.b) < size {
		reason = Truncated
	}
	inner := *d
	if reason == Decodable {
		inner.deeper()
		reason = payloadOf(typ, f.skip(size), &inner)
	}
	switch {
	case reason == Decodable:
		*d = inner
	case reason == Truncated && len(f.b) < f.wire:
		*d = Decoded{}
		return Truncated
	}
	return Decodable
}

// tunnelHeader reads a VXLAN or Geneve header: the EtherType of what is inside, and how
// many bytes are before it.
func tunnelHeader(port uint16, b []byte) (typ uint16, size int, r Reason) {
	switch {
	case len(b) < 8:
		return 0, 0, Truncated
	case port == portVXLAN && (b[0] != 0x08 || b[1]|b[2]|b[3]|b[7] != 0):
		return 0, 0, OtherNetwork
	case port == portVXLAN:
		return etherTransparent, 8, Decodable
	case b[0]>>6 != 0 || b[1]&0x3f != 0 || b[7] != 0:
		return 0, 0, OtherNetwork
	}
	return binary.BigEndian.Uint16(b[2:]), 8 + int(b[0]&0x3f)*4, Decodable
}
