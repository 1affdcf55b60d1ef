package pcapfile

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestLinkTypes: the header of each link type is skipped, and a truncated packet yields no other bytes.
func TestLinkTypes(t *testing.T) {
	ip4 := append([]byte{0x45, 0, 0, 24, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, "data"...)
	ip6 := append(append([]byte{0x60, 0, 0, 0, 0, 4, 6, 64}, make([]byte, 32)...), "data"...)
	frame := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, ip4...)
	snap4, snap6 := []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, []byte{0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd}
	pad := func(n int) []byte { return make([]byte, n) }
	pktap := func(n, next, dlt byte) []byte {
		return slices.Concat([]byte{n, 0, 0, 0, next, 0, 0, 0, dlt, 0, 0, 0}, pad(int(n)-12))
	}
	data := func(subtype, flags byte, rest int) []byte {
		return slices.Concat([]byte{0x08 | subtype<<4, flags}, pad(22+rest))
	}
	nflog := []byte{2, 0, 0, 1, 8, 0, 1, 0, 1, 2, 3, 4, 5, 0, 10, 0, 'x', 0, 0, 0, 28, 0, 9, 0}
	nflogBig := []byte{2, 0, 0, 1, 0, 8, 0, 1, 1, 2, 3, 4, 0, 5, 0, 10, 'x', 0, 0, 0, 0, 28, 0, 9}
	for _, c := range []struct {
		name   string
		link   wire.LinkType
		header []byte
		inner  []byte
		want   wire.LinkType
	}{
		{"raw, BSD", 12, nil, ip4, wire.LinkRaw},
		{"raw, OpenBSD", 14, nil, ip6, wire.LinkRaw},
		{"SLIP", 8, pad(16), ip4, wire.LinkRaw},
		{"ENC", 109, pad(12), ip4, wire.LinkRaw},
		{"PPP", 9, []byte{0xff, 3, 0, 0x21}, ip4, wire.LinkRaw},
		{"PPP without address", 9, []byte{0, 0x57}, ip6, wire.LinkRaw},
		{"PPP, all compressed", 50, []byte{0x21}, ip4, wire.LinkRaw},
		{"PPP with the header of Cisco HDLC", 50, []byte{0x0f, 0, 8, 0}, ip4, wire.LinkRaw},
		{"PPP with direction", 204, []byte{1, 0xff, 3, 0, 0x21}, ip4, wire.LinkRaw},
		{"PPP of pppd", 166, []byte{1, 3, 0, 0x21}, ip4, wire.LinkRaw},
		{"PPPoE", 51, []byte{0x11, 0, 0, 1, 0, 26, 0, 0x21}, ip4, wire.LinkRaw},
		{"Cisco HDLC", 104, []byte{0x0f, 0, 0x86, 0xdd}, ip6, wire.LinkRaw},
		{"Cisco HDLC with direction", 205, []byte{0, 0x8f, 0, 8, 0}, ip4, wire.LinkRaw},
		{"frame relay", 107, []byte{0x18, 0x41, 3, 0xcc}, ip4, wire.LinkRaw},
		{"frame relay with SNAP", 107, []byte{0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0}, ip4, wire.LinkRaw},
		{"frame relay, Cisco's", 107, []byte{0x18, 0x41, 0x86, 0xdd}, ip6, wire.LinkRaw},
		{"ATM, RFC 1483", 100, snap4, ip4, wire.LinkRaw},
		{"FDDI", 10, slices.Concat(pad(13), snap6), ip6, wire.LinkRaw},
		{"IP over FC", 122, slices.Concat(pad(16), snap4), ip4, wire.LinkRaw},
		{"IP over IEEE 1394", 138, slices.Concat(pad(16), []byte{8, 0}), ip4, wire.LinkRaw},
		{"Ethernet with preamble", 274, pad(8), frame, wire.LinkEthernet},
		{"netANALYZER", 240, pad(4), frame, wire.LinkEthernet},
		{"netANALYZER, transparent", 241, pad(12), frame, wire.LinkEthernet},
		{"DSA, Broadcom", 281, slices.Concat(pad(16), []byte{8, 0}), ip4, wire.LinkRaw},
		{"DSA, Broadcom, in front", 282, pad(4), frame, wire.LinkEthernet},
		{"DSA", 284, slices.Concat(pad(16), []byte{8, 0}), ip4, wire.LinkRaw},
		{"DSA with VLAN", 284, slices.Concat(pad(16), []byte{0x81, 0, 0, 5, 0x86, 0xdd}), ip6, wire.LinkRaw},
		{"EDSA", 285, slices.Concat(pad(20), []byte{8, 0}), ip4, wire.LinkRaw},
		{"PFLOG", 117, slices.Concat([]byte{61}, pad(63)), ip4, wire.LinkRaw},
		{"NFLOG", 239, nflog, ip4, wire.LinkRaw},
		{"NFLOG, big-endian", 239, nflogBig, ip4, wire.LinkRaw},
		{"PKTAP with Ethernet", 258, pktap(108, 1, 1), frame, wire.LinkEthernet},
		{"PKTAP with raw IP", 258, pktap(156, 1, 12), ip6, wire.LinkRaw},
		{"PKTAP with loopback", 149, pktap(108, 1, 0), slices.Concat([]byte{2, 0, 0, 0}, ip4), wire.LinkNull},
		{"IEEE 802.11", 105, slices.Concat(data(0, 1, 0), snap4), ip4, wire.LinkRaw},
		{"IEEE 802.11, QoS, four addresses", 105, slices.Concat(data(8, 3, 8), snap6), ip6, wire.LinkRaw},
		{"radiotap", 127, slices.Concat([]byte{0, 0, 8, 0, 0, 0, 0, 0}, data(8, 1, 2), snap4), ip4, wire.LinkRaw},
		{"radiotap, padded header", 127, slices.Concat([]byte{0, 0, 17, 0, 3, 0, 0, 0}, pad(8), []byte{0x20}, data(8, 1, 4), snap4), ip4, wire.LinkRaw},
		{"Prism", 119, slices.Concat([]byte{0, 0, 0, 0x44, 144, 0, 0, 0}, pad(136), data(0, 2, 0), snap4), ip4, wire.LinkRaw},
		{"AVS", 163, slices.Concat([]byte{0x80, 0x21, 0x10, 1, 0, 0, 0, 64}, pad(56), data(0, 2, 0), snap4), ip4, wire.LinkRaw},
		{"PPI", 192, slices.Concat([]byte{0, 0, 8, 0, 105, 0, 0, 0}, data(0, 2, 0), snap4), ip4, wire.LinkRaw},
	} {
		whole := slices.Concat(c.header, c.inner)
		p := flow.Packet{}
		fill(&p, 7, whole, len(whole)+5, c.link)
		if !bytes.Equal(p.Data, c.inner) || p.Link != c.want || p.Length != len(c.inner)+5 {
			t.Errorf("%s: link type %d, %d bytes of %d: %x", c.name, p.Link, len(p.Data), p.Length, p.Data)
		}
		for n := range whole {
			if v, ok := step(c.link, whole[:n:n]); ok && v.link == c.want && !bytes.HasPrefix(c.inner, v.rest) && n > len(c.header)+12 {
				t.Errorf("%s, truncated to %d bytes: %x", c.name, n, v.rest)
			}
		}
	}

	for name, c := range map[string]struct {
		link wire.LinkType
		data []byte
		want wire.LinkType
	}{
		"PPP, LCP":                {9, []byte{0xff, 3, 0xc0, 0x21, 1, 1, 0, 4}, flow.LinkOther},
		"IEEE 802.11, a beacon":   {105, append([]byte{0x80, 0}, pad(60)...), flow.LinkOther},
		"IEEE 802.11, encrypted":  {105, slices.Concat(data(0, 0x41, 0), snap4, ip4), flow.LinkOther},
		"spanning tree in FDDI":   {10, slices.Concat(pad(13), []byte{0x42, 0x42, 3, 0, 0, 0, 0, 0}), flow.LinkOther},
		"PKTAP without a packet":  {258, slices.Concat(pktap(108, 0, 1), frame), flow.LinkOther},
		"PKTAP in PKTAP":          {258, slices.Concat(pktap(108, 1, 149), pktap(108, 1, 1), frame), 258},
		"a user's link type":      {149, []byte("anything that somebody means by it"), 149},
		"NFLOG without a packet":  {239, nflog[:20], flow.LinkOther},
		"an unassigned link type": {9999, frame, 9999},
	} {
		p := flow.Packet{}
		fill(&p, 7, c.data, len(c.data), c.link)
		if p.Link != c.want {
			t.Errorf("%s: link type %d", name, p.Link)
		}
	}
}

