package limits

import (
	"os"
	"runtime/debug"
)

// Limits bound the tap's memory. All limits follow from the memory limit of the tap's control group.
// They are published in /metrics and in meshtls.coverage.
type Limits struct {
	Group       int64 // memory limit of the control group, bytes; 0: no limit
	Ring        int   // ring of each interface, bytes of kernel memory
	Connections int   // connections in the table
	Pending     int   // bytes of all sessions that are not settled
	Conclusions int   // bytes of the conclusions of settled sessions
	Reorder     int   // bytes in out-of-order buffers
	Recent      int   // bytes that are stored to be compared with retransmissions
	Evidence    int   // bytes of packets that are stored for evidence; 0 before ReserveEvidence
	Heap        int64 // heap size from which the garbage collector runs more often (GOMEMLIMIT), bytes
	Growth      int   // growth of the heap between two collections (GOGC), percent
}

const (
	// assumedLimit is the memory limit, in bytes, that applies if the control group has no limit.
	// It is the chart's default.
	assumedLimit = 128 << 20
	// connectionBytes is the memory of a settled connection. It includes the connection's share of
	// the map and its entries in the tables of verdict and finding. The measured memory was 460 to
	// 600 bytes.
	connectionBytes = 640
	// fixedBytes is the part of the heap for everything except connections and buffers: edges,
	// queue, names, tickets.
	fixedBytes = 12 << 20

	leastRing, mostRing               = 512 << 10, 16 << 20
	leastConnections, mostConnections = 1024, 1 << 18
	ringStep                          = 128 << 10 // size of a block of the ring, bytes
)

// Bounds on the unanswered QUIC Initial packets that are read in each second of packet time. Answered Initials are
// always read. At most 256 + 63 * 8 unanswered ones are read. Each takes some 20 µs, so all take 15 ms of CPU time.
const (
	OwnInitials   = 256 // Initials of connections that the tapped pod opened
	OtherInitials = 8   // Initials of each of the 63 groups into which all other sources are divided
)

// For divides the memory limit of a control group (bytes; 0: no limit) among the rings of a number of
// interfaces, the heap and the rest. Three quarters are for the heap. The last quarter is for the
// program, stacks, sockets and rings. The rings together get a sixteenth of the limit. Linux 6.18
// does not account them to the control group, but they use memory of the node too. The tables and
// buffers use at most two thirds of the heap, so that the garbage collector can keep up.
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

// ReserveEvidence sets Evidence. The table has fewer connections then. Files that wait to be written, and the one that is being encoded, use as
// much memory again.
func (l *Limits) ReserveEvidence() {
	const least, most = 256 << 10, 4 << 20
	l.Evidence = int(min(max(l.Heap/48, least), most)) // a sixty-fourth of the control group's limit
	l.Connections = max(l.Connections-2*l.Evidence/connectionBytes, leastConnections)
}

// Rings divides the ring of an interface into two rings, in bytes. TCP gets most of it. A flood of datagrams fills
// only the other ring.
func (l *Limits) Rings() (tcp, other int) {
	other = max(l.Ring*3/8/ringStep, 2) * ringStep
	return max(l.Ring-other, 2*ringStep), other
}

// Apply configures the garbage collector. It does not change values that the environment sets
// (GOMEMLIMIT, GOGC).
func (l *Limits) Apply() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(l.Growth)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return // the operator's limit has no room for the ballast
	}
	if os.Getenv("GOGC") == "" && ballast == nil {
		ballast = make([]byte, ballastBytes)
	}
	debug.SetMemoryLimit(l.Heap + int64(len(ballast)))
}

// ballast is memory that is never accessed, so it never becomes resident. The garbage collector counts it as a part of
// the heap. So the heap may grow by Limits.Growth percent of the ballast too. Without the ballast, a heap of one or
// two megabytes would be collected after each half megabyte.
var ballast []byte

const ballastBytes = 6 << 20

// Ballast returns the size of the ballast in bytes. The heap and its limit include it.
func Ballast() int { return len(ballast) }

// Counters returns the limits that are in the records about the tap, by name.
func (l *Limits) Counters() map[string]uint64 {
	return map[string]uint64{
		"memory_limit_bytes": uint64(l.Group), "ring_bytes": uint64(l.Ring),
		"max_connections": uint64(l.Connections), "max_pending_bytes": uint64(l.Pending),
	}
}
