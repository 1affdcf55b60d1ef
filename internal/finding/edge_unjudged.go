package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// fewUnjudged is the number of unjudged connections in a window from which on an edge without any judged one is
// reported. Fewer may be port scans and checks that a port is open.
const fewUnjudged = 10

// reportUnjudged applies the rule edge-unjudged at the end of a window: all connections of an edge, and not few, have
// the verdict unknown. Connections without payload do not count, and neither do those that no end has read: anybody can
// send such packets to the pod.
func (e *Engine) reportUnjudged() {
	for _, g := range e.order {
		counted := uint64(0) // connections of this window that the finding has counted in earlier windows
		if f := g.findings[edgeUnjudged]; f != nil && f.open {
			counted = f.carried
			f.carried = min(f.carried, g.counts.live[unjudgedBit]-g.counts.live[unreadBit])
		}
		n, j := g.counts.window(unjudgedBit)-g.counts.window(unreadBit), g.latest[unjudgedBit]
		if n < fewUnjudged || g.judged() > 0 || j == nil || !ruled(j) {
			continue
		}
		x := e.policy.expectationOf(j)
		if severity := e.severity(edgeUnjudged, x); severity > 0 {
			latest := *j
			latest.Start = e.window.from // the connections are counted since then
			e.addHits(g, edgeUnjudged, &latest, x, severity, n-min(n, counted))
			g.findings[edgeUnjudged].carried = g.counts.live[unjudgedBit] - g.counts.live[unreadBit]
		}
	}
}

func unjudgedWords(j *verdict.Judged) breach {
	cause := adviceFor(j)
	return breach{"sent", "unjudged data", ", and no other connection of this edge was judged; " + cause.why + ": " + cause.advice}
}

// cause is why a connection has no verdict, and what to do about it.
type cause struct{ reason, why, advice string }

// adviceFor returns the cause of an unjudged connection.
func adviceFor(j *verdict.Judged) cause {
	for _, c := range causes {
		if c.reason == "" || slices.Contains(j.Reasons, c.reason) {
			return c
		}
	}
	return cause{}
}

// causes are the reasons of unjudged connections, those about the capture first: as long as it is incomplete, its other
// reasons mean little.
var causes = []cause{
	{"one_direction_only", "only one direction was seen", "look for asymmetric routing, or capture on the other interface too (TAP_INTERFACES)"},
	{"missed_bytes", "bytes were lost", "look for dropped packets in the heartbeats, and give the tap more CPU and memory"},
	{"evicted", "the tap made room for other connections", "give the tap more memory"},
	{"missed_start", "its start was not seen", "it is judged when it is opened anew: restart one of its ends"},
	{"dissector_failed", "the tap's own parser failed", "report it to the tap's developers, with a capture"},
	{"unfamiliar_suite", "its cipher suite is unknown", "find out from its owners whether the suite encrypts"},
	{"one_end_only", "only one end spoke a known protocol", "find out what the other end expects"},
	{"too_little_data", "too few bytes were sent", "find out which check or idle client opens these connections"},
	{"", "its bytes match no known protocol", "ask its owners whether it is encrypted, and declare the answer (TAP_EXPECT)"},
}
