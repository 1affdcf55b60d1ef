package flow

// IP fragments are reassembled as in Linux (net/ipv4/ip_fragment.c, inet_fragment.c, net/ipv6/reassembly.c), so that
// the table sees the datagrams that the receiver sees. A fragment that repeats known bytes is ignored. A fragment that
// overlaps others in part, or contradicts the known end of the datagram, drops the whole datagram (RFC 5722).

const (
	maxFragments      = 1 << 20 // bytes of all buffered fragments, bookkeeping included; the oldest datagram is dropped beyond that
	maxFragmentsOf    = 1 << 17 // bytes of the buffered fragments of one source, bookkeeping included
	maxDatagrams      = 1 << 12 // incomplete datagrams
	fragmentBytes     = 64      // memory of a fragment in addition to its bytes, approximately
	datagramBytes     = 320     // memory of a datagram in addition to its fragments, approximately
	fragmentUnit      = 8       // unit of fragment offsets, in bytes
	maxDatagramLength = 1<<16 - 1
	wait4, wait6      = int64(30e9), int64(60e9) // ns; IPv4 as in Linux, IPv6 by RFC 8200, section 4.5
)

// fragmentHeader is the content of a fragment's header. The zero value belongs to a packet that is not a fragment.
type fragmentHeader struct {
	data   frame
	id     uint32
	offset uint16 // in bytes
	proto  uint8
	is     bool
	more   bool
}

// datagramKey identifies a fragmented datagram.
type datagramKey struct {
	src, dst [16]byte
	id       uint32
	zone     Zone
	iface    uint16
	proto    uint8 // IPv4 only: RFC 8200 does not use it
	ipv6     bool
}

// incomplete is a datagram some of whose fragments are missing.
type incomplete struct {
	key      datagramKey
	since    int64
	pieces   []bufferedFragment
	units    []uint64 // a bit for each unit received
	received int      // bytes received
	length   int      // length of the datagram, 0 while unknown
	end      int      // end of the last fragment received
	proto    uint8    // protocol of the datagram's payload, from its first fragment
	cost     int      // memory in bytes

	prev, next *incomplete // links of the list of datagrams, in the order of their first fragments
}

// bufferedFragment is a fragment of an incomplete datagram.
type bufferedFragment struct {
	offset int
	data   []byte
}

// fragments holds the incomplete datagrams. The zero value is empty.
type fragments struct {
	waiting map[datagramKey]*incomplete
	first   *incomplete // the oldest
	last    *incomplete
	bytes   int
	sources map[[16]byte]int // memory of each source address, in bytes
	buffer  []byte           // the datagram that was joined last
}

// addFragment adds the fragment in d to its datagram. If that completes the datagram, d becomes the decoded datagram.
// addFragment returns false if the packet needs no more processing.
func (t *Table) addFragment(p *Packet, d *Decoded) bool {
	f := d.fragment
	if len(f.data.b) < f.data.wire { // the fragment is truncated: use at least the start of a first fragment
		if f.offset > 0 {
			t.stats.Undecoded[LaterFragment]++
		}
		return f.offset == 0
	}

	k := datagramKey{src: d.Src, dst: d.Dst, id: f.id, zone: d.Zone, iface: p.Interface, ipv6: d.IPv6}
	if !d.IPv6 {
		k.proto = f.proto
	}
	x := t.frags.getOrAdd(t, k)
	if x == nil {
		t.stats.Undecoded[LaterFragment]++
		return false
	}

	switch x.add(&f) {
	case fragmentRepeated:
		return false
	case fragmentContradicts:
		t.stats.Undecoded[LaterFragment]++
		t.frags.drop(t, x)
		return false
	}
	if x.length == 0 || x.received < x.length {
		t.frags.account(t, x, len(f.data.b)+fragmentBytes)
		return false
	}

	whole := t.frags.join(x)
	t.frags.remove(x)
	t.stats.Reassembled++
	*d = Decoded{Src: d.Src, Dst: d.Dst, IPv6: d.IPv6, Zone: d.Zone, tunnels: d.tunnels, verify: d.verify, header: d.header}

	g, proto := frame{whole, len(whole)}, x.proto
	var r Reason
	if g, proto, r = extensions(g, proto, d); r == Decodable {
		r = transport(g, proto, d)
	}
	if d.fragment.is { // the datagram was fragmented twice
		r = Malformed
	}
	d.Reason = r
	return true
}