// TestZonesOfLinkTypes: networks that a link layer distinguishes remain distinct after its header is skipped.
func TestZonesOfLinkTypes(t *testing.T) {
	ip := capturetest.TCPFrame(netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80"), layers.TCP{ACK: true}, nil)[14:]
	zoneOf := func(link wire.LinkType, header ...byte) flow.Zone {
		p := flow.Packet{Zone: 99} // the zone of the previous packet must not remain
		b := slices.Concat(header, ip)
		fill(&p, 7, b, len(b), link)
		var d flow.Decoded
		if !flow.Decode(&p, &d) {
			t.Fatalf("link type %d: %v", link, d.Reason)
		}
		return d.Zone
	}
	vlan := func(n byte) flow.Zone { return flow.Zone(0).VLAN(0x8100, uint16(n)) }
	for name, c := range map[string]struct{ a, b, want flow.Zone }{
		"VLAN in Cisco HDLC": {zoneOf(104, 0x0f, 0, 0x81, 0, 0, 5, 8, 0), zoneOf(104, 0x0f, 0, 0x81, 0, 0, 6, 8, 0), vlan(5)},
		"VLAN in LLC":        {zoneOf(100, 0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0, 0x60, 5, 8, 0), zoneOf(100, 0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0, 0, 6, 8, 0), vlan(5)},
		"frame relay":        {zoneOf(107, 0x18, 0x41, 3, 0xcc), zoneOf(107, 0x18, 0x51, 3, 0xcc), flow.Zone(0).In(107, 0x1841)},
		"PPP over Ethernet":  {zoneOf(51, 0x11, 0, 0, 1, 0, 0, 0, 0x21), zoneOf(51, 0x11, 0, 0, 2, 0, 0, 0, 0x21), flow.Zone(0).In(51, 1)},
		"none":               {zoneOf(104, 0x0f, 0, 8, 0), zoneOf(101) + 1, 0},
	} {
		if c.a == c.b || c.a != c.want {
			t.Errorf("%s: %x and %x, want %x first", name, c.a, c.b, c.want)
		}
	}
}

// FuzzLinkTypes: for any bytes, skipping a link layer neither panics nor returns bytes that are not in the packet.
func FuzzLinkTypes(f *testing.F) {
	for link := range uint16(300) {
		f.Add(link, []byte("\xff\x03\x00\x21 and whatever else may follow it in a packet"))
	}
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		v, ok := step(wire.LinkType(link), data)
		if !ok || v.link == flow.LinkOther {
			return
		}
		if !flow.DecodesLink(v.link) || !bytes.Contains(data, v.rest) {
			t.Fatalf("link type %d: link type %d, %x of %x", link, v.link, v.rest, data)
		}
	})
}
