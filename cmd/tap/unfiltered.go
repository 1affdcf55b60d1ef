package main

import (
	"errors"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
)

// fit opens both rings with the first filters that the kernel has room for
// (net.core.optmem_max); none at all always fits. Where these are not the whole filters,
// the tap itself applies them to each packet, which costs the workload a copy of it.
func (i *interfaceTap) fit(choices ...pair) (tcp, other *afpacket.Handle, err error) {
	for k, filters := range choices {
		reason := err
		if tcp, other, err = i.rings(filters); errors.Is(err, afpacket.ErrFilterMemory) {
			continue
		}
		if err == nil {
			i.fitted(k > 0, reason)
		}
		break
	}
	return tcp, other, err
}

// fitted notes whether the kernel had no room for the filter, and says so once.
func (i *interfaceTap) fitted(unfiltered bool, reason error) {
	i.mu.Lock()
	warn := unfiltered && !i.unfiltered
	i.unfiltered = unfiltered
	i.mu.Unlock()
	if warn {
		i.log.Warn("the kernel has no room for the filter, so every packet is copied and the tap filters them", "error", reason)
	}
}

// checks returns the filters that the kernel does not apply, nil where it does.
func (i *interfaceTap) checks() (checks pair) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.unfiltered {
		return checks
	}
	return i.whole
}

// isUnfiltered reports whether the kernel had no room for the filter.
func (i *interfaceTap) isUnfiltered() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unfiltered
}

// applied does with a packet as the kernel does by a filter, and reports whether it is
// taken.
func applied(filter pcapfilter.Program, x *afpacket.Packet) bool {
	n := filter.Run(&pcapfilter.Packet{Data: x.Data, Length: x.Length, HasVLAN: x.VLANType != 0, VLAN: x.VLAN, Type: x.Type})
	x.Data = x.Data[:min(len(x.Data), int(n))]
	return n > 0
}
