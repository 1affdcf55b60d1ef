package main

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// pipeline is what packets go through, from the table of connections to the records.
// Everything behind mu is synchronous: a packet that settles a verdict has had its
// record handed to the engine's Emit when add returns.
type pipeline struct {
	mu         sync.Mutex
	table      *flow.Table
	memory     dissect.Memory
	judge      *verdict.Judge
	engine     *finding.Engine
	seed       maphash.Seed
	interfaces []string        // their names, by flow.Packet.Interface; empty: not known
	failed     uint64          // connections that the dissector gave up on
	faults     uint64          // see contain
	latest     int64           // time of the latest packet that addAll has taken
	spare      []*connection   // that are over, for others to use
	fault      func(cause any) // is called at each, mu is held; nil: nothing
	defaultCut bool            // packets are cut by the default filter, and by nothing else

	// What all sessions may hold that are not settled, and what was concluded of the
	// others, in bytes. Beyond it connections are ended, those that were idle for longest
	// first.
	maxPending, maxConclusions int
}

// The bounds where memory has no limit, as for a file.
const (
	defaultPending     = 256 << 20
	defaultConclusions = 64 << 20
)

// newPipeline wires the stages. The caller gives what differs between a pod and a file.
func newPipeline(table flow.Config, judge verdict.Config, engine finding.Config) *pipeline {
	p := &pipeline{judge: verdict.New(judge), engine: finding.New(engine), seed: maphash.MakeSeed(), maxPending: defaultPending, maxConclusions: defaultConclusions}
	p.table = flow.NewTable(table, p)
	return p
}

// connection is what the pipeline keeps of a connection with payload. Of one that is
// settled and of which nothing more comes it keeps a verdict.Rest in place of it.
type connection struct {
	session  *dissect.Session
	revision uint32
	fin, rst [2]bool
	told     bool // the engine knows of it
	conflict bool // flow.Conn.Doubtful at the last look
	unheard  bool // verdict.Unheard at the last look
	said     said
}

// said is what the engine was told of a connection that is not over.
type said struct {
	verdict              verdict.Verdict
	class                string
	auth, basis, outcome string
}

func saidOf(j *verdict.Judged) said {
	s := said{verdict: j.Verdict, class: j.Class}
	if j.TLS != nil {
		s.auth, s.basis, s.outcome = j.TLS.ClientAuth, j.TLS.ClientAuthBasis, j.TLS.Outcome
	}
	return s
}

// add takes one packet.
func (p *pipeline) add(packet *flow.Packet) {
	defer p.contain()
	p.take(packet)
}

// addAll takes packets. The engine's time moves on with them.
func (p *pipeline) addAll(packets []flow.Packet) {
	for len(packets) > 0 {
		packets = packets[p.addSome(packets):]
	}
}

// addSome takes packets up to one that causes a panic, and returns how many that are.
func (p *pipeline) addSome(packets []flow.Packet) (n int) {
	defer p.contain()
	for n < len(packets) {
		packet := &packets[n]
		n++
		if packet.Time > p.latest {
			p.latest = packet.Time
			p.engine.Tick(p.latest)
		}
		p.take(packet)
	}
	return n
}

func (p *pipeline) take(packet *flow.Packet) {
	p.table.Add(packet)
	if p.memory.Held() > p.maxPending || p.judge.Held() > p.maxConclusions {
		p.shed()
	}
}

// shed ends connections until what is held is within its bounds.
func (p *pipeline) shed() {
	for more := true; more && p.memory.Held() > p.maxPending; {
		more = p.table.Shed(false)
	}
	for more := true; more && p.judge.Held() > p.maxConclusions; {
		more = p.table.Shed(true)
	}
}

// contain recovers from a panic that a packet caused, so that no packet ends the tap. It ends
// the connections in the table as if they had been evicted, and starts with an empty table.
func (p *pipeline) contain() {
	cause := recover()
	if cause == nil {
		return
	}
	p.faults++
	p.table.Renew()
	if p.fault != nil {
		p.fault(cause)
	}
}

// flush ends all connections.
func (p *pipeline) flush() {
	defer p.contain()
	p.table.Flush()
}

