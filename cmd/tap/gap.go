package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// gap is what passed in the pod's network before the capture began.
type gap struct {
	network     time.Time // when that network came to be; zero: not known
	connections uint64    // that were opened or accepted in it before
	captured    time.Time // since when all interfaces are captured; zero: not all are
	settled     bool      // the start is recorded: an interface that is opened again later changes nothing
}

// tcpCounters is proc_pid_net(5)'s list of the counters of RFC 1213 (tcpActiveOpens and
// tcpPassiveOpens), which are of the network namespace.
const tcpCounters = "/proc/self/net/snmp"

// note notes that an interface is captured from now on, and whether all are. The pipeline's
// lock is held.
func (g *gap) note(t *tap, now time.Time) {
	if g.settled && !g.captured.IsZero() {
		return
	}
	own := t.sockets.Dials() // first: one that is counted here has not been opened yet at most
	opened := openedConnections(contents(tcpCounters))
	g.connections = opened - min(own, opened)
	for _, i := range t.captures() {
		if i.problem() != nil {
			return
		}
	}
	g.captured = now
}

// openedConnections returns how many TCP connections were opened and accepted, by the lines
// "Tcp:" of a list of counters: one has their names, the next their values.
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

// networkCreated returns when the process's network namespace came to be, zero if that is
// not known. It is the time of its file in nsfs, which lasts for as long as something holds
// it, such as the mount that a container's runtime makes of it. Where nothing did, the file
// is made as it is asked about, and says nothing.
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

// freshFile: a younger file may have been created by the stat itself. The kernel's file clock advances once a tick,
// every 10 ms at most.
const freshFile = 20 * time.Millisecond

// told is the gap as records have it.
func (g *gap) told() *finding.Gap {
	out := &finding.Gap{Connections: g.connections}
	if !g.network.IsZero() {
		out.Network = g.network.UnixNano()
	}
	out.Captured = g.since()
	return out
}

// since is when all interfaces were captured first, ns since the epoch; 0: not all were.
func (g *gap) since() int64 {
	if g.captured.IsZero() {
		return 0
	}
	return g.captured.UnixNano()
}
