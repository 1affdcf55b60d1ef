package finding

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Redact says what of the wire's text stays in the pod.
type Redact string

// The levels. A query, a body, a cookie or an authorization value is never in a record.
const (
	RedactStrict  Redact = "strict"  // no names: SNI, Host, DNS, SPIFFE, certificates' subjects, issuers and alternative names, paths, user agents
	RedactDefault Redact = "default" // no paths and user agents; the empty value means this
	RedactNone    Redact = "none"
)

// Config says what to emit and what is known. Only Emit must be set.
type Config struct {
	Tap      string   // "read", or the pod UID: part of event.id and of Record.Key; default Identity.Run
	Identity Identity // what is known of the tapped pod

	Window    time.Duration // default 10 min
	Phase     time.Duration // when in a window's length windows begin, so that a fleet spreads
	Heartbeat time.Duration // 0: none

	Expect         []Expectation  // first match wins
	Mesh           string         // the mesh that the pod is declared to be in, empty if none
	NodeEncryption string         // what encrypts below the pod ("wireguard", ...), as declared: published, and no more
	Nodes          []netip.Addr   // addresses of the node
	Cluster        []netip.Prefix // ranges of pods and services beside the private ones
	APIServer      netip.Addr

	Findings, Posture, Flows bool // what is emitted; the tap's own records always are

	Redact   Redact
	MaxEdges int    // default 1024; the rest folds into one edge that says so, for each scope and class
	Unfold   bool   // keep edges within the pod, of probes and of DNS apart, as for a capture that someone looks at
	Filter   string // the capture filter in force, published in meshtls.coverage

	Now        func() time.Time        // for event.created; nil: packet time
	Emit       func(Record)            // called synchronously, in order; must not call the Engine
	Reuse      bool                    // Record.Value is valid during Emit only, which saves its memory
	Interfaces func() []InterfaceState // asked when a record needs them, and each second; nil: there are none, as for a file
	Coverage   func() Coverage         // totals since the start, asked when a record needs them; nil: nothing is known
}

// Coverage is how much was seen, as totals since the start.
type Coverage struct {
	Packets  uint64 // seen
	Dropped  uint64 // lost by the ring
	Evicted  uint64 // connections given up for want of room
	CutShort uint64 // streams of which only the head was read for want of room
	Older    uint64 // connections that are older than the tap: as it is, in each window too
	Since    int64  // since when all interfaces are captured, ns since the epoch: nothing before was seen; 0: not known
	Foreign  uint64 // packets of conversations that do not involve the tapped pod, which were not looked at

	// Uncaptured are the names of the pod's network interfaces that are up and not captured,
	// as it is, in each window too.
	Uncaptured []string

	// Undecoded are packets without TCP or UDP ports by what they carry instead, such as
	// "sctp" or "link_type_195" (lower case, digits and _).
	Undecoded map[string]uint64

	// Counters are the other counters worth publishing, such as the sink's, by name
	// (lower case, digits and _). They stand in the tap's own records.
	Counters map[string]uint64
}

// Engine makes records of judged connections. It is not safe for concurrent use.
type Engine struct {
	cfg    Config
	policy policy

	now           int64 // ns since the epoch; never goes back
	started       bool
	window        window
	nextHeartbeat int64 // when the next heartbeat is due
	due           int64 // before this time Tick only records the time

	edges           map[string]*edge
	order           []*edge // by key
	foldedEdges     int     // of them, those that stand for more than one
	liveConnections map[uint64]liveConnection
	totals          totals
	blind           blindness
	overrides       overrides

	sequences map[string]uint64
	blank     record.Record // what all records have in common
	record    record.Record // under construction; blank between records
	tls       record.TLS    // what record.TLS points to
	encoded   []byte
	id        string
	scratch   []byte
	conn      []byte
	key       []byte
}

// New returns an Engine.
func New(cfg Config) *Engine {
	if cfg.Window <= 0 {
		cfg.Window = 10 * time.Minute
	}
	if cfg.MaxEdges <= 0 {
		cfg.MaxEdges = 1024
	}
	cfg.Tap = cmp.Or(cfg.Tap, cfg.Identity.Run)
	if cfg.Redact == "" {
		cfg.Redact = RedactDefault
	}
	e := &Engine{
		cfg: cfg, policy: newPolicy(&cfg),
		edges: map[string]*edge{}, liveConnections: map[uint64]liveConnection{}, sequences: map[string]uint64{},
	}
	e.blank = cfg.Identity.record()
	e.record = e.blank
	return e
}

// Add takes a connection when it has settled, again when its judgement changes, and
// once when it has ended, each time with the same ID. Its Last is a time that has come:
// it moves time on as Tick does. Add keeps j no longer than the call.
func (e *Engine) Add(j *verdict.Judged) {
	e.startFirstWindow(j.Start)
	e.Tick(j.Last)
	if e.cfg.Redact == RedactStrict {
		j = withoutNames(j)
	}
	if e.policy.learnMesh(j) {
		defer e.reapplyRules()
	}
	x := e.policy.expectationOf(j)
	key := ""
	if j.Verdict != verdict.None {
		key = e.judge(j, x).key
	} else if j.Ended {
		e.totals.silent++
	}
	if !j.Ended {
		return
	}
	delete(e.liveConnections, j.ID)
	if e.cfg.Flows {
		if key == "" {
			key = string(e.appendKey(e.key[:0], j))
		}
		e.emitFlow(j, x, key)
	}
}

// Tick moves time on: windows that are over are closed and heartbeats sent. A time that
// is not later than what was seen already moves nothing.
func (e *Engine) Tick(now int64) {
	if now < e.due {
		e.now = max(e.now, now)
		return
	}
	e.tick(now)
}

func (e *Engine) tick(now int64) {
	e.startFirstWindow(now)
	if now <= e.now {
		return
	}
	e.now = now
	if e.now >= e.window.end {
		e.closeWindow(e.window.end, true)
		e.openWindow(e.now)
	}
	e.pollInterfaces()
	e.heartbeat()
	e.due = e.window.end
	if e.cfg.Interfaces != nil {
		e.due = min(e.due, e.blind.next)
	}
	if e.cfg.Heartbeat > 0 {
		e.due = min(e.due, e.nextHeartbeat)
	}
}

// Flush closes the open window at the end of a capture or a run. What comes later
// begins a new one.
func (e *Engine) Flush(now int64) {
	e.startFirstWindow(now)
	e.Tick(now)
	e.closeWindow(min(e.now, e.window.end), false)
	e.started, e.due = false, 0
}

// startFirstWindow opens the first window, by the first time that is heard of.
func (e *Engine) startFirstWindow(at int64) {
	if e.started {
		return
	}
	e.started = true
	e.now = max(e.now, at)
	e.openWindow(e.now)
	e.window.from = e.now
	if e.totals.start == 0 {
		e.totals.start = e.now
	}
	if e.nextHeartbeat == 0 {
		e.nextHeartbeat = e.now + int64(e.cfg.Heartbeat)
	}
}
