package main

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// arphrdLoopback is the type of Linux's loopback device, linux/if_arp.h.
const arphrdLoopback = 772

// onLoopback tells by its link header that a packet was captured on Linux's loopback
// device. A pcap file has no interface's name, and under a mesh's REDIRECT the
// addresses are the pod's and its peer's. lo has Ethernet frames between addresses of
// zeros, which are nobody's; a cooked header (LINKTYPE_LINUX_SLL and _SLL2) has the
// device's type.
func onLoopback(p *flow.Packet) bool {
	switch b := p.Data; {
	case p.Link == flow.LinkEthernet && len(b) >= 14: // destination and source are zero
		return binary.LittleEndian.Uint64(b)|uint64(binary.LittleEndian.Uint32(b[8:])) == 0
	case p.Link == flow.LinkLinuxSLL && len(b) >= 16:
		return binary.BigEndian.Uint16(b[2:]) == arphrdLoopback
	case p.Link == flow.LinkLinuxSLL2 && len(b) >= 20:
		return binary.BigEndian.Uint16(b[8:]) == arphrdLoopback
	}
	return false
}
