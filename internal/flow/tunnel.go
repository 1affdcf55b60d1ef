package flow

import (
	"bytes"
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// If Packet.Decapsulate is set, for example for a capture file of a link, tunnels are decapsulated: the inner addresses
// and ports count. On a pod's own interface the outer packet is the pod's own traffic. Packets of different tunnels are
// in different Zones.

// UDP ports of tunnels, and PPP protocol numbers.
const (
	portGTPU     = 2152 // 3GPP TS 29.281
	portVXLAN    = 4789 // RFC 7348
	portVXLANGPE = 4790 // draft-ietf-nvo3-vxlan-gpe
	portGeneve   = 6081 // RFC 8926
	portMPLS     = 6635 // RFC 7510
	portOTV      = 8472 // Linux' default port of VXLAN: Flannel, k3s, Cilium

	pppIPv4 = 0x0021 // RFC 1332
	pppIPv6 = 0x0057 // RFC 5072

	maxARPAt = 64 // number of bytes at the start of a tunnel's datagram that are searched for an ARP packet
)

// maxTunnels bounds nested tunnels.
const maxTunnels = 4

// decapsulate resets d for an inner packet, and keeps only the zone. It returns false if no tunnel may be decapsulated.
func (d *Decoded) decapsulate() bool {
	if d.tunnels == 0 || d.fragment.is {
		return false
	}
	*d = Decoded{Zone: d.Zone, tunnels: d.tunnels - 1}
	return true
}

// inEthernet decodes the payload of an EtherType other than IP.
func inEthernet(typ uint16, f frame, d *Decoded) Reason {
	switch typ {
	case wire.EtherPPPoE:
		return pppoe(f, d)
	case wire.EtherMPLS, wire.EtherMPLSUpstream:
		return mpls(f, d)
	}
	if typ < wire.LeastEtherType {
		return llc(typ, f, d)
	}
	return d.other(OtherNetwork, typ)
}

// SNAP is Decoded.Other of a frame with LLC and SNAP headers that was not decapsulated. The value is the LLC service
// access point, not an EtherType.
const SNAP = 0x00aa

// llc decodes LLC and SNAP headers with an EtherType (RFC 1042). Linux ignores IP in such frames over Ethernet, so
// llc decodes their payload only if tunnels are decapsulated.
func llc(length uint16, f frame, d *Decoded) Reason {
	const header = 8
	snap := [...]byte{0xaa, 0xaa, 3, 0, 0, 0}
	switch n := min(len(f.b), len(snap)); {
	case !bytes.Equal(f.b[:n], snap[:n]):
		return d.other(OtherNetwork, length)
	case len(f.b) < header:
		return short(f, header)
	case !d.decapsulate():
		return d.other(OtherNetwork, SNAP)
	}
	return tagged(binary.BigEndian.Uint16(f.b[header-2:]), f.skip(header), d)
}

// pppoe decodes a PPPoE session packet (RFC 2516): version and type, code, session, length, then a PPP protocol number.
func pppoe(f frame, d *Decoded) Reason {
	if len(f.b) < 8 {
		return Truncated
	}
	if f.b[0] != 0x11 || f.b[1] != 0 {
		return d.other(OtherNetwork, wire.EtherPPPoE)
	}
	if !d.decapsulate() {
		return d.other(OtherNetwork, wire.EtherPPPoE)
	}
	d.Zone = d.Zone.In(wire.EtherPPPoE, uint32(binary.BigEndian.Uint16(f.b[2:])))
	return ppp(f.skip(6), d)
}

// mpls skips a label stack. Only the first bits after it show the content: IP, or Ethernet after a control word (RFC
// 4448).
func mpls(f frame, d *Decoded) Reason {
	for range maxTags {
		if len(f.b) < 4 {
			return Truncated
		}
		d.Zone = d.Zone.In(wire.EtherMPLS, binary.BigEndian.Uint32(f.b)>>12)
		bottom := f.b[2]&1 != 0
		f = f.skip(4)
		if !bottom {
			continue
		}
		switch {
		case len(f.b) == 0:
			return Truncated
		case !d.decapsulate():
			return d.other(OtherNetwork, wire.EtherMPLS)
		case f.b[0]>>4 == 0 && len(f.b) < 4:
			return Truncated
		case f.b[0]>>4 == 0:
			return linkLayer(wire.LinkEthernet, f.skip(4), d)
		}
		return byNibble(f, d)
	}
	return Malformed
}

// inIP decodes the payload of an IP packet that is neither TCP nor UDP.
func inIP(f frame, proto uint8, d *Decoded) Reason {
	switch {
	case proto == wire.ProtoIPv4 && d.enterTunnel(wire.ProtoIPv4):
		return network(f, 4, d)
	case proto == wire.ProtoIPv6 && d.enterTunnel(wire.ProtoIPv6):
		return network(f, 6, d)
	case proto == wire.ProtoGRE:
		return gre(f, d)
	}
	return d.other(OtherTransport, uint16(proto))
}

// gre decodes GRE version 0 with its optional fields (RFC 2784, RFC 2890), and version 1 with PPP (RFC 2637).
func gre(f frame, d *Decoded) Reason {
	const checksum, key, sequence, acknowledgment, version = 0x8000, 0x2000, 0x1000, 0x0080, 7
	if len(f.b) < 4 {
		return Truncated
	}

	flags, typ := binary.BigEndian.Uint16(f.b), binary.BigEndian.Uint16(f.b[2:])
	size, options := 4, [...]uint16{checksum, key, sequence}
	pptp := flags&version == 1 && typ == wire.EtherPPP
	if pptp {
		options[0] = acknowledgment
	}
	for _, option := range options {
		if flags&option != 0 {
			size += 4
		}
	}

	switch {
	case flags&version != 0 && !pptp:
		return d.other(OtherTransport, wire.ProtoGRE)
	case len(f.b) < size:
		return Truncated
	case !d.enterTunnel(wire.ProtoGRE):
		return d.other(OtherTransport, wire.ProtoGRE)
	case pptp: // GRE version 1: the key field has a payload length of two bytes, then the call ID
		d.Zone = d.Zone.In(wire.ProtoGRE, uint32(binary.BigEndian.Uint16(f.b[6:])))
	case flags&key != 0 && flags&checksum != 0:
		d.Zone = d.Zone.In(wire.ProtoGRE, binary.BigEndian.Uint32(f.b[8:]))
	case flags&key != 0:
		d.Zone = d.Zone.In(wire.ProtoGRE, binary.BigEndian.Uint32(f.b[4:]))
	}

	f = f.skip(size)
	switch {
	case pptp:
		return ppp(f, d)
	case typ == wire.EtherERSPAN2 && flags&sequence == 0: // type I has no ERSPAN header
		return linkLayer(wire.LinkEthernet, f, d)
	case typ == wire.EtherERSPAN2, typ == wire.EtherERSPAN3:
		return erspan(f, d)
	}
	return payloadOf(typ, f, d)
}

// erspan decodes a frame mirrored by ERSPAN type II or III (draft-foschiano-erspan, sections 4.2 and 4.3).
func erspan(f frame, d *Decoded) Reason {
	const typeII, typeIII, vlanAndSession = 1, 2, 0x0fff03ff
	if len(f.b) < 8 {
		return Truncated
	}
	d.Zone = d.Zone.In(wire.EtherERSPAN2, binary.BigEndian.Uint32(f.b)&vlanAndSession)
	switch f.b[0] >> 4 {
	case typeII:
		return linkLayer(wire.LinkEthernet, f.skip(8), d)
	case typeIII:
	default:
		return d.other(OtherTransport, wire.ProtoGRE)
	}

	if len(f.b) < 12 {
		return Truncated
	}
	size, frameType := 12, f.b[10]>>2&0x1f
	if f.b[11]&1 != 0 { // a platform-specific subheader
		size += 8
	}
	switch {
	case len(f.b) < size:
		return Truncated
	case frameType == 2:
		return byNibble(f.skip(size), d)
	}

	return linkLayer(wire.LinkEthernet, f.skip(size), d)
}

// ppp decodes the payload of a PPP protocol number. The address and control bytes may be missing (RFC 1661, section
// 6.6), and the first byte of the number too (section 6.5).
func ppp(f frame, d *Decoded) Reason {
	if len(f.b) >= 2 && f.b[0] == 0xff && f.b[1] == 0x03 {
		f = f.skip(2)
	}
	switch {
	case len(f.b) < 2:
		return Truncated
	case f.b[0] == pppIPv4:
		return network(f.skip(1), 4, d)
	case f.b[0] == pppIPv6:
		return network(f.skip(1), 6, d)
	}
	switch binary.BigEndian.Uint16(f.b) {
	case pppIPv4:
		return network(f.skip(2), 4, d)
	case pppIPv6:
		return network(f.skip(2), 6, d)
	}
	return d.other(OtherNetwork, wire.EtherPPP)
}

// payloadOf decodes the payload of an EtherType in a tunnel's header.
func payloadOf(typ uint16, f frame, d *Decoded) Reason {
	if typ == wire.EtherTransparent {
		return linkLayer(wire.LinkEthernet, f, d)
	}
	return tagged(typ, f, d)
}

// inUDP decapsulates tunnels in UDP. The port alone is no evidence: the tunnel's header must be valid, and the inner
// packet must have ports or be ARP, ICMP or IGMP. Otherwise the datagram counts as it is. If the inner packet is
// truncated, the result is Truncated.
func inUDP(d *Decoded) Reason {
	if d.tunnels == 0 || d.Fragment {
		return Decodable
	}
	switch d.DstPort {
	case portVXLAN, portOTV, portVXLANGPE, portGeneve, portGTPU, portMPLS:
	default:
		return Decodable
	}

	f, inner := frame{d.Payload, d.PayloadLen}, *d
	inner.enterTunnel(d.DstPort)
	var reason Reason
	switch d.DstPort { // direct calls: through a function variable, inner would be allocated on the heap
	case portVXLAN, portOTV:
		reason = vxlan(f, &inner)
	case portVXLANGPE:
		reason = vxlanGPE(f, &inner)
	case portGeneve:
		reason = geneve(f, &inner)
	case portGTPU:
		reason = gtpU(f, &inner)
	case portMPLS:
		reason = mplsInUDP(f, &inner)
	}

	switch {
	case reason == Decodable:
		*d = inner
	case reason == Truncated && len(f.b) < f.wire:
		*d = Decoded{}
		return Truncated
	case inner.Other != 0 && runsNetwork(reason, &inner, f.b):
		*d = inner
		return reason
	}
	return Decodable
}

// runsNetwork reports whether a tunnel carries ARP, ICMP or IGMP, which have no ports but belong in a tunnel.
func runsNetwork(r Reason, inner *Decoded, datagram []byte) bool {
	switch r { //nolint:exhaustive // only these two can be ARP, ICMP or IGMP
	case OtherTransport:
		return inner.Other == wire.ProtoICMP || inner.Other == wire.ProtoICMPv6 || inner.Other == wire.ProtoIGMP
	case OtherNetwork: // ARP for Ethernet and IPv4 (RFC 826)
		return inner.Other == wire.EtherARP && bytes.Contains(datagram[:min(len(datagram), maxARPAt)], []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4})
	}
	return false
}

