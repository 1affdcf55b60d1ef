package flow

// MaxPrefetch is the number of packets that Prefetch examines.
const MaxPrefetch = 16

// prefetchFrom is the number of connections from which Prefetch has an effect. Fewer connections take less than 1 MB
// and stay in a core's own cache, so that prefetching only costs 15 ns per packet. With 5,000 connections that send in
// turn, prefetching saves a quarter of the tap's CPU time (`make bench ONLY=flood`).
const prefetchFrom = 2048

// Prefetch reads the connections of the next packets, at most MaxPrefetch of them, so that they are in the processor's
// caches when Add needs them. Prefetch has no other effect and is optional. If 100,000 connections send in turn, each
// packet waits for memory three times, which takes longer than everything else. Prefetch overlaps the waits of many
// packets.
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

// prefetch reads the slots of some hashes, then the connections in these slots, then the connections linked with those
// connections. Reads within one step do not depend on each other. The result is a sum of everything that was read, so
// that the compiler does not remove the reads.
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

// prefetch reads one field from each cache line (64 bytes) that a packet of c needs.
func (c *Conn) prefetch() uint64 {
	o, r := &c.tcp.side[Originator], &c.tcp.side[Responder]
	return c.ID + c.Orig.Packets + c.Resp.Packets + uint64(c.Last) + uint64(o.base) + uint64(r.base) + uint64(c.tcp.touched)
}
