package flow

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// Config bounds a Table. The zero value means the defaults.
type Config struct {
	MaxConns           int // connections (and second faces of redirected ones) kept; default 65536
	MaxBuffered        int // bytes held out of order in the whole table, bookkeeping included; default 8 MiB
	MaxBufferedPerSide int // the same for one direction of one connection; default 256 KiB

	Linger     time.Duration // closed TCP connections; default 5 s
	IdleSetup  time.Duration // TCP connections that never carried payload and are not established; default 60 s
	IdleTCP    time.Duration // other TCP connections; default 1 h
	IdleUDP    time.Duration // default 60 s
	HoleWait   time.Duration // how long a hole that the receiver has acknowledged is waited for; default 1 s
	UnseenWait time.Duration // how long any hole is waited for where no packet of the receiver is seen; default 3 s

	// Exclude is asked once, when a connection is created, with its addresses set. An
	// excluded connection stays in the table and is counted, but nothing of it reaches
	// the Handler, not even End.
	Exclude func(*Conn) bool
	// Loopback says on which interfaces the two faces of a redirected connection are
	// paired. Nil: on none.
	Loopback func(iface uint16) bool
}

func (c Config) defaults() Config {
	number := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	number(&c.MaxConns, 65536)
	number(&c.MaxBuffered, 8<<20)
	number(&c.MaxBufferedPerSide, 256<<10)
	wait(&c.Linger, 5*time.Second)
	wait(&c.IdleSetup, time.Minute)
	wait(&c.IdleTCP, time.Hour)
	wait(&c.IdleUDP, time.Minute)
	wait(&c.HoleWait, time.Second)
	wait(&c.UnseenWait, 3*time.Second)
	return c
}

// Stats counts what a Table has done since it was made.
type Stats struct {
	Packets     uint64          // given to Add
	Undecoded   [reasons]uint64 // packets without ports, by Reason
	Fragments   uint64          // IP fragments, the first ones and the later ones
	Created     uint64          // connections
	Active      int             // connections now in the table
	Evicted     uint64          // connections that left because the table was full
	Reused      uint64          // connections that ended because their ports were taken again
	Excluded    uint64          // connections that Config.Exclude held back
	Redirected  uint64          // connections paired from two faces
	Retransmits uint64          // segments that brought nothing new
	Gaps        uint64          // holes given up, for whatever reason
	GapBytes    uint64          // bytes in them
	CutShort    uint64          // holes given up because a byte budget was full
	Before      uint64          // segments from before the first byte known of their stream
	Conflicts   uint64          // segments with other bytes than the first copy
	Buffered    int             // bytes now held out of order, bookkeeping included
	MaxBuffered int             // the most that Buffered was
}

// key names a connection: the smaller endpoint first. It holds no pointer, so that the
// garbage collector need not look into the map.
type key struct {
	a, b         [16]byte
	aPort, bPort uint16
	iface        uint16
	transport    uint8
	ipv6         bool
}

func keyOf(d *Decoded, iface uint16) key {
	k := key{d.Src, d.Dst, d.SrcPort, d.DstPort, iface, d.Transport, d.IPv6}
	switch c := compare(&d.Src, &d.Dst); {
	case c > 0, c == 0 && d.SrcPort > d.DstPort:
		k.a, k.b = d.Dst, d.Src
		k.aPort, k.bPort = d.DstPort, d.SrcPort
	}
	return k
}