// vxlan decodes VXLAN (RFC 7348, section 5). IANA assigned Linux' default port to another protocol (OTV), so the
// checks are strict: all reserved bits must be zero, and the source address of the inner frame must be unicast.
func vxlan(f frame, d *Decoded) Reason {
	const size = 8
	switch b := f.b; {
	case len(b) < size:
		return Truncated
	case b[0] != 0x08 || b[1]|b[2]|b[3]|b[7] != 0:
		return OtherNetwork
	case len(b) < size+12:
		return Truncated
	case b[size+6]&1 != 0: // the group bit of the source address (IEEE 802)
		return OtherNetwork
	}
	d.Zone = d.Zone.In(portVXLAN, vni(f))
	return linkLayer(wire.LinkEthernet, f.skip(size), d)
}

// vni returns the network identifier in a header of VXLAN, VXLAN-GPE or Geneve.
func vni(f frame) uint32 { return binary.BigEndian.Uint32(f.b[4:]) >> 8 }

func vxlanGPE(f frame, d *Decoded) Reason {
	const size, instance, next = 8, 0x08, 0x04
	switch b := f.b; {
	case len(b) < size:
		return Truncated
	case b[0]&0xfc != instance|next || b[1]|b[2]|b[7] != 0:
		return OtherNetwork
	}
	d.Zone = d.Zone.In(portVXLANGPE, vni(f))
	switch f.b[3] {
	case 1:
		return network(f.skip(size), 4, d)
	case 2:
		return network(f.skip(size), 6, d)
	case 3:
		return linkLayer(wire.LinkEthernet, f.skip(size), d)
	}
	return OtherNetwork
}

