package pipeline

import (
	"hash/maphash"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// transportUDP is UDP's IP protocol number, as flow.Conn.Transport has it.
const transportUDP = 17

// tracker follows each connection from its first payload to its end. It implements flow.Handler.
type tracker struct {
	table         *flow.Table
	sessions      dissect.Pool
	judge         *verdict.Judge
	engine        *finding.Engine
	judged        func(*verdict.Judged) // Config.Judged
	ended         func(uint64)          // Config.Ended
	judgement     verdict.Judged        // the one in work; here, because one on the stack would be moved to the heap
	interfaces    []string              // names, by flow.Packet.Interface
	seed          maphash.Seed
	defaultFilter bool          // Config.DefaultFilter
	released      []*connection // released connections, for reuse
	failed        uint64        // connections whose dissector failed
}

// connection is the state of a connection with payload, stored in flow.Conn.User. Once its session is finished and
// no more bytes of the session can change the verdict, a verdict.Conclusion replaces this state.
type connection struct {
	session  *dissect.Session
	fin, rst [2]bool // whether FIN and RST were passed to the session, by side

	// The inputs of the last judgement. If one of them changes, the connection is judged again.
	revision uint32 // dissect.Session.Revision
	doubtful bool   // flow.Conn.Doubtful
	unheard  bool   // Judge.MayBeTurnedAway

	isReported bool // the engine has been given a judgement
	report     reported
}

// reported holds the parts of the judgement that was last passed to the engine. If one of them
// changes, the new judgement is passed too.
type reported struct {
	verdict              verdict.Verdict
	class                string
	auth, basis, outcome string
	credentials          uint32 // verdict.Judged.Credentials
	credentialsRead      bool
}

func reportOf(j *verdict.Judged) reported {
	r := reported{verdict: j.Verdict, class: j.Class, credentials: uint32(j.Credentials), credentialsRead: j.CredentialsRead}
	if j.TLS != nil {
		r.auth, r.basis, r.outcome = j.TLS.ClientAuth, j.TLS.ClientAuthBasis, j.TLS.Outcome
	}
	return r
}

// Data implements flow.Handler.
func (t *tracker) Data(c *flow.Conn, s *flow.Segment) {
	x := t.connectionOf(c, s)
	if x == nil {
		return
	}

	side := dissect.Side(s.Side)
	if c.Thinned && !s.Truncated && s.Gap > 0 { // the kernel left these bytes out because of thinning: they are not lost
		x.session.Skip(side, s.Offset, s.Gap)
		s.Gap = 0
	}

	t.sessions.Clock(s.Time)
	switch {
	case c.Transport == transportUDP:
		x.session.Datagram(side, s.Data)
	case s.Truncated:
		x.session.Truncated(side, s.Offset, s.Gap, t.defaultFilter)
	default:
		x.session.Data(side, s.Offset, s.Data, s.Ack, s.Gap)
	}

	t.judge.Learn(c, x.session, s.Time)
	t.update(c, x)
}

// Changed implements flow.Handler.
func (t *tracker) Changed(c *flow.Conn) {
	x, ok := c.User.(*connection)
	if !ok {
		t.reportContradiction(c)
		return
	}

	t.sessions.Clock(c.Last)
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
	t.update(c, x)
}

// End implements flow.Handler.
func (t *tracker) End(c *flow.Conn, why flow.EndReason) {
	j := &t.judgement
	switch x := c.User.(type) {
	case *verdict.Conclusion:
		*j = t.judge.JudgeConclusion(c, x, t.interfaceName(c.Interface), true)
		t.judge.Release(x)
	case *connection:
		*j = t.judgeEnd(c, x, why)
		if x.session.Failed() {
			t.failed++
		}
		t.release(x)
	default:
		*j = t.judge.Judge(c, nil, t.interfaceName(c.Interface), true)
	}
	c.User = nil
	t.passOn()
	if t.ended != nil {
		t.ended(c.ID)
	}
}

// judgeEnd judges a connection with a session for the last time. An evicted connection may continue unseen, so its
// eviction is not passed to Judge as an end.
func (t *tracker) judgeEnd(c *flow.Conn, x *connection, why flow.EndReason) verdict.Judged {
	j := t.judge.Judge(c, x.session, t.interfaceName(c.Interface), why != flow.EndEvicted)
	if why == flow.EndEvicted && !j.Settled {
		j.Reasons = append(slices.Clip(j.Reasons), "evicted")
	}
	j.Ended, j.Settled = true, true
	return j
}

// connectionOf returns the state of c. It returns nil if c is settled and s changes nothing.
func (t *tracker) connectionOf(c *flow.Conn, s *flow.Segment) *connection {
	switch x := c.User.(type) {
	case *connection:
		return x
	case *verdict.Conclusion:
		if isQuiet(c, &x.Tail, s) {
			return nil
		}
		return t.resumeSession(c, x)
	}
	return t.startSession(c)
}

// startSession starts the session of a connection at its first payload.
func (t *tracker) startSession(c *flow.Conn) *connection {
	x := t.newConnection()
	switch {
	case c.Transport == transportUDP:
		x.session.SetSource(t.source(c))
	case c.MissedStart:
		x.session.Midstream()
	}
	c.User = x
	return x
}

// resumeSession continues the session of a settled connection when a segment holds something other than
// TLS records.
func (t *tracker) resumeSession(c *flow.Conn, r *verdict.Conclusion) *connection {
	x := t.newConnection()
	x.fin, x.rst = [2]bool{c.Orig.FIN, c.Resp.FIN}, [2]bool{c.Orig.RST, c.Resp.RST}
	t.judge.Resume(c, r, x.session)
	c.User = x
	t.table.Undone(c)
	return x
}

// maxReleased bounds the released connections that are kept for reuse.
const maxReleased = 64

// newConnection returns a connection with an empty session.
func (t *tracker) newConnection() *connection {
	var x *connection
	if last := len(t.released) - 1; last >= 0 {
		x, t.released = t.released[last], t.released[:last]
	} else {
		x = new(connection)
	}
	x.session = t.sessions.New()
	return x
}

// release releases a connection and its session. Nothing may use them afterwards.
func (t *tracker) release(x *connection) {
	x.session.Drop()
	if *x = (connection{}); len(t.released) < maxReleased {
		t.released = append(t.released, x)
	}
}

// isQuiet reports whether s holds only TLS records of a settled connection. It advances tail past them.
func isQuiet(c *flow.Conn, tail *dissect.Tail, s *flow.Segment) bool {
	side := dissect.Side(s.Side)
	switch {
	case c.Transport == transportUDP:
		return tail.QuietDatagram(side, s.Data)
	case s.Truncated:
		tail.Truncated(side, s.Gap)
		return true
	case c.Thinned && s.Gap > 0:
		return tail.QuietAfterSkip(side, s.Data, s.Gap)
	}
	return tail.Quiet(side, s.Data, s.Gap)
}

// update judges c if an input of the judgement has changed. It reports the judgement once it has settled,
// and again whenever a settled judgement changes.
func (t *tracker) update(c *flow.Conn, x *connection) {
	revision, doubtful, unheard := x.session.Revision(), c.Doubtful(), t.judge.MayBeTurnedAway(c)
	if revision == x.revision && doubtful == x.doubtful && unheard == x.unheard {
		return
	}
	x.revision, x.doubtful, x.unheard = revision, doubtful, unheard

	if !t.judge.Settled(c, x.session) {
		return
	}
	j := &t.judgement
	*j = t.judge.Judge(c, x.session, t.interfaceName(c.Interface), false)
	if !j.Settled {
		return
	}
	if now := reportOf(j); !x.isReported || now != x.report {
		x.isReported, x.report = true, now
		t.passOn()
	}
	if x.session.Complete() && !verdict.ClassMayChange(j) {
		t.finishSession(c, x)
	}
}

// finishSession finishes the session of a settled connection. If the rest of the session cannot change the
// verdict, only its conclusion is kept.
func (t *tracker) finishSession(c *flow.Conn, x *connection) {
	x.session.Finish()
	conclusion := t.judge.Conclude(c, x.session)
	if conclusion == nil {
		return
	}
	c.User = conclusion
	t.release(x)
	t.table.Done(c, conclusion.TailCounts())
}

// reportContradiction reports a settled connection again if its packets have contradicted each other.
func (t *tracker) reportContradiction(c *flow.Conn) {
	if conclusion, ok := c.User.(*verdict.Conclusion); ok && c.Doubtful() {
		t.judgement = t.judge.JudgeConclusion(c, conclusion, t.interfaceName(c.Interface), false)
		t.passOn()
	}
}

// passOn passes t.judgement to the engine or to Config.Judged.
func (t *tracker) passOn() {
	if t.judged == nil {
		t.engine.Add(&t.judgement)
		return
	}
	t.judged(&t.judgement)
}

// source returns a number that identifies the originator of a connection: 0 for the pod.
func (t *tracker) source(c *flow.Conn) uint64 {
	if c.OrigLocal {
		return 0
	}
	return maphash.Comparable(t.seed, c.Orig.Addr) | 1
}

// interfaceName returns the name of an interface, empty if it is unknown.
func (t *tracker) interfaceName(iface uint16) string {
	if int(iface) < len(t.interfaces) {
		return t.interfaces[iface]
	}
	return ""
}
