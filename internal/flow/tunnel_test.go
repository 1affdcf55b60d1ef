package flow_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// outer4 adds an IPv4 header to data.
func outer4(proto uint8, data []byte) []byte {
	h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0, 172, 16, 0, 1, 172, 16, 0, 2}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(data)))
	return append(h, data...)
}

func outerUDP(port uint16, data []byte) []byte {
	h := []byte{0xc0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(h[2:], port)
	binary.BigEndian.PutUint16(h[4:], uint16(len(h)+len(data)))
	return outer4(17, append(h, data...))
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

// ether adds an Ethernet header to data.
func ether(typ uint16, data []byte) []byte {
	return append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, byte(typ >> 8), byte(typ)}, data...)
}

func TestTunnels(t *testing.T) {
	frame := capturetest.TCPFrame(client, server, layers.TCP{ACK: true, Seq: 7, Ack: 9}, []byte("inside"))
	frame6 := capturetest.TCPFrame(netip.MustParseAddrPort("[fd00::1]:40000"), netip.MustParseAddrPort("[fd00::2]:80"), layers.TCP{ACK: true, Seq: 7, Ack: 9}, []byte("inside"))
	ip4, ip6 := frame[14:], frame6[14:]
	for name, c := range map[string]struct {
		data []byte
		six  bool
		udp  bool // without decapsulation the outer packet is UDP; otherwise it has no ports
	}{
		"LLC with SNAP":             {data: ether(uint16(8+len(ip4)), join([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, ip4))},
		"IP in IP":                  {data: ether(0x0800, outer4(4, ip4))},
		"6in4":                      {data: ether(0x0800, outer4(41, ip6)), six: true},
		"GRE":                       {data: ether(0x0800, outer4(47, join([]byte{0, 0, 8, 0}, ip4)))},
		"GRE with all fields":       {data: ether(0x0800, outer4(47, join([]byte{0xb0, 0, 0x86, 0xdd}, make([]byte, 12), ip6))), six: true},
		"Ethernet in GRE":           {data: ether(0x0800, outer4(47, join([]byte{0, 0, 0x65, 0x58}, frame)))},
		"VXLAN":                     {data: ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, frame))), udp: true},
		"VXLAN with VLAN":           {data: ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, ether(0x8100, join([]byte{0, 5, 8, 0}, ip4))))), udp: true},
		"VXLAN on port 8472":        {data: ether(0x0800, outerUDP(8472, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, frame))), udp: true},
		"VXLAN-GPE":                 {data: ether(0x0800, outerUDP(4790, join([]byte{12, 0, 0, 2, 0, 0, 42, 0}, ip6))), six: true, udp: true},
		"VXLAN-GPE with Ethernet":   {data: ether(0x0800, outerUDP(4790, join([]byte{12, 0, 0, 3, 0, 0, 42, 0}, frame))), udp: true},
		"GTP-U":                     {data: ether(0x0800, outerUDP(2152, gtp(0x30, nil, ip4))), udp: true},
		"GTP-U with a number":       {data: ether(0x0800, outerUDP(2152, gtp(0x32, []byte{0, 7, 0, 0}, ip6))), six: true, udp: true},
		"GTP-U with extensions":     {data: ether(0x0800, outerUDP(2152, gtp(0x34, []byte{0, 0, 0, 0x85, 1, 0, 0, 0x40, 2, 0, 0, 0, 0, 0, 0, 0}, ip4))), udp: true},
		"MPLS in UDP":               {data: ether(0x0800, outerUDP(6635, join([]byte{0, 1, 1, 64}, ip4))), udp: true},
		"ERSPAN I":                  {data: ether(0x0800, outer4(47, join([]byte{0, 0, 0x88, 0xbe}, frame)))},
		"ERSPAN II":                 {data: ether(0x0800, outer4(47, join([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 1, 0, 0, 0, 0}, frame)))},
		"ERSPAN III":                {data: ether(0x0800, outer4(47, join([]byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, frame)))},
		"ERSPAN III with subheader": {data: ether(0x0800, outer4(47, join([]byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 8), frame)))},
		"ERSPAN III with IP":        {data: ether(0x0800, outer4(47, join([]byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 8, 0}, ip6))), six: true},
		"PPTP":                      {data: ether(0x0800, outer4(47, join([]byte{0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21}, ip4)))},
		"PPTP, compressed fields":   {data: ether(0x0800, outer4(47, join([]byte{0x20, 1, 0x88, 0x0b, 0, 9, 0, 1, 0x57}, ip6))), six: true},
		"Geneve":                    {data: ether(0x0800, outerUDP(6081, join([]byte{0, 0, 0x65, 0x58, 0, 0, 42, 0}, frame6))), six: true, udp: true},
		"Geneve with options":       {data: ether(0x0800, outerUDP(6081, join([]byte{2, 0, 8, 0, 0, 0, 42, 0}, make([]byte, 8), ip4))), udp: true},
		"PPPoE":                     {data: ether(0x8864, join([]byte{0x11, 0, 0, 1, 0, byte(len(ip4) + 2), 0, 0x21}, ip4))},
		"PPPoE, IPv6":               {data: ether(0x8864, join([]byte{0x11, 0, 0, 1, 0, byte(len(ip6) + 2), 0, 0x57}, ip6)), six: true},
		"MPLS":                      {data: ether(0x8847, join([]byte{0, 1, 0, 64, 0, 2, 1, 64}, ip4))},
		"Ethernet in MPLS":          {data: ether(0x8847, join([]byte{0, 2, 1, 64, 0, 0, 0, 0}, frame6)), six: true},
		"6in4 in PPPoE":             {data: ether(0x8864, join([]byte{0x11, 0, 0, 1, 0, 0, 0, 0x21}, outer4(41, ip6))), six: true},
		"IP in IP in IP in IP in 4": {data: ether(0x0800, outer4(4, outer4(4, outer4(4, outer4(4, ip4)))))},
	} {
		t.Run(name, func(t *testing.T) {
			var d flow.Decoded
			p := flow.Packet{Data: c.data, Length: len(c.data), Link: wire.LinkEthernet, Decapsulate: true}
			if !flow.Decode(&p, &d) || d.SrcPort != 40000 || d.DstPort != 80 || d.IPv6 != c.six || string(d.Payload) != "inside" || d.PayloadLen != 6 || d.Seq != 7 {
				t.Errorf("%+v", d)
			}
			want := [16]byte{10, 0, 0, 1}
			if c.six {
				want = netip.MustParseAddr("fd00::1").As16()
			}
			if d.Src != want {
				t.Errorf("source %v", d.Src)
			}
			p.Decapsulate = false
			if ok := flow.Decode(&p, &d); ok != c.udp {
				t.Errorf("must not be decapsulated: %v %+v", ok, d)
			}
			p.Decapsulate = true
			for n := range c.data { // truncated at any byte, the packet never has other ports
				p.Data = c.data[:n:n]
				if ok := flow.Decode(&p, &d); !ok && d.Reason != flow.Truncated || ok && (d.SrcPort != 40000 || d.DstPort != 80 || d.PayloadLen != 6) {
					t.Errorf("truncated to %d bytes: %+v", n, d)
				}
			}
		})
	}
}