// geneve decodes Geneve with its options (RFC 8926, section 3.4).
func geneve(f frame, d *Decoded) Reason {
	switch b := f.b; {
	case len(b) < 8:
		return Truncated
	case b[0]>>6 != 0 || b[1]&0x3f != 0 || b[7] != 0:
		return OtherNetwork
	}
	size := 8 + int(f.b[0]&0x3f)*4
	if len(f.b) < size {
		return Truncated
	}
	d.Zone = d.Zone.In(portGeneve, vni(f))
	return payloadOf(binary.BigEndian.Uint16(f.b[2:]), f.skip(size), d)
}

// gtpU decodes GTP-U: a G-PDU of version 1 with its extension headers (3GPP TS 29.281, section 5). The length in the
// header must match the length of the datagram.
func gtpU(f frame, d *Decoded) Reason {
	const size, gPDU, extension, optional = 8, 255, 0x04, 0x07
	switch b := f.b; {
	case len(b) < size:
		return Truncated
	case b[0]&0xf8 != 0x30 || b[1] != gPDU || int(binary.BigEndian.Uint16(b[2:])) != f.wire-size:
		return OtherNetwork
	}

	d.Zone = d.Zone.In(portGTPU, binary.BigEndian.Uint32(f.b[4:]))
	flags := f.b[0]
	f = f.skip(size)
	if flags&optional == 0 {
		return byNibble(f, d)
	}
	if len(f.b) < 4 {
		return Truncated
	}

	next := f.b[3]
	f = f.skip(4)
	for range maxTags {
		if flags&extension == 0 || next == 0 {
			return byNibble(f, d)
		}
		if len(f.b) < 4 {
			return Truncated
		}
		n := int(f.b[0]) * 4
		switch {
		case n == 0:
			return Malformed
		case len(f.b) < n:
			return Truncated
		}
		next, f = f.b[n-1], f.skip(n)
	}
	return Malformed
}

// mplsInUDP decodes a label stack in UDP. The UDP header and the labels count as one tunnel.
func mplsInUDP(f frame, d *Decoded) Reason {
	d.tunnels++
	return mpls(f, d)
}
