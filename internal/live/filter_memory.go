package live

import (
	"errors"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
)

// openFitting opens both rings with the first of several choices of filters for which the kernel has memory
// (net.core.optmem_max). Empty filters always fit. With any but the first choice the tap applies the filters itself, and the
// workload pays for a copy of each packet.
func (i *Interface) openFitting(choices ...ringFilters) (tcp, other *afpacket.Handle, err error) {
	for k, filters := range choices {
		reason := err
		if tcp, other, err = i.openRings(filters); errors.Is(err, afpacket.ErrFilterMemory) {
			continue
		}
		if err == nil {
			i.setUnfiltered(k > 0, reason)
		}
		break
	}
	return tcp, other, err
}

// setUnfiltered records whether the kernel had no memory for the filters. It logs the reason when
// unfiltered changes from false to true.
func (i *Interface) setUnfiltered(unfiltered bool, reason error) {
	i.mu.Lock()
	warn := unfiltered && !i.unfiltered
	i.unfiltered = unfiltered
	i.mu.Unlock()
	if warn {
		i.log.Warn("the kernel has no room for the filter, so every packet is copied and the tap filters them", "error", reason)
	}
}

// unappliedFilters returns the filters that the tap must apply, because the kernel does not. A
// filter that the kernel applies is nil.
func (i *Interface) unappliedFilters() (filters ringFilters) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.unfiltered {
		return filters
	}
	return i.filters
}

// IsUnfiltered reports whether the kernel had no memory for the filters.
func (i *Interface) IsUnfiltered() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unfiltered
}
