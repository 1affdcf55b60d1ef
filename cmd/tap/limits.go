package main

import (
	"os"
	"runtime/debug"
)

// limits are what the tap takes of memory at most. All of it follows from the limit of
// its control group, and stands in /metrics and in meshtls.coverage.
type limits struct {
	group       int64 // the control group's, bytes; 0: there is none
	ring        int   // of each interface, bytes: the kernel's memory
	connections int   // in the table
	pending     int   // bytes of all sessions that are not settled
	conclusions int   // bytes of what was concluded of the others
	reorder     int   // bytes held out of order
	recent      int   // bytes kept to compare copies with
	heap        int64 // where the garbage collector works harder (GOMEMLIMIT), bytes
	growth      int   // what the heap may grow by between two collections (GOGC), percent
}

const (
	// assumedLimit is what is kept to where there is no limit: the chart's default.
	assumedLimit = 128 << 20
	// connectionBytes is what a settled connection takes with its share of the map and
	// its part in the verdict's and the records' tables: 460 to 600 were measured.
	connectionBytes = 640
	// fixedBytes of the heap are for all else: edges, queue, names, tickets.
	fixedBytes = 12 << 20

	// QUIC Initials cost some 20 µs each to read. Those that are answered are always read;
	// of the others 256 + 63 * 8 are, a second: 15 ms of CPU.
	ownInitials, othersInitials = 256, 8

	leastRing, mostRing               = 512 << 10, 16 << 20
	leastConnections, mostConnections = 1024, 1 << 18
	ringStep                          = 128 << 10 // a block of the ring
)

// limitsFor divides the memory that a control group allows (0: no limit) among what is
// kept. A quarter of it is not the heap's: the program, stacks, sockets, and the rings,
// which have a sixteenth together (Linux 6.18 does not count them into the control group,
// and they are the node's memory all the same). Of the heap no more than two thirds are
// ever in use, or the collector could not keep up.
func limitsFor(group int64, interfaces int) limits {
	m := group
	if m <= 0 {
		group, m = 0, assumedLimit
	}
	l := limits{group: group, heap: m / 4 * 3, growth: 50}
	l.ring = int(min(max(m/16/int64(max(interfaces, 1)), leastRing), mostRing)) / ringStep * ringStep
	l.pending = int(min(m/8, 64<<20))
	l.conclusions = int(min(m/32, 16<<20))
	l.reorder = int(min(m/32, 8<<20))
	l.recent = int(min(m/64, 4<<20))
	left := m/2 - fixedBytes - int64(l.pending+l.conclusions+l.reorder+l.recent)
	l.connections = int(min(max(left/connectionBytes, leastConnections), mostConnections))
	return l
}

// rings divides the ring of an interface: TCP has most of it. A flood of datagrams fills
// the other part, and takes none of this one.
func (l *limits) rings() (tcp, other int) {
	other = max(l.ring*3/8/ringStep, 2) * ringStep
	return max(l.ring-other, 2*ringStep), other
}

// apply sets the garbage collector, but for what the environment (GOMEMLIMIT, GOGC) has
// set already, which counts.
func (l *limits) apply() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(l.growth)
		if ballast == nil {
			ballast = make([]byte, ballastBytes)
		}
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(l.heap + int64(len(ballast)))
	}
}

// ballast is memory that nobody touches, so that the kernel never provides it. The collector
// takes it for a part of the heap, and lets the rest grow by limits.growth of it as well:
// a heap of one or two megabytes would be collected each half megabyte.
var ballast []byte

const ballastBytes = 6 << 20

// counters are those that stand in the tap's own records.
func (l *limits) counters() map[string]uint64 {
	return map[string]uint64{
		"memory_limit_bytes": uint64(l.group), "ring_bytes": uint64(l.ring),
		"max_connections": uint64(l.connections), "max_pending_bytes": uint64(l.pending),
	}
}
