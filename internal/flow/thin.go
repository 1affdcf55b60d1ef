package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// A connection that is done (Table.Done) and goes on costs its host a copy of each of its
// packets, and tells nothing more. A filter in the kernel may leave most of them out, as
// long as it hands on every SYN, FIN and RST, and of each direction a packet for every 16 MiB
// of the stream, so that sequence numbers tell how much that was.

// What makes a connection worth it: so many packets of one of its sides between two calls
// of Thin.
const (
	busyStep  = 32
	busySteps = 2
)

// maxThinned is how much of a stream a filter leaves out at a time, at most, where no
// packet is lost besides: twice what is promised of the sample. A number that is further
// ahead may be made up, and has to be acknowledged like what was lost.
const maxThinned = 32 << 20

// maxBusy bounds the connections that are looked at in one call of Thin.
const maxBusy = 1024

// thinning is what the table keeps for Thin.
type thinning struct {
	on     bool    // Thin was called, and may choose some
	busy   []*Conn // that may be worth it, since the last call
	chosen []*Conn
	ended  bool // one that was chosen is gone
}

// Thin chooses the TCP connections of which a filter may leave packets out from now on: of
// those that are done the ones that were busy since the last call, no more than most of
// them all together. Those chosen before stay until an end closes them, or are let go if
// afresh is set: a connection has to be seen whole now and then, or nobody would know that
// it is no longer busy. Thin tells whether the choice has changed.
//
// What is missing of a connection that was once chosen counts as sent (Endpoint.Bytes,
// Stats.ThinnedBytes) and not as lost; its packets are counted where they are seen.
func (t *Table) Thin(most int, afresh bool) (changed bool) {
	n := &t.thin
	n.on = most > 0
	before := len(n.chosen)
	stay := n.chosen[:0]
	for _, c := range n.chosen {
		switch {
		case !c.tcp.thin: // it ends
		case afresh:
			c.tcp.thin = false
		default:
			stay = append(stay, c)
		}
	}
	clear(n.chosen[len(stay):])
	n.chosen = stay
	changed = n.ended || len(stay) < before
	n.ended = false
	for _, c := range n.busy {
		worth := c.tcp.busy >= busySteps && c.tcp.list != listNone && !c.Orig.closed() && !c.Resp.closed()
		c.tcp.busy = 0
		if worth && !c.tcp.thin && len(n.chosen) < most {
			c.tcp.thin, c.Thinned = true, true
			n.chosen = append(n.chosen, c)
			changed = true
		}
	}
	clear(n.busy)
	n.busy = n.busy[:0]
	return changed
}

// Thinned returns the connections that Thin has chosen. The slice is valid until the table
// is used again.
func (t *Table) Thinned() []*Conn { return t.thin.chosen }

// closed reports whether the end has closed or reset the connection.
func (e *Endpoint) closed() bool { return e.FIN || e.RST }

// ThinnedEnded reports whether a connection was chosen and has been closed by an end since
// the last call of Thin, or its ports were taken again.
func (t *Table) ThinnedEnded() bool { return t.thin.ended }

// noteBusy notes that another busyStep packets came from a side of c, which is done.
func (t *Table) noteBusy(c *Conn) {
	n := &t.thin
	if !n.on || c.Transport != wire.ProtoTCP || c.tcp.busy == busySteps {
		return
	}
	if c.tcp.busy == 0 {
		if len(n.busy) == maxBusy {
			return
		}
		n.busy = append(n.busy, c)
	}
	c.tcp.busy++
}

// unthin takes c, which ends or begins to, out of the choice: its ports may be taken again.
func (t *Table) unthin(c *Conn) {
	if c.tcp.thin {
		c.tcp.thin, t.thin.ended = false, true
	}
}

// addThinned counts the bytes of c up to off that a filter has left out: of what may be made
// up only those that the receiver has.
func (t *Table) addThinned(c *Conn, side Side, off int64) {
	s := &c.tcp.side[side]
	n := off - s.next
	if n > maxThinned {
		n = max(min(off, s.acked)-s.next, 0)
	}
	c.endpoint(side).Bytes += uint64(n)
	t.stats.ThinnedBytes += uint64(n)
}
