package pipeline

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Config configures a Pipeline. Its functions are called with the lock held, and only during calls of the
// Pipeline.
type Config struct {
	Table  flow.Config
	Judge  verdict.Config
	Engine finding.Config // New sets its Coverage

	// Judged, if set, receives the judgements in place of an engine: Engine is ignored and no records are
	// made. Judged must not retain the pointer.
	Judged func(*verdict.Judged)

	// Ended, if set, is called after the last judgement of a connection, with its number (flow.Conn.ID).
	Ended func(id uint64)

	// DefaultFilter is true if only tapfilter.Default may have truncated the packets.
	DefaultFilter bool

	// MaxPending bounds the memory of sessions that have not settled, in bytes; default 256 MiB. MaxConclusions bounds
	// the memory of the conclusions of settled sessions, in bytes; default 64 MiB. Beyond a bound, connections are
	// evicted. The connection that was idle longest is evicted first.
	MaxPending, MaxConclusions int

	// MaxOwnInitials and MaxOtherInitials bound how many unanswered QUIC Initials are read in each second of packet
	// time: those of connections that the tapped pod opened, and those of each of 63 groups of all other sources
	// (dissect.Pool.Limit). If both are 0, there is no bound.
	MaxOwnInitials, MaxOtherInitials int

	// Loopback holds the names of loopback interfaces. A redirected connection appears there as two faces, which are
	// paired (flow.Config.Loopback).
	Loopback []string

	// OnPanic, if set, is called after a packet has caused a panic.
	OnPanic func(p *Locked, cause any)

	// The remaining fields are for live captures.

	// Coverage, if set, adds the counts of packets that the pipeline never received, such as those that the
	// kernel dropped.
	Coverage func(*finding.Coverage)

	// Local, if set, replaces Table.Local. at is the time of the current packet, in ns since the epoch.
	Local func(a netip.Addr, at int64) bool

	// Owns, if set, replaces Table.Exclude: it reports whether a TCP connection belongs to a socket of the capturing
	// process. Such a connection is excluded. at is the time at which the connection was first seen, in ns since the
	// epoch. begins reports whether the start of the connection was captured.
	Owns func(local, peer flow.Endpoint, iface string, at int64, begins bool) bool
}

// Default bounds. They are for a process without a memory limit, such as a process that reads a capture file.
const (
	defaultPending     = 256 << 20
	defaultConclusions = 64 << 20
)

// MaxInterfaces bounds the interfaces that a Pipeline distinguishes.
const MaxInterfaces = 1 << 12

// A Pipeline turns packets into records. It is safe for concurrent use.
type Pipeline struct {
	mu     sync.Mutex
	locked Locked
}

// A Locked is a Pipeline whose lock is held. It is valid only during the call that it was passed to. Its
// methods are synchronous: records have been passed to finding.Config.Emit when a method returns.
type Locked struct {
	Judge  *verdict.Judge  // receives facts about the pod that become known later
	Engine *finding.Engine // nil if Config.Judged is set

	cfg     Config
	table   *flow.Table
	tracker tracker
	panics  uint64 // panics caused by packets
	now     int64  // time of the current packet, ns since the epoch
	latest  int64  // latest time of a packet, ns since the epoch
}

// New returns a Pipeline without connections and interfaces.
func New(cfg Config) *Pipeline {
	p := &Pipeline{}
	l := &p.locked
	l.cfg = cfg

	if cfg.Judged == nil {
		cfg.Engine.Coverage = l.Coverage
		l.Engine = finding.New(cfg.Engine)
	}
	l.Judge = verdict.New(cfg.Judge)
	l.table = flow.NewTable(l.tableConfig(), &l.tracker)
	l.tracker = tracker{
		table: l.table, judge: l.Judge, engine: l.Engine, judged: cfg.Judged, ended: cfg.Ended, seed: maphash.MakeSeed(), defaultFilter: cfg.DefaultFilter,
	}

	setDefault(&l.cfg.MaxPending, defaultPending)
	setDefault(&l.cfg.MaxConclusions, defaultConclusions)
	if cfg.MaxOwnInitials > 0 || cfg.MaxOtherInitials > 0 {
		l.tracker.sessions.Limit(cfg.MaxOwnInitials, cfg.MaxOtherInitials)
	}
	return p
}

func setDefault(n *int, value int) {
	if *n <= 0 {
		*n = value
	}
}