func compare(a, b *[16]byte) int {
	x, y := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:])
	if x == y {
		x, y = binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Table is the bounded table of connections. Each packet takes amortized constant time
// and, on a connection already known whose data come in order, no memory.
type Table struct {
	cfg   Config
	h     Handler
	conns map[key]*Conn
	faces map[face]*Conn // unanswered connections of loopback interfaces
	lists [numLists]list
	now   int64 // the latest packet time or tick
	ids   uint64
	count int
	stats Stats
	d     Decoded // of the packet at hand
}

// NewTable returns an empty table that tells h what it finds out.
func NewTable(cfg Config, h Handler) *Table {
	t := &Table{cfg: cfg.defaults(), h: h, conns: map[key]*Conn{}, faces: map[face]*Conn{}}
	for i := range t.lists {
		t.lists[i].kind = kindOf(i)
	}
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

// Each calls f for each connection in the order of creation. f must not call the table.
func (t *Table) Each(f func(*Conn)) {
	for c := t.lists[listAll].head; c != nil; c = c.tcp.links[linkAll].next {
		f(c)
	}
}

// Add takes a packet. The Handler is called from within.
func (t *Table) Add(p *Packet) {
	t.stats.Packets++
	t.Tick(p.Time)
	d := &t.d
	ok := Decode(p, d)
	if d.Fragment || d.Reason == LaterFragment {
		t.stats.Fragments++
	}
	if !ok {
		t.stats.Undecoded[d.Reason]++
		return
	}
	k := keyOf(d, p.Interface)
	c := t.conns[k]
	if c != nil && d.Transport == protoTCP && d.Flags&flagSYN != 0 && t.begins(c, d) {
		t.stats.Reused++
		t.end(c, EndReused)
		c = nil
	}
	if c == nil {
		c = t.open(k, d, p.Time)
	}
	t.packet(c, d, p.Time)
}

// packet accounts for a packet of c and looks into it.
func (t *Table) packet(c *Conn, d *Decoded, now int64) {
	side := c.sender(d)
	ep := c.end(side)
	ep.Packets++
	ep.Bytes += uint64(d.PayloadLen)
	c.Last = max(c.Last, now)
	if d.Fragment {
		c.Fragments = true
	}
	if d.Transport == protoUDP {
		t.datagram(c, side, d, now)
	} else {
		t.segment(c, side, d, now)
	}
	if c.tcp.faces && c.Orig.Packets > 0 && c.Resp.Packets > 0 {
		t.unface(c)
	}
	t.touch(c)
}

// sender returns the side that a packet of c comes from. Both faces of a redirected
// connection have the originator in common.
func (c *Conn) sender(d *Decoded) Side {
	if d.SrcPort == c.Orig.Port && d.Src == c.tcp.orig {
		return Originator
	}
	return Responder
}

func (c *Conn) end(s Side) *Endpoint {
	if s == Originator {
		return &c.Orig
	}
	return &c.Resp
}

// open makes the connection that a packet of an unknown tuple begins or, under
// REDIRECT, finds the one that it is the second face of.
func (t *Table) open(k key, d *Decoded, now int64) *Conn {
	loopback := d.Transport == protoTCP && t.cfg.Loopback != nil && t.cfg.Loopback(k.iface)
	if loopback {
		if c := t.pair(k, d); c != nil {
			return c
		}
	}
	if len(t.conns) >= t.cfg.MaxConns {
		t.evict()
	}
	t.ids++
	t.count++
	t.stats.Created++
	c := &Conn{ID: t.ids, Interface: k.iface, Transport: d.Transport, First: now, Last: now}
	src, dst := Endpoint{Addr: address(d, &d.Src), Port: d.SrcPort}, Endpoint{Addr: address(d, &d.Dst), Port: d.DstPort}
	if fromOriginator(d) {
		c.Orig, c.Resp, c.tcp.orig = src, dst, d.Src
	} else {
		c.Orig, c.Resp, c.tcp.orig = dst, src, d.Dst
	}
	c.MissedStart = d.Transport == protoTCP && d.Flags&(flagSYN|flagACK) != flagSYN
	c.tcp.init(k)
	t.conns[k] = c
	t.lists[listAll].push(c)
	if t.cfg.Exclude != nil && t.cfg.Exclude(c) {
		c.Excluded = true
		t.stats.Excluded++
	}
	if loopback {
		t.face(c, d)
	}
	return c
}

func address(d *Decoded, a *[16]byte) netip.Addr {
	if d.IPv6 {
		return netip.AddrFrom16(*a)
	}
	return netip.AddrFrom4([4]byte(a[:4]))
}

// fromOriginator guesses from the first packet seen of a connection whether its sender
// is the originator. A SYN says so; in mid-stream the ports have to do.
func fromOriginator(d *Decoded) bool {
	if d.Transport == protoTCP && d.Flags&flagSYN != 0 {
		return d.Flags&flagACK == 0
	}
	const wellKnown, ephemeral = 1024, 32768
	s, r := d.SrcPort, d.DstPort
	switch {
	case (s < wellKnown) != (r < wellKnown):
		return r < wellKnown
	case d.Transport == protoTCP && (s >= ephemeral) != (r >= ephemeral):
		return s >= ephemeral
	}
	return true
}

// end takes c out of the table.
func (t *Table) end(c *Conn, why EndReason) {
	for side := range Side(2) {
		t.finish(c, side)
	}
	t.unface(c)
	delete(t.conns, c.tcp.key)
	if c.tcp.paired {
		delete(t.conns, c.tcp.alias)
	}
	for i := range c.tcp.links {
		if l := c.tcp.links[i].in; l != nil {
			l.remove(c)
		}
	}
	t.count--
	if !c.Excluded {
		t.h.End(c, why)
	}
}

// Flush ends every connection, in the order of creation: the capture is over. The
// table can be used on.
func (t *Table) Flush() {
	for c := t.lists[listAll].head; c != nil; c = t.lists[listAll].head {
		t.end(c, EndFlush)
	}
}

// String names the endpoints for a person.
func (c *Conn) String() string {
	var b bytes.Buffer
	b.WriteString(netip.AddrPortFrom(c.Orig.Addr, c.Orig.Port).String())
	b.WriteString(" > ")
	b.WriteString(netip.AddrPortFrom(c.Resp.Addr, c.Resp.Port).String())
	return b.String()
}
