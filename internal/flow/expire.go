package flow

import (
	"cmp"
	"math"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Each list orders its connections by their latest packets: the head is the next to expire. A new connection is in no
// list until its first packet is processed.
const (
	listNone     = iota
	listClosed   // closed connections that are done (Table.Done) or never carried payload
	listEnded    // other closed connections
	listSetup    // TCP connections that never carried payload and are not established
	listQuiet    // TCP connections that never carried payload and are established
	listTCP      // TCP connections with payload that are not done
	listUDP      // UDP connections that are not done
	listJudged   // TCP connections that are done and not closed
	listAnswered // UDP connections that are done
	numLists
)

// connList is a list that is linked through fields of its connections.
type connList struct {
	head, tail *Conn
	n          int
}

func (l *connList) push(c *Conn) {
	c.tcp.prev, c.tcp.next = l.tail, nil
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.tcp.next = c
	}
	l.tail = c
	l.n++
}

func (l *connList) remove(c *Conn) {
	if c.tcp.prev == nil {
		l.head = c.tcp.next
	} else {
		c.tcp.prev.tcp.next = c.tcp.next
	}
	if c.tcp.next == nil {
		l.tail = c.tcp.prev
	} else {
		c.tcp.next.tcp.prev = c.tcp.prev
	}
	c.tcp.prev, c.tcp.next = nil, nil
	l.n--
}

func (t *Table) unlist(c *Conn) {
	if c.tcp.list != listNone {
		t.idle[c.tcp.list].remove(c)
		c.tcp.list = listNone
	}
}

// listOf returns the list that c belongs to.
func listOf(c *Conn) uint8 {
	payload := c.Orig.Bytes+c.Resp.Bytes > 0
	switch {
	case c.Transport == wire.ProtoUDP && c.tcp.done:
		return listAnswered
	case c.Transport == wire.ProtoUDP:
		return listUDP
	case c.closing() && payload && !c.tcp.done:
		return listEnded
	case c.closing():
		return listClosed
	case c.tcp.done:
		return listJudged
	case payload:
		return listTCP
	case c.State == S1, c.State == S2, c.State == S3:
		return listQuiet
	}
	return listSetup
}

// idleTime returns how long the connections of a list are kept without a packet.
func (t *Table) idleTime(list int) time.Duration {
	switch list {
	case listClosed, listEnded:
		return t.cfg.Linger
	case listSetup:
		return t.cfg.IdleSetup
	case listUDP, listAnswered:
		return t.cfg.IdleUDP
	}
	return t.cfg.IdleTCP
}

// touch moves c to the end of the list that it belongs to now.
func (t *Table) touch(c *Conn) {
	c.tcp.touched = t.now
	l := listOf(c)
	if t.idle[l].tail == c {
		return
	}
	t.unlist(c)
	c.tcp.list = l
	t.idle[l].push(c)
	if t.idle[l].head == c {
		t.due = min(t.due, t.now+int64(t.idleTime(int(l))))
	}
}

// Tick advances packet time to now, in nanoseconds since the Unix epoch. It skips permanent gaps and ends idle
// connections. A time before the latest packet or tick has no effect.
func (t *Table) Tick(now int64) {
	if now <= t.now {
		return
	}
	t.now = now
	if len(t.frags.waiting) > 0 {
		t.frags.expire(t, now)
	}
	if now >= t.due {
		t.expire(now)
	}
}

// expire checks the gaps and ends the connections that are due at now. It then computes when the next of these is due.
func (t *Table) expire(now int64) {
	for c := t.gapped.due(now); c != nil; c = t.gapped.due(now) {
		t.check(c)
	}

	for l := listClosed; l < numLists; l++ {
		wait := int64(t.idleTime(l))
		for c := t.idle[l].head; c != nil && now-c.tcp.touched >= wait; c = t.idle[l].head {
			why := EndIdle
			if l == listClosed || l == listEnded {
				why = EndClosed
			}
			t.end(c, why)
		}
	}

	t.due = math.MaxInt64
	if t.gapped.head != nil {
		t.due = t.gapped.head.checkAt
	}
	for l := listClosed; l < numLists; l++ {
		if c := t.idle[l].head; c != nil {
			t.due = min(t.due, c.tcp.touched+int64(t.idleTime(l)))
		}
	}
}

// setupGrace is the time, in ns, for which a connection in setup is not among the first to be evicted after its
// latest packet.
const setupGrace = int64(time.Second)

// evict removes one connection from a full table. It chooses the first kind in this list that the table contains, and
// the connection of this kind that was idle longest.
//
//  1. closed, and done or without payload: this does not count as an eviction
//  2. closed
//  3. in setup, with the latest packet at least setupGrace ago
//  4. in setup, if connections in setup fill more than a quarter of the table
//     or else UDP and not done, if such connections fill more than a quarter
//  5. done, unless connections that are not done fill more than a quarter of the table
//  6. not done
//
// So a flood of connections that cost nothing to create (TCP without a handshake, UDP) evicts connections of the flood.
func (t *Table) evict() {
	c := cmp.Or(t.idle[listClosed].head, t.idle[listEnded].head)
	if s := t.idle[listSetup].head; c == nil && s != nil && t.now-s.tcp.touched >= setupGrace {
		c = s
	}

	quarter := t.cfg.MaxConns / 4
	for _, l := range [...]int{listSetup, listUDP} {
		if c == nil && t.idle[l].n > quarter {
			c = t.idle[l].head
		}
	}
	open := [...]int{listSetup, listQuiet, listTCP, listUDP}
	if c == nil && t.idle[listSetup].n+t.idle[listQuiet].n+t.idle[listTCP].n+t.idle[listUDP].n <= quarter {
		c = t.idlest(listJudged, listAnswered)
	}
	if c == nil {
		c = t.idlest(open[:]...)
	}

	switch {
	case c == nil:
	case c.tcp.list == listClosed:
		t.end(c, EndClosed) // the linger time of c ends early, and nothing is lost
	default:
		t.stats.Evicted++
		t.end(c, EndEvicted)
	}
}

// Shed evicts one connection with payload, so that the Handler can free memory. If done is true, it considers
// connections that are done (see Done), otherwise the others. It evicts the connection that was idle longest, and
// reports whether there was one. The Handler must not call Shed.
func (t *Table) Shed(done bool) bool {
	c := t.idlest(listEnded, listTCP, listUDP)
	if done {
		c = t.idlest(listClosed, listJudged, listAnswered)
	}
	if c == nil {
		return false
	}
	t.stats.Evicted++
	t.stats.Shed++
	t.end(c, EndEvicted)
	return true
}

// idlest returns the connection that was idle longest in the given lists, nil if they are empty.
func (t *Table) idlest(lists ...int) (c *Conn) {
	for _, l := range lists {
		if h := t.idle[l].head; h != nil && (c == nil || h.tcp.touched < c.tcp.touched) {
			c = h
		}
	}
	return c
}
