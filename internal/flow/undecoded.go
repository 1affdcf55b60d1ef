package flow

import (
	"cmp"
	"slices"
)

// Undecoded is one kind of packet that has no TCP or UDP ports, or hides them.
type Undecoded struct {
	Reason  Reason
	Other   uint16 // see Decoded.Other
	Packets uint64
}

// other notes what a packet carries instead of TCP or UDP in IP, and returns the reason.
func (d *Decoded) other(r Reason, what uint16) Reason {
	d.Other = what
	return r
}

// maxOthers bounds the kinds that are told apart; packets of further ones count as
// Undecoded with Other 0.
const maxOthers = 64

// others counts packets by what they carry. The list is short, and so is what it is
// searched for.
type others struct{ list []Undecoded }

func (o *others) count(d *Decoded) {
	if d.Reason == LaterFragment {
		return // Undecoded has them from Stats
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

// Undecoded returns the packets that Stats.Undecoded counts by what they carry, the most
// frequent first.
func (t *Table) Undecoded() []Undecoded {
	list := slices.Clone(t.others.list)
	if n := t.stats.Undecoded[LaterFragment]; n > 0 {
		list = append(list, Undecoded{Reason: LaterFragment, Packets: n})
	}
	slices.SortFunc(list, func(a, b Undecoded) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Other, b.Other))
	})
	return list
}
