package main

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// arphrdLoopback is the type of Linux's loopback device, linux/if_arp.h.
const arphrdLoopback = 772

// onLoopback reports whether p was captured on Linux's loopback device. A pcap file has no
// interface's name, and under a mesh's REDIRECT the addresses are the pod's and its peer's,
// so the link header decides. name is the interface's name in the file, empty if the file
// has none.
func (b *batch) onLoopback(p *flow.Packet, name string) bool {
	switch {
	case !fromLoopback(p):
		return false
	case p.Link != wire.LinkEthernet: // the header has the device's type
		return true
	case isDevice(name):
		return name == loopback
	}
	return !b.isRouted(p)
}

// isDevice reports whether the name of an interface in a file is that of a device. Captures
// from a pipe have "-", "Standard input" or the path of the pipe.
func isDevice(name string) bool { return name != "" && name != "-" && !strings.ContainsAny(name, "/ ") }

// isRouted reports whether the file's frames between addresses of zeros come from a device
// other than lo. The eth0 of a pod has such frames where Cilium uses netkit, whose devices
// have no addresses in their default mode (cilium/cilium issue 37265). A router has
// decremented the TTL of what arrives there, and of nothing on lo. The frames in the buffer
// decide for the whole file, so that all packets of a connection have one interface.
func (b *batch) isRouted(p *flow.Packet) bool {
	if !b.looked {
		b.looked = true
		b.routed = isDecremented(p.Data)
		b.file.Buffered(func(frame []byte) bool {
			b.routed = b.routed || isDecremented(frame)
			return !b.routed
		})
	}
	return b.routed
}

// isDecremented reports whether an Ethernet frame holds a packet of TCP whose TTL is not one
// that hosts begin with (64, 128, 255), after at most 31 routers.
func isDecremented(frame []byte) bool {
	const header = 14
	var ttl, protocol byte
	switch {
	case len(frame) < header+20:
		return false
	case frame[12] == 0x08 && frame[13] == 0x00: // IPv4
		ttl, protocol = frame[header+8], frame[header+9]
	case frame[12] == 0x86 && frame[13] == 0xdd: // IPv6
		ttl, protocol = frame[header+7], frame[header+6]
	}
	const most = 31
	begin := slices.IndexFunc([]byte{64, 128, 255}, func(t byte) bool { return ttl < t && t-ttl <= most })
	return protocol == wire.ProtoTCP && begin >= 0
}

// fromLoopback reports whether a packet has the link header of Linux's loopback device: lo
// has Ethernet frames between addresses of zeros; a cooked header (LINKTYPE_LINUX_SLL and
// _SLL2) has the device's type.
func fromLoopback(p *flow.Packet) bool {
	switch b := p.Data; {
	case p.Link == wire.LinkEthernet && len(b) >= 14: // destination and source are zero
		return binary.LittleEndian.Uint64(b)|uint64(binary.LittleEndian.Uint32(b[8:])) == 0
	case p.Link == wire.LinkSLL && len(b) >= 16:
		return binary.BigEndian.Uint16(b[2:]) == arphrdLoopback
	case p.Link == wire.LinkSLL2 && len(b) >= 20:
		return binary.BigEndian.Uint16(b[8:]) == arphrdLoopback
	}
	return false
}