// tableConfig returns Config.Table with the functions that depend on the pipeline's own state.
func (l *Locked) tableConfig() flow.Config {
	c := l.cfg.Table
	if len(l.cfg.Loopback) > 0 {
		c.Loopback = func(iface uint16) bool { return slices.Contains(l.cfg.Loopback, l.tracker.interfaceName(iface)) }
	}
	if l.cfg.Local != nil {
		c.Local = func(a netip.Addr) bool { return l.cfg.Local(a, l.now) }
	}
	if l.cfg.Owns != nil {
		c.Exclude = l.isOwn
	}
	return c
}

// isOwn reports whether an end of c is a socket of the capturing process.
func (l *Locked) isOwn(c *flow.Conn) bool {
	if c.Transport == transportUDP {
		return false
	}
	name := l.tracker.interfaceName(c.Interface)
	for _, ends := range [...][2]flow.Endpoint{{c.Orig, c.Resp}, {c.Resp, c.Orig}} {
		if l.Judge.Local(ends[0].Addr) && l.cfg.Owns(ends[0], ends[1], name, c.First, !c.MissedStart) {
			return true
		}
	}
	return false
}

// Do calls f with the lock held.
func (p *Pipeline) Do(f func(*Locked)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.locked)
}

// Add adds packets in the order of their capture. It does not retain them.
func (p *Pipeline) Add(packets ...flow.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.locked.Add(packets)
}

// Flush ends all connections.
func (p *Pipeline) Flush() { p.Do((*Locked).Flush) }

// Stats returns the counters and the memory in use.
func (p *Pipeline) Stats() (s Stats) {
	p.Do(func(l *Locked) { s = l.Stats() })
	return s
}

// AddInterface adds an interface and returns its number, for flow.Packet.Interface. Interfaces beyond
// MaxInterfaces share the last number.
func (l *Locked) AddInterface(name string) uint16 {
	names := &l.tracker.interfaces
	if len(*names) < MaxInterfaces {
		*names = append(*names, name)
	}
	return uint16(len(*names) - 1)
}

// Add adds packets in the order of their capture. It does not retain them. It advances the engine's time.
func (l *Locked) Add(packets []flow.Packet) {
	for len(packets) > 0 {
		n := min(len(packets), flow.MaxPrefetch)
		l.prefetch(packets[:n])
		l.addAll(packets[:n])
		packets = packets[n:]
	}
}

// prefetch loads the table's entries for the packets' connections into the processor's caches.
func (l *Locked) prefetch(packets []flow.Packet) {
	if len(packets) > 1 {
		defer l.recoverPanic()
		l.table.Prefetch(packets)
	}
}

func (l *Locked) addAll(packets []flow.Packet) {
	for len(packets) > 0 {
		packets = packets[l.addSome(packets):]
	}
}

// addSome adds packets, up to and including the first packet that causes a panic. It returns the number of processed
// packets.
func (l *Locked) addSome(packets []flow.Packet) (n int) {
	defer l.recoverPanic()
	for n < len(packets) {
		packet := &packets[n]
		n++

		if l.now = packet.Time; l.now > l.latest {
			l.latest = l.now
			l.table.Tick(l.now) // first, so that a connection that ended before the engine's window does is not counted in the next one
			l.tickEngine(l.now)
		}
		l.table.Add(packet)
		if l.tracker.sessions.BytesInUse() > l.cfg.MaxPending || l.Judge.BytesInUse() > l.cfg.MaxConclusions {
			l.evict()
		}
	}
	return n
}

func (l *Locked) tickEngine(now int64) {
	if l.Engine != nil {
		l.Engine.Tick(now)
	}
}

// Tick advances the time to now, in ns since the epoch, while there are no packets.
func (l *Locked) Tick(now int64) {
	defer l.recoverPanic()
	l.table.Tick(now)
	l.tickEngine(now)
}

// Flush ends all connections.
func (l *Locked) Flush() {
	defer l.recoverPanic()
	l.table.Flush()
}

// Latest returns the latest time of a packet, in ns since the epoch; 0: there was none.
func (l *Locked) Latest() int64 { return l.latest }

// evict ends connections until the memory in use is within its bounds.
func (l *Locked) evict() {
	for more := true; more && l.tracker.sessions.BytesInUse() > l.cfg.MaxPending; {
		more = l.table.Shed(false)
	}
	for more := true; more && l.Judge.BytesInUse() > l.cfg.MaxConclusions; {
		more = l.table.Shed(true)
	}
}

// recoverPanic recovers from a panic that a packet caused, so that no packet ends the process. It evicts
// all connections in the table.
func (l *Locked) recoverPanic() {
	cause := recover()
	if cause == nil {
		return
	}
	l.panics++
	l.table.Renew()
	if l.cfg.OnPanic != nil {
		l.cfg.OnPanic(l, cause)
	}
}
