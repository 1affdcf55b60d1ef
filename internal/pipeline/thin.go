package pipeline

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// A settled connection that goes on tells nothing more, but each of its packets is copied into the
// ring of a live capture, at the workload's expense. So the kernel is told to leave most of them out
// (tapfilter.Thin), by a filter that changes as connections come and go.

const (
	// ThinEvery is how often connections are chosen.
	ThinEvery = 250 * time.Millisecond
	// thinSoonest is how soon a choice follows another one where a chosen connection has ended: its
	// ports may be used again. The filter changes no more often.
	thinSoonest = 50 * time.Millisecond
	// ThinRound is how long a choice is valid. Then all connections are seen whole until the next
	// choice: one that is no longer busy is not chosen again, so the table does not take it for idle.
	ThinRound = 5 * time.Second

	// MaxThinned is how many connections are chosen at most, of all interfaces together. They have to fit
	// twice into the 4096 instructions of a filter and into net.core.optmem_max: a filter is put in place
	// while the one before is there. Where that is 20 KiB, as it long was, there is room for some 60
	// connections that share addresses, and for 8 that do not.
	MaxThinned = 128
)

// A Thinner chooses the connections of which the kernel may leave packets out, and when. The zero value chooses none.
type Thinner struct {
	Most int // how many connections are chosen at most, MaxThinned or fewer; 0: none

	next       int64 // when the next choice is due, ns since the epoch
	nextRound  int64 // when all connections are to be seen whole again
	lastChoice int64 // when the last choice was made
}

// Choose makes a choice if it is due, and reports whether it differs from the last one. Locked.Thinned returns it. now is in
// ns since the epoch.
func (n *Thinner) Choose(l *Locked, now int64) (changed bool) {
	if n.Most == 0 {
		return false
	}
	setBack := now < n.lastChoice // the clock: nothing may stay chosen until it has caught up
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

// Stop chooses no connections from now on.
func (n *Thinner) Stop(l *Locked) {
	n.Most = 0
	l.table.Thin(0, true)
}

// Thinned returns the connections of an interface that a Thinner has chosen. A redirected connection has two faces there.
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