// tick moves the time on, in ns since the epoch.
func (p *pipeline) tick(now int64) {
	defer p.contain()
	p.table.Tick(now)
	p.engine.Tick(now)
}

// Data implements flow.Handler.
func (p *pipeline) Data(c *flow.Conn, s *flow.Segment) {
	x := p.of(c, s)
	if x == nil {
		return
	}
	if c.Thinned && !s.Cut && s.Gap > 0 { // what was left out is not lost
		x.session.Skip(dissect.Side(s.Side), s.Offset, s.Gap)
		s.Gap = 0
	}
	p.memory.Clock(s.Time)
	switch {
	case c.Transport == transportUDP:
		x.session.Datagram(dissect.Side(s.Side), s.Data)
	case s.Cut:
		x.session.Cut(dissect.Side(s.Side), s.Offset, s.Gap, p.defaultCut)
	default:
		x.session.Data(dissect.Side(s.Side), s.Offset, s.Data, s.Ack, s.Gap)
	}
	p.judge.Learn(c, x.session, s.Time)
	p.look(c, x)
}

// Changed implements flow.Handler.
func (p *pipeline) Changed(c *flow.Conn) {
	x, ok := c.User.(*connection)
	if !ok {
		p.contradicted(c)
		return
	}
	p.memory.Clock(c.Last)
	for side, end := range [2]*flow.Endpoint{&c.Orig, &c.Resp} {
		if end.FIN && !x.fin[side] {
			x.fin[side] = true
			x.session.Closed(dissect.Side(side), false)
		}
		if end.RST && !x.rst[side] {
			x.rst[side] = true
			x.session.Closed(dissect.Side(side), true)
		}
	}
	p.look(c, x)
}

// contradicted judges a settled connection again after its packets contradicted each other.
func (p *pipeline) contradicted(c *flow.Conn) {
	if x, ok := c.User.(*verdict.Rest); ok && c.Doubtful() {
		j := p.judge.JudgeRest(c, x, p.interfaceName(c), false)
		p.engine.Add(&j)
	}
}

// End implements flow.Handler.
func (p *pipeline) End(c *flow.Conn, why flow.EndReason) {
	var j verdict.Judged
	switch x := c.User.(type) {
	case *verdict.Rest:
		j = p.judge.JudgeRest(c, x, p.interfaceName(c), true)
		p.judge.Drop(x)
	case *connection:
		j = p.last(c, x, why)
		if x.session.Failed() {
			p.failed++
		}
		p.drop(x)
	default:
		j = p.judge.Judge(c, nil, p.interfaceName(c), true)
	}
	c.User = nil
	p.engine.Add(&j)
}

// last is the last judgement of a connection of which more could have come. One that had
// to make room has not ended, so nothing is concluded of how it ended.
func (p *pipeline) last(c *flow.Conn, x *connection, why flow.EndReason) verdict.Judged {
	j := p.judge.Judge(c, x.session, p.interfaceName(c), why != flow.EndEvicted)
	if why == flow.EndEvicted && !j.Settled {
		j.Reasons = append(slices.Clip(j.Reasons), "evicted")
	}
	j.Ended, j.Settled = true, true
	return j
}

const transportUDP = 17

// of returns what is kept of a connection with payload, nil if it is settled and s changes
// nothing.
func (p *pipeline) of(c *flow.Conn, s *flow.Segment) *connection {
	switch x := c.User.(type) {
	case *connection:
		return x
	case *verdict.Rest:
		if quiet(c, &x.Tail, s) {
			return nil
		}
		return p.resume(c, x)
	}
	x := p.connection()
	switch {
	case c.Transport == transportUDP:
		x.session.SetSource(p.source(c))
	case c.MissedStart:
		x.session.Midstream()
	}
	c.User = x
	return x
}

// maxSpare bounds the connections that are kept for others to use.
const maxSpare = 64

// connection returns one with an empty session.
func (p *pipeline) connection() *connection {
	var x *connection
	if last := len(p.spare) - 1; last >= 0 {
		x, p.spare = p.spare[last], p.spare[:last]
	} else {
		x = new(connection)
	}
	x.session = p.memory.New()
	return x
}

