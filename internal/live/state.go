package live

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// Name returns the interface's name.
func (i *Interface) Name() string { return i.name }

// Problem returns the reason for which nothing is captured. It returns nil while the interface is
// captured.
func (i *Interface) Problem() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle == nil && i.err == nil && !i.gone && !i.ended {
		return fmt.Errorf("interface %s: not open yet", i.name)
	}
	return i.err
}

// isGone reports whether the interface no longer exists and is not waited for.
func (i *Interface) isGone() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.gone
}

// isRenamed reports whether the capture ended because the interface was renamed.
func (i *Interface) isRenamed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.renamed
}

func (i *Interface) state() finding.InterfaceState {
	stats, err := i.Stats(), i.Problem()
	i.mu.Lock()
	defer i.mu.Unlock()
	s := finding.InterfaceState{Name: i.name, Captured: err == nil, Packets: stats.Packets, Dropped: stats.Drops}
	if !i.since.IsZero() {
		s.Since = i.since.UnixNano()
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

// Stats returns the counts of both rings since the first Start.
func (i *Interface) Stats() afpacket.Stats { return sum(i.RingStats()) }

// RingStats returns the counts of each ring since the first Start.
func (i *Interface) RingStats() (tcp, other afpacket.Stats) {
	i.mu.Lock()
	defer i.mu.Unlock()
	tcp, other = i.past, i.pastOther
	if i.handle != nil {
		now, _ := i.handle.Stats()
		tcp = sum(tcp, now)
	}
	if i.other != nil {
		now, _ := i.other.Stats()
		other = sum(other, now)
	}
	return tcp, other
}

func sum(a, b afpacket.Stats) afpacket.Stats {
	return afpacket.Stats{Packets: a.Packets + b.Packets, Drops: a.Drops + b.Drops, Freezes: a.Freezes + b.Freezes}
}
