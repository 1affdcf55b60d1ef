package live

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// gap is the time between the creation of the pod's network and the start of the capture.
type gap struct {
	network     time.Time // when the network was created; zero: unknown
	connections uint64    // TCP connections that were opened or accepted before the capture
	captured    time.Time // when the last interface was first captured; zero if some were never captured
	recorded    bool      // the gap is recorded, and does not change if an interface is opened again
}

// Gap returns the record of the time before the capture. The gap does not change when an interface is opened again after this
// call. The caller holds the pipeline's lock.
func (c *Capture) Gap() *finding.Gap {
	c.gap.recorded = true
	return c.gap.record()
}

// AllCapturedSince returns when all interfaces were first captured, in ns since the epoch. It returns 0 if some were never
// captured. The caller holds the pipeline's lock.
func (c *Capture) AllCapturedSince() int64 { return c.gap.allCapturedSince() }

// countBefore is called when an interface was opened. It counts the connections before the capture, and records whether all
// interfaces are open now. The caller holds the pipeline's lock.
func (c *Capture) countBefore(now time.Time) {
	g := &c.gap
	if g.recorded && !g.captured.IsZero() {
		return
	}
	own := c.cfg.OwnConnections() // read first; it may include a connection that is not open yet
	opened := openedConnections(contents(tcpCounters))
	g.connections = opened - min(own, opened)
	for _, i := range c.Interfaces() {
		if i.Problem() != nil {
			return
		}
	}
	g.captured = now
}

func (g *gap) record() *finding.Gap {
	out := &finding.Gap{Connections: g.connections, Captured: g.allCapturedSince()}
	if !g.network.IsZero() {
		out.Network = g.network.UnixNano()
	}
	return out
}

func (g *gap) allCapturedSince() int64 {
	if g.captured.IsZero() {
		return 0
	}
	return g.captured.UnixNano()
}

// tcpCounters lists counters of the network namespace (proc_pid_net(5)), including tcpActiveOpens and tcpPassiveOpens of RFC
// 1213.
const tcpCounters = "/proc/self/net/snmp"

// openedConnections returns how many TCP connections were opened and accepted. list has two lines that start with "Tcp:". The
// first has the counters' names, the second their values.
func openedConnections(list string) (n uint64) {
	var names []string
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for k := range min(len(f), len(names)) {
			if v, err := strconv.ParseUint(f[k], 10, 64); err == nil && (names[k] == "ActiveOpens" || names[k] == "PassiveOpens") {
				n += v
			}
		}
		return n
	}
	return 0
}

// networkCreated returns when the process's network namespace was created. It returns the zero time if this is unknown. The
// result is the time of the namespace's file in nsfs. The file exists as long as something refers to it, such as a mount of the
// container runtime. If nothing refers to it, the query itself creates the file, and the time of the file means nothing.
func networkCreated(now time.Time) time.Time {
	info, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return time.Time{}
	}
	if created := info.ModTime(); now.Sub(created) > freshFile {
		return created
	}
	return time.Time{}
}

// freshFile is an age in the file system. An older file existed before the query, so the query did not
// create it. The kernel's file clock advances once a tick, which is at most 10 ms.
const freshFile = 20 * time.Millisecond
