package flow

import "time"

// The lists of connections by their latest packet, one for each idle time: the head is
// the next to expire. A new connection is in none until its first packet is done.
const (
	listNone = iota
	listClosed
	listSetup
	listTCP
	listUDP
	numLists
)

// list is linked through the connections themselves.
type list struct {
	head, tail *Conn
	n          int
}

func (l *list) push(c *Conn) {
	c.tcp.before, c.tcp.after = l.tail, nil
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.tcp.after = c
	}
	l.tail = c
	l.n++
}

func (l *list) remove(c *Conn) {
	if c.tcp.before == nil {
		l.head = c.tcp.after
	} else {
		c.tcp.before.tcp.after = c.tcp.after
	}
	if c.tcp.after == nil {
		l.tail = c.tcp.before
	} else {
		c.tcp.after.tcp.before = c.tcp.before
	}
	c.tcp.before, c.tcp.after = nil, nil
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
	switch {
	case c.Transport == protoUDP:
		return listUDP
	case c.closing():
		return listClosed
	case c.Orig.Bytes+c.Resp.Bytes > 0, c.State == S1, c.State == S2, c.State == S3:
		return listTCP
	}
	return listSetup
}

// idleTime returns how long the connections of a list are kept without a packet.
func (t *Table) idleTime(list int) time.Duration {
	switch list {
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
	c.tcp.touched = t.now
	l := listOf(c)
	if t.idle[l].tail == c {
		return
	}
	t.unlist(c)
	c.tcp.list = l
	t.idle[l].push(c)
}

// Tick moves packet time on to now, in nanoseconds since the Unix epoch, if that is
// later than any packet or tick before: holes that have waited long enough are given
// up and connections that were idle long enough end.
func (t *Table) Tick(now int64) {
	if now <= t.now {
		return
	}
	t.now = now
	for c := t.held.due(now); c != nil; c = t.held.due(now) {
		t.look(c)
	}
	for l := listClosed; l < numLists; l++ {
		wait := int64(t.idleTime(l))
		for c := t.idle[l].head; c != nil && now-c.tcp.touched >= wait; c = t.idle[l].head {
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
// established, then the one that was idle for longest. Connections that cost nothing
// to make (TCP without a handshake, UDP) cannot push out the others: beyond a quarter
// of the table they make room for each other.
func (t *Table) evict() {
	c := t.idle[listClosed].head
	if s := t.idle[listSetup].head; c == nil && s != nil && t.now-s.tcp.touched >= setupGrace {
		c = s
	}
	for _, l := range [...]int{listSetup, listUDP} {
		if c == nil && t.idle[l].n > t.cfg.MaxConns/4 {
			c = t.idle[l].head
		}
	}
	if c == nil {
		for l := listSetup; l < numLists; l++ {
			if h := t.idle[l].head; h != nil && (c == nil || h.tcp.touched < c.tcp.touched) {
				c = h
			}
		}
	}
	if c != nil {
		t.stats.Evicted++
		t.end(c, EndEvicted)
	}
}
