package finding

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Redact is the level of redaction. It determines which text from the wire is left out of records.
type Redact string

// The levels. A query, a body, a cookie or an authorization value is never in a record.
const (
	RedactStrict  Redact = "strict"  // leaves out all names: SNI, Host, DNS, SPIFFE, certificates' subjects, issuers and alternative names, paths, user agents
	RedactDefault Redact = "default" // leaves out paths and user agents; the empty value means this
	RedactNone    Redact = "none"    // leaves out nothing
)

// Encoder appends a record to b as one JSON object without a line break. It must not retain r.
type Encoder func(b []byte, r *record.Record) []byte

// Config configures an Engine. Only Emit must be set.
type Config struct {
	Tap      string   // "read", or the pod UID: part of event.id and of Record.Key; default Identity.Run
	Identity Identity // identity of the tap and its pod

	Window    time.Duration // the time after which open findings are emitted again or resolved; default 10 min
	Interval  time.Duration // the time that one snapshot of posture covers; default Window
	Delay     time.Duration // how long after its end the records of a window are emitted, so that a fleet's records spread over time; less than Window and Interval
	Heartbeat time.Duration // interval of heartbeats; 0: none

	Expect         []Expectation  // the first match applies
	Severities     Severities     // replaces the severities of rules
	Mesh           string         // the mesh that the pod is declared to be in, empty if none
	NodeEncryption string         // declared encryption below the pod ("wireguard", ...): published, without effect on any rule
	Nodes          []netip.Addr   // addresses of the node
	Cluster        []netip.Prefix // ranges of pods and services, in addition to the private ones
	APIServer      netip.Addr

	Findings, Posture, Flows bool // datasets to emit; the tap's own records always are

	// Announcements is the largest number of findings of each rule that may open or become more severe in a
	// window with a record of their own. One finding for each rule counts the others. It is also the largest
	// number of postures with action new, and of those with action worsened, in a window. Default 20;
	// negative: no limit.
	Announcements int

	Redact   Redact
	MaxEdges int    // default 1024; more edges fold into one aggregate edge for each scope and class
	Unfold   bool   // do not fold edges within the pod, of probes and of DNS: for a capture that a person reads
	Filter   string // the effective capture filter, published in meshtls.coverage

	// Evidence, if set, is called for each alert about a connection, before its record is encoded. It returns the evidence that
	// was stored for the alert; the zero value if there is none. It must not call the Engine, nor retain its argument.
	Evidence func(*Alert) Evidence

	Now        func() time.Time        // the time for event.created; nil: packet time
	Emit       func(Record)            // called synchronously, in order; must not call the Engine
	Encode     Encoder                 // the format of Record.Value; nil: the record's own, that of the Elastic Common Schema
	Reuse      bool                    // Record.Value is valid during Emit only, which saves an allocation for each record
	Interfaces func() []InterfaceState // returns the states of the interfaces; called each second, and when a record needs them; nil for a file, which has no interfaces
	Coverage   func() Coverage         // totals since the start, called when a record needs them; nil: coverage is unknown
}

// Coverage holds totals since the start that show how much of the traffic was seen.
type Coverage struct {
	Packets  uint64 // packets seen
	Dropped  uint64 // packets lost because the ring was full
	Evicted  uint64 // connections evicted from the full table
	CutShort uint64 // streams of which only the start was read, because the buffers were full
	Older    uint64 // connections that started before the tap; the record of a window has this total too, not its growth
	Since    int64  // when the capture on all interfaces began, ns since the epoch: nothing earlier was seen; 0: unknown
	Foreign  uint64 // packets that were not examined, because their conversations do not involve the tapped pod

	// Uncaptured holds the names of the pod's network interfaces that are up and not captured now.
	// The record of a window has the names at the time when it is emitted.
	Uncaptured []string

	// Undecoded counts packets without TCP or UDP ports by protocol, such as "sctp" or
	// "link_type_195". The names consist of lower-case letters, digits and _.
	Undecoded map[string]uint64

	// Counters holds other published counters by name, such as those of the sink. The names consist
	// of lower-case letters, digits and _. Only the tap's own records contain them.
	Counters map[string]uint64
}

// An Alert is a finding that a person should look at.
type Alert struct {
	ID, Rule, Message string // event.id, rule.id and message of its record
	Key               string // Key of its Record
	Connection        *verdict.Judged
}

// Evidence describes the file with the packets of a finding's connection.
type Evidence = record.Evidence

