package flow

import "time"

// A connection is in several intrusive lists at a time, one of each link kind.
const (
	linkAll     = iota // creation order
	linkIdle           // by the latest packet, one list for each timeout
	linkWaiting        // has a hole, is looked at from time to time
	linkHolding        // holds bytes out of order
	numLinks
)

// The lists. A list of idle connections is in the order of their latest packets, so
// its head is the next to expire.
const (
	listAll = iota
	listClosed
	listSetup
	listTCP
	listUDP
	listWaiting
	listHolding
	numLists
)

func kindOf(l int) int {
	switch l {
	case listAll:
		return linkAll
	case listWaiting:
		return linkWaiting
	case listHolding:
		return linkHolding
	}
	return linkIdle
}

type list struct {
	kind       int
	head, tail *Conn
}

type link struct {
	in         *list
	prev, next *Conn
}

// push appends c, which is in no other list of the kind.
func (l *list) push(c *Conn) {
	k := &c.tcp.links[l.kind]
	*k = link{in: l, prev: l.tail}
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.tcp.links[l.kind].next = c
	}
	l.tail = c
}

func (l *list) remove(c *Conn) {
	k := &c.tcp.links[l.kind]
	if k.prev == nil {
		l.head = k.next
	} else {
		k.prev.tcp.links[l.kind].next = k.next
	}
	if k.next == nil {
		l.tail = k.prev
	} else {
		k.next.tcp.links[l.kind].prev = k.prev
	}
	*k = link{}
}

// move makes c the last of l, wherever it is now.
func (l *list) move(c *Conn) {
	if l.tail == c {
		return
	}
	if in := c.tcp.links[l.kind].in; in != nil {
		in.remove(c)
	}
	l.push(c)
}

// idle returns how long the connections of a list are kept.
func (t *Table) idle(l int) time.Duration {
	switch l {
	case listClosed:
		return t.cfg.Linger
	case listSetup:
		return t.cfg.IdleSetup
	case listUDP:
		return t.cfg.IdleUDP
	}
	return t.cfg.IdleTCP
}

// touch puts c last in the list that it belongs to now.
func (t *Table) touch(c *Conn) {
	l := listTCP
	switch {
	case c.Transport == protoUDP:
		l = listUDP
	case c.closing():
		l = listClosed
	case c.State != S1 && c.Orig.Bytes+c.Resp.Bytes == 0:
		l = listSetup
	}
	c.tcp.touched = t.now
	t.lists[l].move(c)
}

// Tick moves packet time on to now, in nanoseconds since the Unix epoch, if that is
// later than any packet or tick before: holes that have waited long enough are given
// up and connections that were idle long enough end.
func (t *Table) Tick(now int64) {
	if now <= t.now {
		return
	}
	t.now = now
	for c := t.lists[listWaiting].head; c != nil && c.tcp.lookAt <= now; c = t.lists[listWaiting].head {
		t.look(c)
	}
	for l := listClosed; l <= listUDP; l++ {
		wait := int64(t.idle(l))
		for c := t.lists[l].head; c != nil && now-c.tcp.touched >= wait; c = t.lists[l].head {
			why := EndIdle
			if l == listClosed {
				why = EndClosed
			}
			t.end(c, why)
		}
	}
}

// setupGrace is how long a connection that is being set up is safe from eviction while
// others are idle for longer.
const setupGrace = int64(time.Second)

// evict makes room for a connection: a closed one goes first, then one that was never
// established, then the one that was idle for longest.
func (t *Table) evict() {
	c := t.lists[listClosed].head
	if s := t.lists[listSetup].head; c == nil && s != nil && t.now-s.tcp.touched >= setupGrace {
		c = s
	}
	if c == nil {
		for _, l := range []int{listTCP, listUDP, listSetup} {
			if h := t.lists[l].head; h != nil && (c == nil || h.tcp.touched < c.tcp.touched) {
				c = h
			}
		}
	}
	if c != nil {
		t.stats.Evicted++
		t.end(c, EndEvicted)
	}
}
