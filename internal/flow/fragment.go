package flow

// IP fragments are put together as Linux does (net/ipv4/ip_fragment.c, inet_fragment.c,
// net/ipv6/reassembly.c), so that the table sees the datagrams that the receiver sees:
// a fragment that repeats what is there is ignored, one that overlaps it in part drops the
// whole datagram (RFC 5722), and so does one that contradicts the end of the datagram.

const (
	maxFragments      = 1 << 20 // bytes of all fragments that wait, bookkeeping included; the oldest datagram gives way
	maxFragmentsOf    = 1 << 17 // the same for one source
	maxDatagrams      = 1 << 12 // datagrams that wait
	fragmentBytes     = 64      // what a fragment takes besides its bytes, about
	datagramBytes     = 320     // what a datagram takes besides its fragments, about
	fragmentUnit      = 8       // offsets count in units of so many bytes
	maxDatagramLength = 1<<16 - 1
	wait4, wait6      = int64(30e9), int64(60e9) // ns, as in Linux; RFC 8200, section 4.5, for IPv6
)

// fragmentHeader is what a fragment's header says. The zero value is no fragment.
type fragmentHeader struct {
	data   frame
	id     uint32
	offset uint16 // in bytes
	proto  uint8
	is     bool
	more   bool
}

// datagramKey names a datagram that comes in fragments.
type datagramKey struct {
	src, dst [16]byte
	id       uint32
	zone     Zone
	iface    uint16
	proto    uint8 // IPv4 only: RFC 8200 leaves it out
	ipv6     bool
}

// incomplete is a datagram of which fragments are missing.
type incomplete struct {
	key      datagramKey
	since    int64
	pieces   []bufferedFragment
	units    []uint64 // a bit for each unit that is there
	received int      // bytes
	length   int      // of the datagram, 0 while it is not known
	end      int      // of what is there
	proto    uint8    // by the first fragment
	cost     int      // what it takes

	prev, next *incomplete // in the order of their beginnings
}

// bufferedFragment is a fragment that waits.
type bufferedFragment struct {
	offset int
	data   []byte
}

// fragments are the datagrams that wait for fragments. The zero value is empty.
type fragments struct {
	waiting map[datagramKey]*incomplete
	first   *incomplete // the oldest
	last    *incomplete
	bytes   int
	sources map[[16]byte]int // what each takes
	buffer  []byte           // the datagram put together last
}

// addFragment takes a fragment and reports whether d is now the datagram that it completes.
// If it is not, nothing more is to be done with the packet.
func (t *Table) addFragment(p *Packet, d *Decoded) bool {
	f := d.fragment
	if len(f.data.b) < f.data.wire { // the snap length cut it: what a first fragment shows is better than nothing
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
	if d.fragment.is { // fragments within a fragmented datagram
		r = Malformed
	}
	d.Reason = r
	return true
}

// getOrAdd returns the datagram with a key, a new one if there is none.
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
		return nil // no room for this source
	}
	return x
}

// account counts n bytes more for x and makes room: what a source has too much of is its
// newest datagram, else the oldest of all gives way.
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

// drop gives a datagram up. Its fragments count as not decoded.
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

// flush gives up all of them.
func (f *fragments) flush(t *Table) {
	for f.first != nil {
		f.drop(t, f.first)
	}
}

// join puts the fragments of a datagram together. The result is valid until the next call.
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

// What comes of a fragment.
const (
	fragmentAdded = iota
	fragmentRepeated
	fragmentContradicts
)

// add takes a fragment whose bytes are all there.
func (x *incomplete) add(f *fragmentHeader) int {
	n := f.data.wire
	if f.more && n%fragmentUnit != 0 {
		if x.key.ipv6 {
			return fragmentRepeated // such a fragment is dropped, and no more than that
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

// countUnits returns how many units of a range are there.
func (x *incomplete) countUnits(from, to int) (n int) {
	for u := from; u < to && u/64 < len(x.units); u++ {
		if x.units[u/64]>>(u%64)&1 != 0 {
			n++
		}
	}
	return n
}

// markUnits notes that the units of a range are there.
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
