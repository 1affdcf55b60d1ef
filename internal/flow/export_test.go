package flow

import (
	"fmt"
	"reflect"
)

// Base returns the sequence number of a stream's offset 0.
func (c *Conn) Base(s Side) uint32 { return c.tcp.side[s].base }

// Buffered returns the bytes that a side's out-of-order buffer costs, the number of its pieces, and the capacity of
// their list.
func (c *Conn) Buffered(s Side) (cost, pieces, capacity int) {
	if q := c.queue(s); q != nil {
		return q.buffered, len(q.pieces), cap(q.pieces)
	}
	return 0, 0, 0
}

// Each calls f for each connection in the order of creation. f must not call the table.
func (t *Table) Each(f func(*Conn)) {
	for _, c := range t.inOrder() {
		f(c)
	}
}

// FragmentBytes returns the memory of buffered fragments.
func (t *Table) FragmentBytes() int { return t.frags.bytes }

// Lone returns the number of connections that may continue in another zone.
func (t *Table) Lone() int { return len(t.lone) }

// Keys returns the number of keys in the index.
func (t *Table) Keys() int { return t.conns.n }

// Strangers returns the memory of the payloads of buffered strangers (see stranger).
func (t *Table) Strangers() (bytes int) {
	for i := range t.strangers.list {
		bytes += cap(t.strangers.list[i].data)
	}
	return bytes
}

// SuspectSize returns the size of a suspended segment without its payload, and the memory that is counted for it.
func SuspectSize() (size, cost int) {
	return int(reflect.TypeFor[suspect]().Size()), (&suspect{}).cost()
}

// FastDecode decodes p by the fast path. ok reports whether the fast path accepts p. same reports whether the slow
// path decodes p too, with the same result.
func FastDecode(p *Packet) (ok, same bool) {
	var quick, long Decoded
	quick.badSum, quick.Reason, quick.Src[9] = true, Malformed, 1 // decode must not depend on earlier values
	ok = fastDecode(p, &quick)
	return ok, decode(p, &long, p.Checksum) && reflect.DeepEqual(quick, long)
}

// StateString returns the table's state of c as text, without ports and out-of-order data.
func StateString(c *Conn) string {
	x := *c
	x.User, x.Orig.Port, x.Resp.Port = nil, 0, 0
	x.tcp.reassembly, x.tcp.prev, x.tcp.next = nil, nil, nil
	return fmt.Sprintf("%+v, waits %v %v, %d suspects", x, c.gapped(Originator), c.gapped(Responder), c.suspects())
}
