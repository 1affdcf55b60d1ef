package flow

// Renew empties a table after Add or Tick panicked, because its state may be inconsistent. The Handler gets an End with
// EndEvicted for each connection whose User is set. Counters and connection numbers continue. Renew returns the number
// of connections that the table had.
func (t *Table) Renew() (connections int) {
	connections = t.count
	var lists [numLists]*Conn
	for i := range t.idle {
		lists[i] = t.idle[i].head
	}
	left := t.count
	for _, c := range lists {
		for ; c != nil && left > 0; left-- { // a list that was being changed may be circular
			next := c.tcp.next
			t.abandon(c)
			c = next
		}
	}
	fresh := NewTable(t.cfg, t.h)
	fresh.stats, fresh.ids, fresh.now = t.stats, t.ids, t.now
	fresh.stats.Buffered = 0
	fresh.thin.on = t.thin.on
	*t = *fresh
	return connections
}

// abandon reports to the Handler that c was evicted. It recovers from a second panic.
func (t *Table) abandon(c *Conn) {
	defer func() { _ = recover() }()
	if c.User != nil && !c.Excluded {
		t.stats.Evicted++
		t.h.End(c, EndEvicted)
	}
}
