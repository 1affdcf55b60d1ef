package flow

// MaxPrefetch is how many packets Prefetch looks at.
const MaxPrefetch = 16

// prefetchFrom is the number of connections from which Prefetch does something. Fewer connections take
// less than 1 MB and stay in a core's own cache, and prefetching costs 15 ns a packet. With 5,000
// connections that have packets in turn, it saves a quarter of the tap's CPU time (`make bench ONLY=flood`).
const prefetchFrom = 2048

// Prefetch reads what the table has of the connections of the packets that Add is to get next, at
// most MaxPrefetch of them, so that it is in the processor's caches once Add needs it. It has no
// other effect and may be left out. With 100,000 connections that have packets in turn, each packet
// waits for memory three times, one after the other, for longer than everything else takes: here
// the packets wait at the same time.
func (t *Table) Prefetch(packets []Packet) {
	if t.count < prefetchFrom {
		return
	}
	var hashes [MaxPrefetch]uint64
	n := 0
	for i := range packets[:min(len(packets), MaxPrefetch)] {
		if fastHeaders(&packets[i], &t.decoded) || Decode(&packets[i], &t.decoded) {
			t.key.set(&t.decoded, packets[i].Interface)
			hashes[n] = t.conns.hash(&t.key)
			n++
		}
	}
	t.read += t.conns.prefetch(hashes[:n])
}

// prefetch reads the slots of some hashes, then the connections in them, then those that are
// linked with these. Each step reads what does not depend on one another. It returns
// something made of all that it read: else the compiler would leave it out.
func (x *index) prefetch(hashes []uint64) (sum uint64) {
	mask := uint64(len(x.slots) - 1)
	for _, hash := range hashes {
		sum += x.slots[hash&mask].hash
	}
	var found [MaxPrefetch]*Conn
	n := 0
	for _, hash := range hashes {
		i := hash & mask
		for x.slots[i].conn != nil && x.slots[i].hash != hash {
			i = (i + 1) & mask
		}
		if c := x.slots[i].conn; c != nil {
			sum += c.prefetch()
			found[n] = c
			n++
		}
	}
	for _, c := range found[:n] {
		if before := c.tcp.prev; before != nil {
			sum += uint64(before.tcp.touched)
		}
		if after := c.tcp.next; after != nil {
			sum += uint64(after.tcp.touched)
		}
	}
	return sum
}

// prefetch reads a field of each cache line, 64 bytes, that a packet of c needs.
func (c *Conn) prefetch() uint64 {
	o, r := &c.tcp.side[Originator], &c.tcp.side[Responder]
	return c.ID + c.Orig.Packets + c.Resp.Packets + uint64(c.Last) + uint64(o.base) + uint64(r.base) + uint64(c.tcp.touched)
}
