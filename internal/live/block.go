package live

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// addBlock adds the packets of a block to the pipeline, flow.MaxPrefetch at a time. It applies filter to the packets. filter is
// nil if the kernel applies it.
func (i *Interface) addBlock(link wire.LinkType, filter pcapfilter.Program, b *afpacket.Block) {
	c := i.capture
	c.pipeline.Do(func(p *pipeline.Locked) {
		if c.due = nil; i.name == Loopback {
			c.due = p
		} else {
			c.updateAddresses(p)
		}

		var packets [flow.MaxPrefetch]flow.Packet
		for n := len(packets); n == len(packets); {
			n = i.next(packets[:], link, filter, b)
			p.Add(packets[:n])
		}
		c.due = nil
		now := time.Now()
		c.packetsArrived(now)
		c.thin(p, now)
	})
}

// next fills packets with the next packets of a block and returns their number. The number is less than len(packets) only
// at the block's end.
func (i *Interface) next(packets []flow.Packet, link wire.LinkType, filter pcapfilter.Program, b *afpacket.Block) int {
	for n := range packets {
		x, ok := b.Next()
		for ok && filter != nil && !applyFilter(filter, &x) {
			x, ok = b.Next()
		}
		if !ok {
			return n
		}

		p := &packets[n]
		p.Time, p.Data, p.Length, p.Link, p.Interface = x.Time, x.Data, x.Length, link, i.index
		p.Origin = i.origin(x.Type)
		if p.Checksum = flow.ChecksumUnverified; x.Vouched {
			p.Checksum = flow.ChecksumTrusted
		}
		if p.Zone = 0; x.VLANType != 0 { // the kernel has moved the tag out of the packet
			p.Zone = p.Zone.VLAN(x.VLANType, x.VLAN)
		}
	}
	return len(packets)
}

// origin returns the end from which a packet came. On lo both ends belong to the pod.
func (i *Interface) origin(typ uint8) flow.Origin {
	switch {
	case i.name == Loopback:
		return flow.OriginUnknown
	case typ == afpacket.TypeOutgoing:
		return flow.OriginSent
	case typ == afpacket.TypeOtherHost:
		return flow.OriginElsewhere
	case typ == afpacket.TypeBroadcast, typ == afpacket.TypeMulticast:
		return flow.OriginGroup
	}
	return flow.OriginArrived
}

// applyFilter applies a filter to a packet as the kernel would. It truncates the packet, and
// reports whether the filter accepts it.
func applyFilter(filter pcapfilter.Program, x *afpacket.Packet) bool {
	n := filter.Run(&pcapfilter.Packet{Data: x.Data, Length: x.Length, HasVLAN: x.VLANType != 0, VLAN: x.VLAN, Type: x.Type})
	x.Data = x.Data[:min(len(x.Data), int(n))]
	return n > 0
}