// Engine turns judged connections into records. It is not safe for concurrent use.
type Engine struct {
	cfg    Config
	policy policy

	now           int64 // ns since the epoch; never goes back
	started       bool
	window        window
	period        window   // the posture interval
	delayed       []Record // records of the latest window, see Config.Delay
	delaying      bool     // records are added to delayed
	delayedUntil  int64    // when delayed is emitted
	nextHeartbeat int64    // when the next heartbeat is due
	due           int64    // until this time Tick only stores the time

	edges           map[string]*edge
	order           []*edge // the edges, sorted by key
	foldedEdges     int     // number of aggregate edges in edges
	liveConnections map[uint64]liveConnection
	liveByEdge      map[*edge][]uint64   // see liveOn; nil: out of date
	announced       map[groupKey][]*edge // see announcedEdges; nil: out of date
	totals          totals
	servers         servers
	severities      [ruleCount]severities
	blind           blindness
	overrides       overrides
	mutes           mutes
	folds           [ruleCount]fold

	capture   []byte // see Capture
	sequences map[string]uint64
	blank     record.Record // the members that all records have in common
	record    record.Record // the record under construction; equal to blank between records
	tls       record.TLS    // the value that record.TLS points to
	related   []netip.Addr  // the list of record.Related.IP
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
	cfg.Announcements = cmp.Or(cfg.Announcements, defaultAnnouncements)
	if cfg.Interval <= 0 {
		cfg.Interval = cfg.Window
	}
	cfg.Tap = cmp.Or(cfg.Tap, cfg.Identity.Run)
	if cfg.Redact == "" {
		cfg.Redact = RedactDefault
	}
	if cfg.Encode == nil {
		cfg.Encode = func(b []byte, r *record.Record) []byte { return r.AppendJSON(b) }
	}
	e := &Engine{
		cfg: cfg, policy: newPolicy(&cfg),
		edges: map[string]*edge{}, liveConnections: map[uint64]liveConnection{}, sequences: map[string]uint64{}, servers: servers{}, severities: severitiesOf(cfg.Severities),
	}
	e.blank = cfg.Identity.record()
	e.record = e.blank
	return e
}

// Add adds a connection. Call it when the verdict has settled, whenever the judgement changes
// later, and once when the connection has ended. All these calls have the same j.ID. j.Last
// advances the time as Tick does. Add does not retain j.
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
	e.liveByEdge = nil
	if e.cfg.Flows {
		if key == "" {
			key = string(e.appendKey(e.key[:0], j))
		}
		e.emitFlow(j, x, key)
	}
}

// Capture sets the identity of the capture file from which the following connections are read. It is part of
// event.id, so that records of two captures differ in it. The engine retains a copy.
func (e *Engine) Capture(identity []byte) { e.capture = append(e.capture[:0], identity...) }

// Tick advances the time to now, in ns since the epoch. It closes windows that are over and emits
// heartbeats. A time that is not later than the current one has no effect.
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
	e.closeWindows()
	e.endMutes()
	e.pollInterfaces()
	e.heartbeat()
	e.due = min(e.window.end, e.period.end)
	if e.mutes.nextEnd != 0 {
		e.due = min(e.due, e.mutes.nextEnd)
	}
	if len(e.delayed) > 0 {
		e.due = min(e.due, e.delayedUntil)
	}

	if e.cfg.Interfaces != nil {
		e.due = min(e.due, e.blind.next)
	}

	if e.cfg.Heartbeat > 0 {
		e.due = min(e.due, e.nextHeartbeat)
	}
}

// Flush closes the open window at the end of a capture or a run. Connections that are added
// later start a new window.
func (e *Engine) Flush(now int64) {
	e.startFirstWindow(now)
	e.Tick(now)
	e.emitDelayed()
	e.closePeriod(min(e.now, e.period.end), e.coverage())
	e.closeWindow(min(e.now, e.window.end), false)
	e.started, e.due = false, 0
}

// startFirstWindow opens the window that contains at, if no window is open.
func (e *Engine) startFirstWindow(at int64) {
	if e.started {
		return
	}
	e.started = true
	e.now = max(e.now, at)
	e.openWindow(e.now)
	e.openPeriod(e.window.before)
	e.window.from, e.period.from = e.now, e.now
	if e.totals.start == 0 {
		e.totals.start = e.now
	}
	if e.nextHeartbeat == 0 {
		e.nextHeartbeat = e.now + int64(e.cfg.Heartbeat)
	}
	e.endMutes()
}
