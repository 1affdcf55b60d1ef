package limits

import (
	"os"
	"runtime/debug"
)

// Limits bound the tap's memory. All of them follow from the limit of its control group, and
// are published in /metrics and in meshtls.coverage.
type Limits struct {
	Group       int64 // of the control group, bytes; 0: there is none
	Ring        int   // of each interface, bytes: the kernel's memory
	Connections int   // in the table
	Pending     int   // bytes of all sessions that are not settled
	Conclusions int   // bytes of the conclusions of the others
	Reorder     int   // bytes buffered out of order
	Recent      int   // bytes kept to compare copies with
	Heap        int64 // at which the garbage collector works harder (GOMEMLIMIT), bytes
	Growth      int   // of the heap between two collections (GOGC), percent
}

const (
	// assumedLimit is used without a limit: the chart's default.
	assumedLimit = 128 << 20
	// connectionBytes is the memory of a settled connection with its share of the map and its
	// part in the verdict's and the records' tables: 460 to 600 were measured.
	connectionBytes = 640
	// fixedBytes of the heap are for everything else: edges, queue, names, tickets.
	fixedBytes = 12 << 20

	leastRing, mostRing               = 512 << 10, 16 << 20
	leastConnections, mostConnections = 1024, 1 << 18
	ringStep                          = 128 << 10 // a block of the ring
)

// QUIC Initials take some 20 µs each to read. Those that are answered are always read; of the
// others at most 256 + 63 * 8 a second: 15 ms of CPU.
const (
	OwnInitials   = 256 // of sessions of the pod
	OtherInitials = 8   // of each of 63 shares that all other sources fall into
)

// For divides the memory that a control group allows (0: no limit) among a number of
// interfaces and everything else. A quarter of it is not the heap's: the program, stacks,
// sockets, and the rings, which have a sixteenth together (Linux 6.18 does not count them
// into the control group, but they are the node's memory too). At most two thirds of the heap
// are in use, so that the collector can keep up.
func For(group int64, interfaces int) Limits {
	m := group
	if m <= 0 {
		group, m = 0, assumedLimit
	}
	l := Limits{Group: group, Heap: m / 4 * 3, Growth: 50}
	l.Ring = int(min(max(m/16/int64(max(interfaces, 1)), leastRing), mostRing)) / ringStep * ringStep
	l.Pending = int(min(m/8, 64<<20))
	l.Conclusions = int(min(m/32, 16<<20))
	l.Reorder = int(min(m/32, 8<<20))
	l.Recent = int(min(m/64, 4<<20))
	left := m/2 - fixedBytes - int64(l.Pending+l.Conclusions+l.Reorder+l.Recent)
	l.Connections = int(min(max(left/connectionBytes, leastConnections), mostConnections))
	return l
}

// Rings divides the ring of an interface: TCP has most of it. A flood of datagrams fills only
// the other part.
func (l *Limits) Rings() (tcp, other int) {
	other = max(l.Ring*3/8/ringStep, 2) * ringStep
	return max(l.Ring-other, 2*ringStep), other
}

// Apply sets the garbage collector, except for values that the environment (GOMEMLIMIT, GOGC)
// has set.
func (l *Limits) Apply() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(l.Growth)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return // the limit is the operator's: no part of it is for ballast
	}
	if os.Getenv("GOGC") == "" && ballast == nil {
		ballast = make([]byte, ballastBytes)
	}
	debug.SetMemoryLimit(l.Heap + int64(len(ballast)))
}

// ballast is memory that nobody touches, so that the kernel never provides it. The collector
// takes it for a part of the heap, and lets the rest grow by Limits.Growth of it as well: a
// heap of one or two megabytes would be collected each half megabyte.
var ballast []byte

const ballastBytes = 6 << 20

// Ballast returns how many bytes of the heap and of its limit are ballast.
func Ballast() int { return len(ballast) }

// Counters returns the limits that are in the tap's own records, by name.
func (l *Limits) Counters() map[string]uint64 {
	return map[string]uint64{
		"memory_limit_bytes": uint64(l.Group), "ring_bytes": uint64(l.Ring),
		"max_connections": uint64(l.Connections), "max_pending_bytes": uint64(l.Pending),
	}
}