// drop takes a connection and its session that nobody will use any more.
func (p *pipeline) drop(x *connection) {
	x.session.Drop()
	if *x = (connection{}); len(p.spare) < maxSpare {
		p.spare = append(p.spare, x)
	}
}

// quiet reports whether s holds nothing but TLS of a connection whose TLS is followed.
func quiet(c *flow.Conn, f *dissect.Tail, s *flow.Segment) bool {
	side := dissect.Side(s.Side)
	switch {
	case c.Transport == transportUDP:
		return f.QuietDatagram(side, s.Data)
	case s.Cut:
		f.Cut(side, s.Gap)
		return true
	case c.Thinned && s.Gap > 0:
		return f.QuietBehind(side, s.Data, s.Gap)
	}
	return f.Quiet(side, s.Data, s.Gap)
}

// resume goes on with a settled connection whose TLS has ended, or begins anew.
func (p *pipeline) resume(c *flow.Conn, r *verdict.Rest) *connection {
	x := p.connection()
	x.fin, x.rst = [2]bool{c.Orig.FIN, c.Resp.FIN}, [2]bool{c.Orig.RST, c.Resp.RST}
	p.judge.Resume(c, r, x.session)
	c.User = x
	p.table.Undone(c)
	return x
}

// look judges a connection if what was seen of it since the last look can matter, and
// tells the engine once it is settled, and when what was settled has changed.
func (p *pipeline) look(c *flow.Conn, x *connection) {
	revision := x.session.Revision()
	unheard := verdict.Unheard(c)
	if revision == x.revision && c.Doubtful() == x.conflict && unheard == x.unheard {
		return
	}
	x.revision, x.conflict, x.unheard = revision, c.Doubtful(), unheard
	if !p.judge.Settled(c, x.session) {
		return
	}
	j := p.judge.Judge(c, x.session, p.interfaceName(c), false)
	if !j.Settled {
		return
	}
	if now := saidOf(&j); !x.told || now != x.said {
		x.told, x.said = true, now
		p.engine.Add(&j)
	}
	if x.session.Complete() && !verdict.Followed(&j) {
		x.session.Finish()
		if rest := p.judge.Rest(c, x.session); rest != nil {
			c.User = rest
			p.drop(x)
			p.table.Done(c, rest.Followed())
		}
	}
}

// source returns a number for who began a connection: 0 for the pod.
func (p *pipeline) source(c *flow.Conn) uint64 {
	if c.OrigLocal {
		return 0
	}
	return maphash.Comparable(p.seed, c.Orig.Addr) | 1
}

func (p *pipeline) interfaceName(c *flow.Conn) string {
	if int(c.Interface) < len(p.interfaces) {
		return p.interfaces[c.Interface]
	}
	return ""
}

// coverage is what the table knows of how much was seen.
func (p *pipeline) coverage() finding.Coverage {
	s := p.table.Stats()
	c := finding.Coverage{Packets: s.Packets, Evicted: s.Evicted, CutShort: s.CutShort, Foreign: s.Foreign, Counters: map[string]uint64{
		"fragments": s.Fragments, "reassembled_datagrams": s.Reassembled, "gap_bytes": s.GapBytes, "cut_bytes": s.CutBytes, "conflicting_segments": s.Conflicts, "dissector_failures": p.failed, "internal_faults": p.faults,
		"shed_connections": s.Shed, "refused_packets": s.Refused, "foreign_packets": s.Foreign, "thinned_bytes": s.ThinnedBytes,
		"bad_checksum_packets": s.BadChecksums, "unverified_checksum_packets": s.WrongSums, "unacceptable_segments": s.Outside,
	}}
	c.Counters["unanswered_packets"], c.Counters["unread_packets"] = p.memory.PutOff()
	for r, n := range s.Undecoded {
		if n > 0 {
			c.Counters["undecoded_"+flow.Reason(r).String()] = n
		}
	}
	c.Undecoded = undecodedNames(p.table.Undecoded())
	return c
}
