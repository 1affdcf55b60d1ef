package flow

import (
	"cmp"
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Table is the bounded table of connections. A packet takes amortized constant time, and no allocation if its
// connection is known and its data are in order.
type Table struct {
	cfg       Config
	h         Handler
	conns     index              // all connections by key; a redirected one, or one in two zones, has two keys
	faces     map[face]*Conn     // unanswered connections of loopback interfaces
	lone      map[key]*Conn      // connections with only one end seen, by key without zone: the other end may be in another zone
	idle      [numLists]connList // every connection is in one of the lists
	gapped    gappedList         // connections with a gap that a timeout can end
	recent    recent             // the bytes that were delivered last, of all connections
	thin      thinning           // the choice of Thin
	now       int64              // the latest time of a packet or tick
	due       int64              // packet time before which nothing expires
	ids       uint64
	count     int
	stats     Stats
	others    others
	decoded   Decoded // the current packet
	key       key     // key of the current packet
	segment   Segment // argument of Handler.Data
	last      *Conn   // the connection that find returned last, nil if it ended
	lastKey   key     // the key of the connection in last
	frags     fragments
	strangers strangers // packets that may belong to connections that reuse ports
	read      uint64    // sum of what Prefetch read, so that the compiler does not remove the reads; its value has no meaning

	sums      [][origins]sums // histories of checksums, by interface and origin
	wrongSums bool            // some of sums have dropped segments
}

// NewTable returns an empty table that calls h.
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
	order.Stable(all, func(a, b *Conn) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Add processes one packet. It calls the Handler.
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
		t.stats.Refused++ // the host drops it too (RFC 1122, section 4.2.3.10; tcp_v4_rcv in Linux)
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

	if t.cfg.Observe != nil && c != nil && d.Flags&wire.FlagSYN == 0 {
		t.cfg.Observe(c, p, d)
	}
	if c != nil && t.addFast(c, d, p.Time) {
		return
	}
	if c != nil && d.Transport == wire.ProtoTCP && c.tcp.dupSYNBy == 0 {
		if side := c.sender(d); c.expected(side, d) {
			t.addPacket(c, side, d, p.Time, true)
			return
		}
	}

	if c != nil && d.Transport == wire.ProtoTCP && d.Flags&wire.FlagSYN != 0 && t.startsNew(c, d) {
		t.stats.Reused++
		t.end(c, EndReused)
		syn, again := c.tcp.dupSYN, c.tcp.dupSYNBy != 0 && d.Flags&wire.FlagACK != 0
		if c = t.open(*k, d, p.Time); again {
			c.startFromSYNACK(d, syn)
		}
	}
	if c != nil && d.Transport == wire.ProtoTCP {
		var kept bool
		if c, kept = t.checkStranger(c, k, d, p.Time); kept {
			return
		}
	}

	opened := c == nil
	if opened {
		c = t.open(*k, d, p.Time)
	}
	if t.cfg.Observe != nil && (opened || d.Flags&wire.FlagSYN != 0) { // a SYN may have started another connection
		t.cfg.Observe(c, p, d)
	}
	t.addPacket(c, c.sender(d), d, p.Time, false)
}

// decode decodes a packet, or the datagram that a fragment completes. It returns false, and counts why, if there is no
// connection to look up.
func (t *Table) decode(p *Packet, d *Decoded) bool {
	ok := decode(p, d, p.Checksum)
	if d.fragment.is {
		t.stats.Fragments++
		if d.badSum { // of the IPv4 header
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

// find returns the connection with key k, or nil. It compares k with the last result first, because
// packets of a connection often follow each other.
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

// addPacket counts a packet of a side of c and processes it. expected is set if the packet is known to be the next
// segment (Conn.expected).
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

// Done marks c as judged. Later bytes of c are still put in order and counted. Retransmissions are compared with the
// first copy only in the first 32 KiB of each side. c is then usually evicted before connections that are not done (see
// evict). The Handler receives later bytes only if follow is set. Done may be called from within Data.
func (t *Table) Done(c *Conn, follow bool) { c.tcp.done, c.tcp.followed = true, follow }

// Undone reverts Done. It also removes c from the choice of Thin, so that all packets of c are seen. Undone may be
// called from within Data.
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

// end removes c from the table.
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

// Flush ends every connection, in the order of creation, because the capture is over. The table can be used again.
func (t *Table) Flush() {
	t.frags.flush(t)
	for _, c := range t.inOrder() {
		t.end(c, EndFlush)
	}
}

// String returns the endpoints as text for people: originator > responder.
func (c *Conn) String() string {
	return netip.AddrPortFrom(c.Orig.Addr, c.Orig.Port).String() + " > " + netip.AddrPortFrom(c.Resp.Addr, c.Resp.Port).String()
}
