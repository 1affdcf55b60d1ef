package flow

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Table is the bounded table of connections. Each packet takes amortized constant time
// and, on a connection already known whose data come in order, no memory.
type Table struct {
	cfg       Config
	h         Handler
	conns     index              // by their keys, of which a redirected one has two
	faces     map[face]*Conn     // unanswered connections of loopback interfaces
	lone      map[key]*Conn      // by their keys without zone: connections in zones of which one end was seen alone
	idle      [numLists]connList // every connection is in one of them
	gapped    gappedList         // the connections that wait for something
	recent    recent             // what was handed on last, of all of them
	thin      thinning           // see Thin
	now       int64              // the latest packet time or tick
	due       int64              // packet time before which nothing is due
	ids       uint64
	count     int
	stats     Stats
	others    others
	decoded   Decoded // of the packet at hand
	key       key     // of the packet at hand
	segment   Segment // the argument of Handler.Data
	last      *Conn   // that find has found, nil if it is gone, ...
	lastKey   key     // ... and its key
	frags     fragments
	strangers strangers // packets that may be of connections that took the place of others
	read      uint64    // sink for the reads of Prefetch, so that the compiler keeps them; its value means nothing

	sums      [][origins]sums // by interface
	wrongSums bool            // sums hold segments that were dropped
}

// NewTable returns an empty table that tells h what it finds out.
func NewTable(cfg Config, h Handler) *Table {
	t := &Table{cfg: cfg.defaults(), h: h, conns: newIndex(), faces: map[face]*Conn{}}
	t.recent.max = t.cfg.MaxRecent
	return t
}

// Len returns the number of connections in the table.
func (t *Table) Len() int { return t.count }

// Stats returns the counters.
func (t *Table) Stats() Stats {
	s := t.stats
	s.Active = t.count
	return s
}

