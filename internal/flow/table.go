package flow

import (
	"net/netip"
	"slices"
	"time"
)

// Config bounds a Table. The zero value has the defaults.
type Config struct {
	MaxConns           int           // connections, default 65536
	MaxBuffered        int           // bytes that are out of order, all together, default 8 MiB
	MaxBufferedPerSide int           // bytes that are out of order in one direction, default 256 KiB
	Linger             time.Duration // how long a closed connection is kept for late packets, default 5 s
	Attempt            time.Duration // how long an unanswered SYN is kept, default 60 s
	IdleTCP            time.Duration // default 1 h
	IdleUDP            time.Duration // default 60 s

	// Exclude is asked once for each new connection; nil excludes nothing.
	Exclude func(*Conn) bool
	// Loopback tells the interfaces on which the two faces of a redirected connection
	// are paired; nil: none.
	Loopback func(iface uint16) bool
}

// Stats counts what a Table has seen since it was made.
type Stats struct {
	Packets     uint64 // packets added
	Bytes       uint64 // their length on the wire
	Undecoded   uint64 // neither TCP nor UDP over IP, or cut off before the ports
	Fragments   uint64 // IP fragments
	Connections uint64
	Excluded    uint64 // connections that Config.Exclude took out
	Evicted     uint64 // connections dropped for want of room
	CutShort    uint64 // holes given up because a budget was full
	Buffered    int    // bytes that are out of order now
}

// key is a connection's two ends in canonical order: no pointers, so that the garbage
// collector does not look into the table.
type key struct {
	lo, hi         [16]byte
	loPort, hiPort uint16
	iface          uint16
	proto          uint8
}

// entry is a connection in the table with its place in a list by the time of the last
// packet.
type entry struct {
	Conn
	keys       [2]key // the second only for a redirected connection
	nkeys      int
	orig       [16]byte // the originator's address as on the wire
	prev, next *entry
	queue      *queue
}

// Table is the bounded table of connections.
type Table struct {
	cfg    Config
	h      Handler
	conns  map[key]*entry
	queues [4]queue
	faces  map[face]*entry
	count  int
	ids    uint64
	now    int64
	stats  Stats
	dec    Decoded
	doomed []*entry // with buffered data that waits for a hole
}

// The classes of idle time, each with a list of its own so that expiry looks only at
// list heads.
const (
	classAttempt = iota
	classTCP
	classUDP
	classClosed
)

// NewTable returns an empty table that hands on to h.
func NewTable(cfg Config, h Handler) *Table {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.Linger, 5*time.Second)
	def(&cfg.Attempt, time.Minute)
	def(&cfg.IdleTCP, time.Hour)
	def(&cfg.IdleUDP, time.Minute)
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 1 << 16
	}
	if cfg.MaxBuffered == 0 {
		cfg.MaxBuffered = 8 << 20
	}
	if cfg.MaxBufferedPerSide == 0 {
		cfg.MaxBufferedPerSide = 256 << 10
	}
	t := &Table{cfg: cfg, h: h, conns: map[key]*entry{}, faces: map[face]*entry{}}
	t.queues[classAttempt].idle = int64(cfg.Attempt)
	t.queues[classTCP].idle = int64(cfg.IdleTCP)
	t.queues[classUDP].idle = int64(cfg.IdleUDP)
	t.queues[classClosed].idle = int64(cfg.Linger)
	return t
}

// Len returns the number of connections in the table.
func (t *Table) Len() int { return t.count }

// Stats returns the counts so far.
func (t *Table) Stats() Stats { return t.stats }

// Each calls f for every connection in the table, in the order of their beginning.
func (t *Table) Each(f func(*Conn)) {
	for _, e := range t.byID() {
		f(&e.Conn)
	}
}

func (t *Table) byID() []*entry {
	all := make([]*entry, 0, t.count)
	for i := range t.queues {
		for e := t.queues[i].head; e != nil; e = e.next {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return int(int64(a.ID) - int64(b.ID)) })
	return all
}

// Add takes one packet. Its Data is not kept.
func (t *Table) Add(p *Packet) {
	t.stats.Packets++
	t.stats.Bytes += uint64(max(p.Length, len(p.Data)))
	t.advance(p.Time)
	d := &t.dec
	if !Decode(p, d) {
		t.stats.Undecoded++
		return
	}
	if d.Fragment {
		t.stats.Fragments++
	}
	if d.Later {
		return
	}
	k, swapped := d.key(p.Interface)
	e := t.conns[k]
	if e != nil && d.Transport == protoTCP && t.reused(e, d, swapped) {
		t.end(e, EndReused)
		e = nil
	}
	if e == nil {
		if e = t.paired(k, d, p); e == nil {
			e = t.open(k, d, p)
		}
	}
	t.packet(e, d, p)
}

// key returns the connection's key, and whether the packet goes from its hi to its lo.
func (d *Decoded) key(iface uint16) (key, bool) {
	swapped := false
	for i := range d.Src {
		if d.Src[i] != d.Dst[i] {
			swapped = d.Src[i] > d.Dst[i]
			goto found
		}
	}
	swapped = d.SrcPort > d.DstPort
found:
	if swapped {
		return key{d.Dst, d.Src, d.DstPort, d.SrcPort, iface, d.Transport}, true
	}
	return key{d.Src, d.Dst, d.SrcPort, d.DstPort, iface, d.Transport}, false
}

// reused tells that a SYN opens a new connection on a tuple that is known.
func (t *Table) reused(e *entry, d *Decoded, _ bool) bool {
	if d.Flags&(flagSYN|flagACK|flagRST) != flagSYN {
		return false
	}
	side := e.side(d)
	if side == Responder {
		return true // the other end opens
	}
	s := &e.tcp.side[Originator]
	return !s.synSeen && e.Orig.Packets+e.Resp.Packets > 0 || s.synSeen && d.Seq != s.isn
}

