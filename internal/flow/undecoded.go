package flow

import (
	"cmp"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Undecoded is a kind of packet that has no TCP or UDP ports, or whose ports cannot be read.
type Undecoded struct {
	Reason  Reason
	Other   uint16 // see Decoded.Other
	Packets uint64
}

// other stores what a packet carries instead of TCP or UDP over IP, and returns the reason.
func (d *Decoded) other(r Reason, what uint16) Reason {
	d.Other = what
	return r
}

// maxOthers bounds the kinds that are distinguished, in addition to IP protocols and common EtherTypes. Packets of more
// kinds count with Other 0.
const maxOthers = 64

// commonEtherTypes are EtherTypes that may carry connections or occur everywhere. They have separate counters, because
// packets with invented EtherTypes may fill the list of other kinds.
var commonEtherTypes = [...]uint16{wire.EtherARP, wire.EtherPPPoE, wire.EtherMPLS, wire.EtherMPLSUpstream, wire.EtherPPP, 0x88e5, 0x88e7, 0x894f, 0x8906, 0x8915, 0x888e, 0x88cc, SNAP}

// others counts undecoded packets by what they carry. list is short enough for a linear search.
type others struct {
	protocols [256]uint64                   // OtherTransport, by the IP protocol
	common    [len(commonEtherTypes)]uint64 // OtherNetwork, by index in commonEtherTypes
	list      []Undecoded                   // all other kinds
}

func (o *others) add(d *Decoded) {
	switch d.Reason { //nolint:exhaustive // other reasons are not divided further
	case LaterFragment:
		return // counted in Stats, which Table.Undecoded reads
	case OtherTransport:
		o.protocols[uint8(d.Other)]++
		return
	case OtherNetwork:
		if i := slices.Index(commonEtherTypes[:], d.Other); i >= 0 {
			o.common[i]++
			return
		}
	}
	what := d.Other
	for {
		for i := range o.list {
			if x := &o.list[i]; x.Reason == d.Reason && x.Other == what {
				x.Packets++
				return
			}
		}
		if len(o.list) < maxOthers || what == 0 {
			o.list = append(o.list, Undecoded{d.Reason, what, 1})
			return
		}
		what = 0
	}
}

// kinds returns all kinds with a count above zero.
func (o *others) kinds() []Undecoded {
	list := slices.Clone(o.list)
	for proto, n := range o.protocols {
		list = append(list, Undecoded{OtherTransport, uint16(proto), n})
	}
	for i, n := range o.common {
		list = append(list, Undecoded{OtherNetwork, commonEtherTypes[i], n})
	}
	return slices.DeleteFunc(list, func(u Undecoded) bool { return u.Packets == 0 })
}

// Undecoded returns the packets of Stats.Undecoded by what they carry, the most frequent kind first.
func (t *Table) Undecoded() []Undecoded {
	list := t.others.kinds()
	if n := t.stats.Undecoded[LaterFragment]; n > 0 {
		list = append(list, Undecoded{Reason: LaterFragment, Packets: n})
	}
	order.Stable(list, func(a, b Undecoded) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Other, b.Other))
	})
	return list
}
