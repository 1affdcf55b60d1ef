package flow_test

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// zones are functions that put an IP packet into one of several networks. Networks are numbered from 1.
var zones = map[string]func(ip []byte, n byte) flow.Packet{
	"VLAN":         func(ip []byte, n byte) flow.Packet { return framed(ether(0x8100, join([]byte{0x60, n, 8, 0}, ip))) },
	"service VLAN": func(ip []byte, n byte) flow.Packet { return framed(ether(0x88a8, join([]byte{0, n, 8, 0}, ip))) },
	"old QinQ":     func(ip []byte, n byte) flow.Packet { return framed(ether(0x9100, join([]byte{0, n, 8, 0}, ip))) },
	"inner VLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x88a8, join([]byte{0, 7, 0x81, 0, 0, n, 8, 0}, ip)))
	},
	"outer VLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x88a8, join([]byte{0, n, 0x81, 0, 0, 7, 8, 0}, ip)))
	},
	"types of VLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether([]uint16{0, 0x8100, 0x88a8, 0x9100}[n], join([]byte{0, 7, 8, 0}, ip)))
	},
	"order of VLANs": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x8100, join([]byte{0, n, 0x81, 0, 0, 4 - n, 8, 0}, ip)))
	},
	"VLAN removed by the kernel": func(ip []byte, n byte) flow.Packet {
		p := framed(ether(0x0800, ip))
		p.Zone = flow.Zone(0).VLAN(0x8100, 0x2000|uint16(n))
		return p
	},
	"VLAN and none": func(ip []byte, n byte) flow.Packet {
		if n == 1 {
			return framed(ether(0x0800, ip))
		}
		return framed(ether(0x8100, join([]byte{0, n, 8, 0}, ip)))
	},
	"VXLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, n, 0}, ether(0x0800, ip)))))
	},
	"VXLAN of Linux": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outerUDP(8472, join([]byte{8, 0, 0, 0, 0, 0, n, 0}, ether(0x0800, ip)))))
	},
	"VXLAN by ends": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, ended(n, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, ether(0x0800, ip))))))
	},
	"VXLAN and none": func(ip []byte, n byte) flow.Packet {
		if n == 1 {
			return framed(ether(0x0800, ip))
		}
		return framed(ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, n, 0}, ether(0x0800, ip)))))
	},
	"VLAN in VXLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, ether(0x8100, join([]byte{0, n, 8, 0}, ip))))))
	},
	"VXLAN in VLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x8100, join([]byte{0, n, 8, 0}, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, ether(0x0800, ip))))))
	},
	"VXLAN in VXLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, n, 0}, ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, ether(0x0800, ip))))))))
	},
	"VXLAN-GPE": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outerUDP(4790, join([]byte{12, 0, 0, 1, 0, 0, n, 0}, ip))))
	},
	"Geneve": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outerUDP(6081, join([]byte{0, 0, 8, 0, 0, 0, n, 0}, ip))))
	},
	"GTP-U": func(ip []byte, n byte) flow.Packet {
		b := gtp(0x30, nil, ip)
		b[7] = n
		return framed(ether(0x0800, outerUDP(2152, b)))
	},
	"MPLS in UDP": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outerUDP(6635, join([]byte{0, n, 1, 64}, ip))))
	},
	"MPLS": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x8847, join([]byte{0, 9, 0, 64, 0, n, 1, 64}, ip)))
	},
	"PPPoE": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x8864, join([]byte{0x11, 0, 0, n, 0, byte(len(ip) + 2), 0, 0x21}, ip)))
	},
	"GRE with key": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outer4(47, join([]byte{0x20, 0, 8, 0, 0, 0, 0, n}, ip))))
	},
	"GRE, a checksum": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outer4(47, join([]byte{0xa0, 0, 8, 0, 1, 2, 3, 4, 0, 0, 0, n}, ip))))
	},
	"GRE by ends": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, ended(n, outer4(47, join([]byte{0, 0, 8, 0}, ip)))))
	},
	"PPTP": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outer4(47, join([]byte{0x20, 1, 0x88, 0x0b, 0, byte(len(ip)), 0, n, 0x21}, ip))))
	},
	"ERSPAN II": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outer4(47, join([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, n, 0, 0, 0, 0}, ether(0x0800, ip)))))
	},
	"ERSPAN II, VLAN": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outer4(47, join([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, n, 0, 1, 0, 0, 0, 0}, ether(0x0800, ip)))))
	},
	"ERSPAN III": func(ip []byte, n byte) flow.Packet {
		return framed(ether(0x0800, outer4(47, join([]byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, n, 0, 0, 0, 0, 0, 0, 0, 0}, ether(0x0800, ip)))))
	},
	"IP in IP": func(ip []byte, n byte) flow.Packet { return framed(ether(0x0800, ended(n, outer4(4, ip)))) },
}

// ended sets the last bytes of both addresses of an outer IPv4 packet, so that they differ for each network.
func ended(n byte, outer []byte) []byte {
	outer[15], outer[19] = 10+n, 20+n
	return outer
}

func framed(b []byte) flow.Packet {
	return flow.Packet{Data: b, Length: len(b), Link: wire.LinkEthernet, Decapsulate: true, Time: start.UnixNano()}
}

// in returns a step's packet in a network. The outer addresses follow the direction.
func (s *step) in(wrapped func([]byte, byte) flow.Packet, n byte) flow.Packet {
	p := wrapped(s.packet(client, server).Data[14:], n)
	if at := slices.Index(p.Data, 172); s.server && at > 0 && p.Data[at+1] == 16 { // the outer IP header
		for k := range 4 {
			p.Data[at+k], p.Data[at+4+k] = p.Data[at+4+k], p.Data[at+k]
		}
	}
	return p
}