// getOrAdd returns the datagram with key k, which it creates if necessary, or nil if its source has no budget left.
func (f *fragments) getOrAdd(t *Table, k datagramKey) *incomplete {
	if x := f.waiting[k]; x != nil {
		return x
	}
	if f.waiting == nil {
		f.waiting, f.sources = map[datagramKey]*incomplete{}, map[[16]byte]int{}
	}
	for len(f.waiting) >= maxDatagrams {
		f.drop(t, f.first)
	}
	x := &incomplete{key: k, since: t.now, prev: f.last}
	if f.last == nil {
		f.first = x
	} else {
		f.last.next = x
	}
	f.waiting[k], f.last = x, x
	f.account(t, x, datagramBytes)
	if f.waiting[k] == nil {
		return nil // dropped at once: the source's budget is used up
	}
	return x
}

// account adds n bytes to the memory of x. If this exceeds the budget of the source, account drops x. If it exceeds
// the budget of all sources, account drops the oldest datagrams.
func (f *fragments) account(t *Table, x *incomplete, n int) {
	x.cost += n
	f.bytes += n
	f.sources[x.key.src] += n
	if f.sources[x.key.src] > maxFragmentsOf {
		f.drop(t, x)
		return
	}
	for f.bytes > maxFragments {
		f.drop(t, f.first)
	}
}

// drop removes an incomplete datagram. Its fragments count as not decoded.
func (f *fragments) drop(t *Table, x *incomplete) {
	t.stats.Undecoded[LaterFragment] += uint64(len(x.pieces))
	f.remove(x)
}

func (f *fragments) remove(x *incomplete) {
	if f.waiting[x.key] != x {
		return
	}
	if x.prev == nil {
		f.first = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		f.last = x.prev
	} else {
		x.next.prev = x.prev
	}
	delete(f.waiting, x.key)
	f.bytes -= x.cost
	if f.sources[x.key.src] -= x.cost; f.sources[x.key.src] == 0 {
		delete(f.sources, x.key.src)
	}
}

// expire drops datagrams that have been incomplete for too long.
func (f *fragments) expire(t *Table, now int64) {
	for x := f.first; x != nil; x = f.first {
		wait := wait4
		if x.key.ipv6 {
			wait = wait6
		}
		if now-x.since < wait {
			return
		}
		f.drop(t, x)
	}
}

// flush drops all incomplete datagrams.
func (f *fragments) flush(t *Table) {
	for f.first != nil {
		f.drop(t, f.first)
	}
}

// join returns the bytes of a complete datagram. The result is valid until the next call.
func (f *fragments) join(x *incomplete) []byte {
	if cap(f.buffer) < x.length {
		f.buffer = make([]byte, maxDatagramLength)
	}
	b := f.buffer[:x.length]
	for _, p := range x.pieces {
		copy(b[p.offset:], p.data)
	}
	return b
}

// The results of adding a fragment.
const (
	fragmentAdded = iota
	fragmentRepeated
	fragmentContradicts
)

// add adds a fragment that is not truncated.
func (x *incomplete) add(f *fragmentHeader) int {
	n := f.data.wire
	if f.more && n%fragmentUnit != 0 {
		if x.key.ipv6 {
			return fragmentRepeated // Linux drops only this fragment, not the datagram
		}
		n -= n % fragmentUnit
	}
	offset := int(f.offset)
	end := offset + n
	switch {
	case n == 0, end > maxDatagramLength:
		return fragmentContradicts
	case !f.more && (end < x.end || x.length > 0 && end != x.length), f.more && x.length > 0 && end > x.length:
		return fragmentContradicts
	}

	from, to := offset/fragmentUnit, (end+fragmentUnit-1)/fragmentUnit
	if set := x.countUnits(from, to); set == to-from {
		return fragmentRepeated
	} else if set > 0 {
		return fragmentContradicts
	}

	if !f.more {
		x.length = end
	}
	if f.offset == 0 {
		x.proto = f.proto
	}
	x.end = max(x.end, end)
	x.markUnits(from, to)
	x.received += n
	x.pieces = append(x.pieces, bufferedFragment{offset, append([]byte(nil), f.data.b[:n]...)})
	return fragmentAdded
}

// countUnits returns how many units of [from, to) were received.
func (x *incomplete) countUnits(from, to int) (n int) {
	for u := from; u < to && u/64 < len(x.units); u++ {
		if x.units[u/64]>>(u%64)&1 != 0 {
			n++
		}
	}
	return n
}

// markUnits notes that the units [from, to) were received.
func (x *incomplete) markUnits(from, to int) {
	if need := (to + 63) / 64; need > len(x.units) {
		units := make([]uint64, need)
		copy(units, x.units)
		x.units = units
	}
	for u := from; u < to; u++ {
		x.units[u/64] |= 1 << (u % 64)
	}
}
