package pcapfile

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// loopback is the name of Linux's loopback device.
const loopback = "lo"

// A Device is a network device that captured packets of a file. The interface "any" stands for two devices, lo and everything else. Each
// section of a pcapng file numbers its interfaces anew. So interfaces of two sections are one device if they have the same number and name.
type Device struct {
	interfaceNumber int
	interfaceName   string
	onLoopback      bool
}

// Name returns the name of the device, "lo" for Linux's loopback device; empty if the file has no names.
func (d Device) Name() string {
	if d.onLoopback {
		return loopback
	}
	return d.interfaceName
}

// Device returns the device that captured p, which Next or NextBuffered has just returned with iface.
func (c *Reader) Device(p *flow.Packet, iface int) Device {
	name := ""
	if c.HasInterfaces() {
		name = c.InterfaceName(iface)
	}
	return Device{iface, name, c.onLoopback(p, name)}
}

// arphrdLoopback is the type of Linux's loopback device, linux/if_arp.h.
const arphrdLoopback = 772

// onLoopback reports whether p was captured on Linux's loopback device. name is the interface's name in the file, or empty if
// the file has no names, as in pcap. Without a name the link header decides. The IP addresses do not show the device: under a
// mesh's REDIRECT, packets on lo have the addresses of the pod and its peer.
func (c *Reader) onLoopback(p *flow.Packet, name string) bool {
	switch {
	case !fromLoopback(p):
		return false
	case p.Link != wire.LinkEthernet: // the link header contains the type of the device
		return true
	case isDevice(name):
		return name == loopback
	}
	return !c.isRouted(p)
}

// isDevice reports whether an interface's name in a file is the name of a device. In a capture from a pipe the name
// is "-", "Standard input" or the path of the pipe.
func isDevice(name string) bool { return name != "" && name != "-" && !strings.ContainsAny(name, "/ ") }

// isRouted reports whether the file's frames between zero addresses come from a device other than
// lo. The eth0 of a pod has such frames where Cilium uses netkit, whose devices have no addresses in
// their default mode (cilium/cilium issue 37265). A router has decremented the TTL of packets that
// arrive at eth0, but not the TTL of packets on lo. The frames in the buffer decide for the whole
// file, so that all packets of a connection have the same interface.
func (c *Reader) isRouted(p *flow.Packet) bool {
	if !c.routedKnown {
		c.routedKnown = true
		c.routed = isDecremented(p.Data)
		if c.classic != nil { // unusual pcap files and pcapng have no packets that are known to be in the buffer
			c.classic.buffered(func(frame []byte) bool {
				c.routed = c.routed || isDecremented(frame)
				return !c.routed
			})
		}
	}
	return c.routed
}

// isDecremented reports whether an Ethernet frame has a TCP packet whose TTL is 1 to 31 less than an initial TTL (64, 128, 255).
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
	initial := slices.IndexFunc([]byte{64, 128, 255}, func(t byte) bool { return ttl < t && t-ttl <= most })
	return protocol == wire.ProtoTCP && initial >= 0
}

// fromLoopback reports whether a packet has the link header of Linux's loopback device: Ethernet with zero addresses, or a cooked
// header (LINKTYPE_LINUX_SLL and _SLL2) with the device's type.
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