// open makes a new connection for a packet.
func (t *Table) open(k key, d *Decoded, p *Packet) *entry {
	if t.count >= t.cfg.MaxConns {
		t.evict()
	}
	t.ids++
	t.stats.Connections++
	e := &entry{keys: [2]key{k}, nkeys: 1, Conn: Conn{
		ID: t.ids, Interface: p.Interface, Transport: d.Transport, First: p.Time, Last: p.Time, State: OTH,
	}}
	src, dst := Endpoint{Addr: d.addr(d.Src), Port: d.SrcPort}, Endpoint{Addr: d.addr(d.Dst), Port: d.DstPort}
	e.Orig, e.Resp, e.orig = src, dst, d.Src
	if fromResponder(d) {
		e.Orig, e.Resp, e.orig = dst, src, d.Dst
	}
	t.conns[k] = e
	t.count++
	if d.Transport == protoTCP {
		e.MissedStart = d.Flags&flagSYN == 0
		t.queues[classAttempt].push(e)
		t.expectFace(e, d, p)
	} else {
		t.queues[classUDP].push(e)
	}
	if t.cfg.Exclude != nil && t.cfg.Exclude(&e.Conn) {
		e.Excluded = true
		t.stats.Excluded++
	}
	return e
}

// fromResponder guesses whether a connection's first packet comes from its responder:
// a SYN-ACK does; in the middle of a stream the side with a service's port is taken for
// the responder.
func fromResponder(d *Decoded) bool {
	if d.Transport == protoTCP && d.Flags&flagSYN != 0 {
		return d.Flags&flagACK != 0
	}
	const ephemeral = 32768 // Linux's net.ipv4.ip_local_port_range
	if d.Transport == protoUDP {
		return d.SrcPort < 1024 && d.DstPort >= 1024
	}
	return d.SrcPort < 1024 && d.DstPort >= 1024 || d.SrcPort < ephemeral && d.DstPort >= ephemeral
}

func (d *Decoded) addr(a [16]byte) netip.Addr {
	if d.V6 {
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte(a[12:]))
}

// side tells who sent a packet of a connection.
func (e *entry) side(d *Decoded) Side {
	if d.SrcPort == e.Orig.Port && d.Src == e.orig {
		return Originator
	}
	return Responder
}

// packet accounts for a packet and runs the connection's machinery over it.
func (t *Table) packet(e *entry, d *Decoded, p *Packet) {
	side := e.side(d)
	e.Last = max(e.Last, p.Time)
	end := &e.Orig
	if side == Responder {
		end = &e.Resp
	}
	end.Packets++
	end.Bytes += uint64(max(d.Length, 0))
	e.Fragments = e.Fragments || d.Fragment
	if d.Transport == protoTCP {
		t.tcp(e, side, d, p)
	} else if !e.Excluded && len(d.Payload) > 0 {
		s := Segment{Side: side, Offset: e.tcp.side[side].next, Data: d.Payload, Ack: -1, Time: p.Time}
		e.tcp.side[side].next += int64(len(d.Payload))
		t.h.Data(&e.Conn, s)
	}
	t.touch(e)
}

// touch moves a connection to the end of the list of its class.
func (t *Table) touch(e *entry) {
	if e.queue == nil {
		return // it ended
	}
	class := classUDP
	if e.Transport == protoTCP {
		class = classTCP
		switch e.State {
		case S0, SH, SHR:
			class = classAttempt
		case SF, REJ, RSTO, RSTR, RSTOS0, RSTRH:
			class = classClosed
		}
	}
	e.queue.remove(e)
	t.queues[class].push(e)
}

// Tick moves the time on when no packet comes. now is in nanoseconds since the epoch.
func (t *Table) Tick(now int64) { t.advance(now) }

func (t *Table) advance(now int64) {
	if now <= t.now {
		return // time that goes backwards moves nothing
	}
	t.now = now
	for i := range t.queues {
		q := &t.queues[i]
		for e := q.head; e != nil && e.Last+q.idle < now; e = q.head {
			why := EndIdle
			if i == classClosed {
				why = EndClosed
			}
			t.end(e, why)
		}
	}
	t.giveUpOld()
}

// evict makes room: what is closed goes first, then what was idle longest.
func (t *Table) evict() {
	for _, class := range [...]int{classClosed, classAttempt, classUDP, classTCP} {
		if e := t.queues[class].head; e != nil {
			t.stats.Evicted++
			t.end(e, EndEvicted)
			return
		}
	}
}

// Flush ends every connection, in the order of their beginning: the capture is over.
func (t *Table) Flush() {
	for _, e := range t.byID() {
		t.end(e, EndFlush)
	}
}

// end hands on what is left of a connection and takes it out of the table.
func (t *Table) end(e *entry, why EndReason) {
	if e.queue == nil {
		return
	}
	if e.Transport == protoTCP {
		t.drain(e)
	}
	for _, k := range e.keys[:e.nkeys] {
		delete(t.conns, k)
	}
	t.forgetFace(e)
	e.queue.remove(e)
	t.count--
	if !e.Excluded {
		t.h.End(&e.Conn, why)
	}
}

// queue is a list of connections, the one whose last packet is oldest in front.
type queue struct {
	head, tail *entry
	idle       int64 // nanoseconds
}

func (q *queue) push(e *entry) {
	e.queue, e.prev, e.next = q, q.tail, nil
	if q.tail != nil {
		q.tail.next = e
	} else {
		q.head = e
	}
	q.tail = e
}

func (q *queue) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.tail = e.prev
	}
	e.queue, e.prev, e.next = nil, nil, nil
}
