package pipeline

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// The packets of a settled connection show nothing new, but each packet is copied into the ring of a live capture, at
// the workload's expense. So the kernel leaves most of these packets out, by a filter (tapfilter.Thin) that is replaced
// as connections start and end.

const (
	// ThinEvery is the interval between choices of connections.
	ThinEvery = 250 * time.Millisecond
	// thinSoonest is the shortest interval between two choices, and therefore between two changes of the filter. It
	// applies after a chosen connection has ended. A new choice is then urgent, because another connection may reuse
	// the ports.
	thinSoonest = 50 * time.Millisecond
	// ThinRound is how long a choice is valid. Then all connections are captured whole until the next choice. During
	// this time, connections that are no longer busy are recognized and not chosen again, and the table can detect
	// that they are idle.
	ThinRound = 5 * time.Second

	// MaxThinned bounds the number of chosen connections, on all interfaces together. The kernel keeps the old filter until
	// the new one is in place, so the connections must fit twice into net.core.optmem_max, and twice into the 4096
	// instructions of a filter. With 20 KiB, the default of older kernels, net.core.optmem_max allows some 60 connections
	// that share addresses, or 8 that do not.
	MaxThinned = 128
)

// A Thinner decides which connections the kernel may thin, and when. The zero value chooses none.
type Thinner struct {
	Most int // maximum number of chosen connections, at most MaxThinned; 0: none

	next       int64 // when the next choice is due, ns since the epoch
	nextRound  int64 // when all connections are captured whole again
	lastChoice int64 // when the last choice was made
}

// Choose makes a choice if one is due, and reports whether the new choice differs from the last one. Locked.Thinned
// returns the choice. now is in ns since the epoch.
func (n *Thinner) Choose(l *Locked, now int64) (changed bool) {
	if n.Most == 0 {
		return false
	}
	setBack := now < n.lastChoice // the clock was set back: without a new choice, the last one would remain until the clock has caught up
	if !setBack && now < n.next && (!l.table.ThinnedEnded() || now < n.lastChoice+int64(thinSoonest)) {
		return false
	}

	n.next, n.lastChoice = now+int64(ThinEvery), now
	afresh := setBack || now >= n.nextRound
	if afresh {
		n.nextRound = now + int64(ThinRound)
	}
	return l.table.Thin(n.Most, afresh)
}

// Stop ends thinning: no connections are chosen any more.
func (n *Thinner) Stop(l *Locked) {
	n.Most = 0
	l.table.Thin(0, true)
}

// Thinned returns the connections of an interface that a Thinner has chosen. A redirected connection is listed twice,
// with the peer's addresses before and after the redirection.
func (l *Locked) Thinned(iface uint16) (out []tapfilter.Connection) {
	for _, c := range l.table.Thinned() {
		if c.Interface != iface {
			continue
		}
		for _, peer := range [...]*flow.Endpoint{&c.Resp, c.Redirected} {
			if peer != nil {
				out = append(out, tapfilter.Connection{A: c.Orig.AddrPort(), B: peer.AddrPort(), TLS: isTLS(c)})
			}
		}
	}
	return out
}

// isTLS reports whether a settled connection is known to consist of TLS records.
func isTLS(c *flow.Conn) bool {
	conclusion, ok := c.User.(*verdict.Conclusion)
	return ok && conclusion.TailCounts()
}