func (t *Table) inOrder() []*Conn {
	all := make([]*Conn, 0, t.count)
	for i := range t.idle {
		for c := t.idle[i].head; c != nil; c = c.tcp.next {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *Conn) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Add takes a packet. The Handler is called from within.
func (t *Table) Add(p *Packet) {
	t.stats.Packets++
	if p.Time > t.now {
		t.Tick(p.Time)
	}
	if p.Origin == OriginElsewhere && !t.forwards() {
		t.stats.Foreign++
		return
	}
	d := &t.decoded
	if !fastDecode(p, d) && !t.decode(p, d) {
		return
	}
	if p.Origin == OriginGroup && d.Transport == wire.ProtoTCP && !t.forwards() {
		t.stats.Refused++ // as the host does (RFC 1122, section 4.2.3.10; tcp_v4_rcv of Linux)
		return
	}
	d.arrived = p.Origin == OriginArrived && !t.forwards()
	k := &t.key
	k.set(d, p.Interface)
	c := t.find(k, d)
	if !t.admits(c, p.Origin, d) || p.Checksum != ChecksumUnknown && !t.intact(p, d) {
		return
	}
	if c != nil && c.inOtherZone(k, d) {
		t.splitZone(c, k)
		c = nil
	}
	if c != nil && t.addFast(c, d, p.Time) {
		return
	}
	if c != nil && d.Transport == wire.ProtoTCP && !c.tcp.dupSYNSeen {
		if side := c.sender(d); c.expected(side, d) {
			t.addPacket(c, side, d, p.Time, true)
			return
		}
	}
	if c != nil && d.Transport == wire.ProtoTCP && d.Flags&wire.FlagSYN != 0 && t.startsNew(c, d) {
		t.stats.Reused++
		t.end(c, EndReused)
		again := c.tcp.dupSYNSeen && d.Flags&wire.FlagACK != 0
		if c = t.open(*k, d, p.Time); again {
			c.startFromSYNACK(d)
		}
	}
	if c != nil && d.Transport == wire.ProtoTCP {
		var kept bool
		if c, kept = t.checkStranger(c, k, d, p.Time); kept {
			return
		}
	}
	if c == nil {
		c = t.open(*k, d, p.Time)
	}
	t.addPacket(c, c.sender(d), d, p.Time, false)
}

// decode reads the headers of a packet, or of the datagram whose last missing fragment it
// is. It reports false where there is no connection to look for, and counts why.
func (t *Table) decode(p *Packet, d *Decoded) bool {
	ok := decode(p, d, p.Checksum)
	if d.fragment.is {
		t.stats.Fragments++
		if d.badSum { // of its header
			t.stats.BadChecksums++
			return false
		}
		d.Transport = d.fragment.proto
		if !t.admits(nil, p.Origin, d) || !t.addFragment(p, d) {
			return false
		}
		ok = d.Reason == Decodable
	}
	if !ok && (d.Reason != OtherTransport || t.admits(nil, p.Origin, d)) {
		t.stats.Undecoded[d.Reason]++
		t.others.add(d)
	}
	return ok
}

// find returns the connection with a key, nil if there is none. Packets come in runs: the
// connection found last is looked at first.
func (t *Table) find(k *key, d *Decoded) *Conn {
	if t.last != nil && t.lastKey.equal(k) {
		return t.last
	}
	c := t.conns.find(k, d)
	if c != nil {
		t.last, t.lastKey = c, *k
	}
	return c
}

// addPacket accounts for a packet of a side of c and looks into it. expected is whether it is
// known to be the next segment (Conn.expected).
func (t *Table) addPacket(c *Conn, side Side, d *Decoded, now int64, expected bool) {
	ep := c.endpoint(side)
	ep.Packets++
	ep.Bytes += uint64(d.PayloadLen)
	c.Last = max(c.Last, now)
	if d.Fragment {
		c.Fragments = true
	}
	if c.tcp.done && ep.Packets%busyStep == 0 {
		t.noteBusy(c)
	}
	switch {
	case expected:
		t.acceptSegment(c, side, d, now)
	case d.Transport == wire.ProtoUDP:
		t.addDatagram(c, side, d, now)
	default:
		if d.Flags&wire.FlagRST != 0 {
			c.countReset(side, d)
		}
		t.addSegment(c, side, d, now)
	}
	if c.endsOneSided(side, d) {
		t.h.Changed(c)
	}
	if c.tcp.faces && c.Orig.Packets > 0 && c.Resp.Packets > 0 {
		t.removeFace(c)
	}
	if c.tcp.lone && c.Orig.Packets > 0 && c.Resp.Packets > 0 {
		t.unlistLone(c)
	}
	t.touch(c)
}

// Done says that the Handler has judged c. Later bytes of c are put in order and counted
// as before, but compared with their copies only in the first 32 KiB of each side, and c is among the first to be
// evicted when the table is full. The Handler receives later bytes only if follow is set. Done may be called from
// within Data.
func (t *Table) Done(c *Conn, follow bool) { c.tcp.done, c.tcp.followed = true, follow }

// Undone reverts Done: the Handler judges c anew, and no filter may leave packets of c
// out. It may be called from within Data.
func (t *Table) Undone(c *Conn) {
	c.tcp.done, c.tcp.followed = false, false
	t.unthin(c)
}

func (c *Conn) endpoint(s Side) *Endpoint {
	if s == Originator {
		return &c.Orig
	}
	return &c.Resp
}

// open returns the connection of a packet whose key is unknown: a new one, or one that exists under another key (the
// second face of a redirected connection, or the other direction in another zone).
func (t *Table) open(k key, d *Decoded, now int64) *Conn {
	loopback := d.Transport == wire.ProtoTCP && t.cfg.Loopback != nil && t.cfg.Loopback(k.iface())
	if loopback {
		if c := t.pair(k, d); c != nil {
			return c
		}
	} else if c := t.acrossZones(k, d); c != nil {
		return c
	}
	if t.conns.n >= t.cfg.MaxConns {
		t.evict()
	}
	t.ids++
	t.count++
	t.stats.Created++
	c := &Conn{ID: t.ids, Zones: [2]Zone{k.zone, k.zone}, Interface: k.iface(), Transport: d.Transport, First: now, Last: now}
	src, dst := Endpoint{Addr: address(d, &d.Src), Port: d.SrcPort}, Endpoint{Addr: address(d, &d.Dst), Port: d.DstPort}
	if fromOriginator(d) {
		c.Orig, c.Resp = src, dst
	} else {
		c.Orig, c.Resp = dst, src
	}
	c.MissedStart = d.Transport == wire.ProtoTCP && d.Flags&(wire.FlagSYN|wire.FlagACK) != wire.FlagSYN
	c.tcp.side[Originator].fin, c.tcp.side[Responder].fin = -1, -1
	t.conns.add(&k, c)
	t.locate(c)
	if t.cfg.Exclude != nil && t.cfg.Exclude(c) {
		c.Excluded, c.tcp.done = true, true // and not followed
		t.stats.Excluded++
	}
	if loopback {
		t.addFace(c, d)
	} else {
		t.listLone(c, k)
	}
	return c
}

// end takes c out of the table.
func (t *Table) end(c *Conn, why EndReason) {
	t.resolveSuspects(c)
	for side := range Side(2) {
		t.finish(c, side)
	}
	t.release(c)
	t.removeFace(c)
	t.unlistLone(c)
	t.unthin(c)
	t.strangers.forget(c)
	if t.last == c {
		t.last = nil
	}
	k := c.keyTo(&c.Resp, c.Zones[Originator])
	t.conns.remove(&k, c)
	if c.Redirected != nil {
		k = c.keyTo(c.Redirected, c.Zones[Originator])
		t.conns.remove(&k, c)
	}
	if c.Zones[Responder] != c.Zones[Originator] {
		k = c.keyTo(&c.Resp, c.Zones[Responder])
		t.conns.remove(&k, c)
	}
	t.unlist(c)
	t.count--
	if !c.Excluded {
		t.h.End(c, why)
	}
}

// Flush ends every connection, in the order of creation: the capture is over. The
// table can be used on.
func (t *Table) Flush() {
	t.frags.flush(t)
	for _, c := range t.inOrder() {
		t.end(c, EndFlush)
	}
}

// String names the endpoints for a person.
func (c *Conn) String() string {
	return netip.AddrPortFrom(c.Orig.Addr, c.Orig.Port).String() + " > " + netip.AddrPortFrom(c.Resp.Addr, c.Resp.Port).String()
}