// gtp adds a GTP-U header to a packet.
func gtp(flags byte, optional, packet []byte) []byte {
	n := len(optional) + len(packet)
	return join([]byte{flags, 255, byte(n >> 8), byte(n), 0, 0, 0, 1}, optional, packet)
}

// Datagrams that only look like a tunnel count as they are.
func TestNoTunnel(t *testing.T) {
	frame := capturetest.TCPFrame(client, server, layers.TCP{ACK: true}, nil)
	for name, data := range map[string][]byte{
		"a reserved bit of VXLAN":     outerUDP(4789, join([]byte{8, 1, 0, 0, 0, 0, 42, 0}, frame)),
		"nothing inside of VXLAN":     outerUDP(4789, []byte{8, 0, 0, 0, 0, 0, 42, 0}),
		"not IP inside of VXLAN":      outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, ether(0x0806, make([]byte, 28)))),
		"another version of Geneve":   outerUDP(6081, join([]byte{0x40, 0, 0x65, 0x58, 0, 0, 42, 0}, frame)),
		"options beyond the datagram": outerUDP(6081, join([]byte{0x3f, 0, 0x65, 0x58, 0, 0, 42, 0}, frame)),
		"another port":                outerUDP(4791, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, frame)),
		"VXLAN on the port of GPE":    outerUDP(4790, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, frame)),
		"VXLAN from a group":          outerUDP(8472, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, join(frame[:6], []byte{3}, frame[7:]))),
		"OTV":                         outerUDP(8472, join([]byte{8, 0, 0, 0, 0, 0, 42, 1}, frame)),
		"text on port 8472":           outerUDP(8472, []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")),
		"text on port 2152":           outerUDP(2152, []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")),
		"GTP-U of another length":     outerUDP(2152, join([]byte{0x30, 255, 0, 9, 0, 0, 0, 1}, frame[14:])),
		"GTP-U, an echo request":      outerUDP(2152, join([]byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0})),
		"GTP-U, an empty extension":   outerUDP(2152, gtp(0x34, []byte{0, 0, 0, 0x85, 0, 0, 0, 0}, frame[14:])),
		"GTP-U, the older version":    outerUDP(2152, gtp(0x1e, nil, frame[14:])),
	} {
		p := flow.Packet{Data: data, Length: len(data), Link: wire.LinkRaw, Decapsulate: true}
		var d flow.Decoded
		if !flow.Decode(&p, &d) || d.Transport != 17 || d.SrcPort != 0xc000 {
			t.Errorf("%s: %+v", name, d)
		}
	}

	arp := ether(0x0806, join([]byte{0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)))
	for name, data := range map[string][]byte{
		"ARP in VXLAN":       outerUDP(8472, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, arp)),
		"ICMP in GTP-U":      outerUDP(2152, gtp(0x30, nil, outer4(1, make([]byte, 8)))),
		"five deep":          outer4(4, outer4(4, outer4(4, outer4(4, outer4(4, frame[14:]))))),
		"GRE of version 1":   outer4(47, join([]byte{0, 1, 0x88, 0x0b}, frame[14:])),
		"PPPoE discovery":    ether(0x8863, []byte{0x11, 9, 0, 0, 0, 0}),
		"the other IP":       outer4(41, frame[14:]),
		"labels without end": ether(0x8847, make([]byte, 64)),
	} {
		p := flow.Packet{Data: data, Length: len(data), Link: wire.LinkRaw, Decapsulate: true}
		if data[0] == 2 {
			p.Link = wire.LinkEthernet
		}
		var d flow.Decoded
		if flow.Decode(&p, &d) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
