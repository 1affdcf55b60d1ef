package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// A connection that is done (Table.Done) and continues costs the host a copy of each packet, without new information. A
// filter in the kernel may leave most of these packets out. It must pass every SYN, FIN and RST. In each direction it
// must also pass one packet for every 16 MiB of the stream, so that sequence numbers show how much was left out.

// A connection is worth thinning if one of its sides sent busyStep * busySteps packets between two calls of Thin.
const (
	busyStep  = 32
	busySteps = 2
)

// maxThinned bounds the bytes that a filter leaves out between two packets of a direction if no other packet is lost:
// twice the 16 MiB that the sample promises. A larger step in the sequence numbers may be forged; its bytes count only
// once the receiver has acknowledged them.
const maxThinned = 32 << 20

// maxBusy bounds the connections that one call of Thin examines.
const maxBusy = 1024

// thinning is the state of Thin.
type thinning struct {
	on     bool    // Thin was called with most > 0
	busy   []*Conn // candidates since the last call
	chosen []*Conn
	ended  bool // a chosen connection was removed from the choice (ThinnedEnded)
}

// Thin chooses the TCP connections whose packets a filter may leave out from now on: connections that are done and were
// busy since the last call. The argument most bounds the total number of chosen connections. Connections that were
// chosen earlier remain chosen until they are closed or ended, or Undone is called for them. If afresh is set, they are
// released, because a connection must be seen whole now and then to show whether it is still busy. Thin reports whether
// the choice has changed.
//
// Missing bytes of a connection that was ever chosen count as sent (Endpoint.Bytes, Stats.ThinnedBytes) and not as a
// gap. Only packets that are seen count as packets.
func (t *Table) Thin(most int, afresh bool) (changed bool) {
	n := &t.thin
	n.on = most > 0
	before := len(n.chosen)
	stay := n.chosen[:0]
	for _, c := range n.chosen {
		switch {
		case !c.tcp.thin: // c was removed from the choice since the last call
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

// Thinned returns the connections that Thin has chosen. The slice is valid until the next call of a method of the
// table.
func (t *Table) Thinned() []*Conn { return t.thin.chosen }

// closed reports whether the end has closed or reset the connection.
func (e *Endpoint) closed() bool { return e.FIN || e.RST }

// ThinnedEnded reports whether, since the last call of Thin, a chosen connection was removed from the choice: an end
// closed or reset it, the table ended it, or Undone was called.
func (t *Table) ThinnedEnded() bool { return t.thin.ended }

// noteBusy notes that a side of c, which is done, has sent another busyStep packets.
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

// unthin removes c from the choice, because c ends or is closing, so that another connection may reuse its ports, or
// because Undone was called.
func (t *Table) unthin(c *Conn) {
	if c.tcp.thin {
		c.tcp.thin, t.thin.ended = false, true
	}
}

// addThinned counts the bytes of c up to off that a filter left out. Beyond maxThinned it counts only bytes that
// the receiver has acknowledged, because off may come from a forged packet.
func (t *Table) addThinned(c *Conn, side Side, off int64) {
	s := &c.tcp.side[side]
	n := off - s.next
	if n > maxThinned {
		n = max(min(off, s.acked)-s.next, 0)
	}
	c.endpoint(side).Bytes += uint64(n)
	t.stats.ThinnedBytes += uint64(n)
}
