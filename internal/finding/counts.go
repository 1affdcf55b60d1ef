package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// verdictOrder are the verdicts, the worst first. Of an edge the worst that carried
// data stands for it: a refused handshake carried none, and what could not be judged
// is counted beside.
var verdictOrder = [verdicts]verdict.Verdict{verdict.Plaintext, verdict.TLS, verdict.Encrypted, verdict.MTLS, verdict.Failed, verdict.Unknown}

// verdictIndex is the place of a verdict in that order; what is not in it is unjudged.
func verdictIndex(v verdict.Verdict) int {
	if i := slices.Index(verdictOrder[:], v); i >= 0 {
		return i
	}
	return unjudgedBit
}

// traits are what counts of a connection, one bit for each.
type traits uint16

// The first bits are the verdicts in the order above, the last the rules that it broke.
const (
	plaintextBit = iota
	tlsBit
	encryptedBit
	mtlsBit
	failedBit
	unjudgedBit
	authUnknownBit // TLS that carried data, client authentication unknown
	notMutualBit   // TLS shown not to be mutual
	answeredBit    // cleartext that the server answered
	answeringBit   // plaintext of a connection whose SYN was answered
	spokenBit      // plaintext of a connection in which the pod itself has spoken, or both ends have
	missedStartBit // its start was missed
	gapBit         // bytes of it were missed
	ruleBit        // the first rule
	traitCount     = ruleBit + ruleCount

	verdicts = unjudgedBit + 1
)

// All traits have a bit: with more rules this does not compile until traits is wider.
const _ = traits(1 << (traitCount - 1))

func (t traits) has(bit int) bool { return t&(1<<bit) != 0 }

// verdict returns the index of the verdict.
func (t traits) verdict() int {
	for i := range verdicts {
		if t.has(i) {
			return i
		}
	}
	return unjudgedBit
}

// rank is how bad a connection is for its edge.
func (t traits) rank() int {
	switch {
	case t.has(plaintextBit):
		return 5
	case t.has(encryptedBit), t.has(notMutualBit):
		return 4
	case t.has(failedBit):
		return 3
	case t.has(tlsBit):
		return 2
	}
	return 1
}

// retentionRank is rank where edges compete for room. Anybody can send plaintext from any address:
// where nobody answered it is the least telling of all, and where the pod has spoken, or both
// ends have, it is the most telling.
func (t traits) retentionRank() int {
	switch {
	case t.has(spokenBit):
		return t.rank() + 1
	case t.has(plaintextBit) && !t.has(answeringBit):
		if t &^= 1 << plaintextBit; t&(1<<verdicts-1) == 0 {
			return 0
		}
	}
	return t.rank()
}

// spoken reports whether the pod itself has sent payload, or both ends have where it is not
// known which of them is the pod.
func spoken(j *verdict.Judged) bool {
	switch j.Direction {
	case verdict.DirectionEgress:
		return j.Source.Bytes > 0
	case verdict.DirectionIngress:
		return j.Destination.Bytes > 0
	}
	return j.Source.Bytes > 0 && j.Destination.Bytes > 0
}

// answering reports whether the start of a connection was seen, and packets of both ends.
func answering(j *verdict.Judged) bool {
	return !j.MissedStart && j.Source.Packets > 0 && j.Destination.Packets > 0
}

// traitsOf reads the traits of a connection that has a verdict, those of rules apart.
func traitsOf(j *verdict.Judged) traits {
	t := traits(1) << verdictIndex(j.Verdict)
	if j.MissedStart {
		t |= 1 << missedStartBit
	}
	if j.MissedBytes > 0 {
		t |= 1 << gapBit
	}
	if j.Verdict == verdict.Plaintext {
		if answering(j) {
			t |= 1 << answeringBit
		}
		if spoken(j) {
			t |= 1 << spokenBit
		}
	}
	switch {
	case j.Verdict == verdict.Plaintext && answered(j):
		t |= 1 << answeredBit
	case j.Verdict == verdict.TLS && j.TLS != nil:
		if notMutual(j) {
			t |= 1 << notMutualBit
		} else {
			t |= 1 << authUnknownBit
		}
	}
	return t
}

// notMutual reports whether a connection of TLS was shown not to be mutual. A connection
// that the server may have refused because it lacked a certificate may have been no session.
func notMutual(j *verdict.Judged) bool {
	switch j.TLS.ClientAuth {
	case verdict.AuthDeclined, verdict.AuthNotRequested:
		return !slices.Contains(j.Reasons, "refused_or_closed")
	}
	return false
}

// answered reports whether the server took cleartext for an answer: it sent a response that
// is no refusal by TLS or by status 400, with which proxies meet cleartext on a TLS port.
func answered(j *verdict.Judged) bool {
	if j.HTTP != nil {
		return j.HTTP.Status != 0 && j.HTTP.Status != 400
	}
	return j.Destination.Bytes > 0 && !slices.Contains(j.Reasons, "cleartext_answer_to_hello")
}

// counts are the connections of an edge by trait. A connection counts in each window
// in which it lived; its bytes count where it was last heard of.
type counts struct {
	live        [traitCount]uint64 // in the table now
	ended       [traitCount]uint64 // ended in this window
	past        [traitCount]uint64 // ended in the whole run
	windowBytes [verdicts]uint64   // heard of in this window
	totalBytes  [verdicts]uint64   // in the whole run
}

// liveConnection is a connection that is in the table.
type liveConnection struct {
	edge   *edge
	traits traits
	bytes  uint64
}

func (c *counts) add(t traits) {
	for i := range c.live {
		if t.has(i) {
			c.live[i]++
		}
	}
}

func (c *counts) remove(t traits) {
	for i := range c.live {
		if t.has(i) {
			c.live[i]--
		}
	}
}

// endConnection moves a connection from the living to the ended.
func (c *counts) endConnection(t traits) {
	c.remove(t)
	for i := range c.ended {
		if t.has(i) {
			c.ended[i]++
			c.past[i]++
		}
	}
}

func (c *counts) addBytes(v int, n uint64) {
	c.windowBytes[v] += n
	c.totalBytes[v] += n
}

// subtractBytes takes back what a connection carried under a verdict that it lost.
func (c *counts) subtractBytes(v int, n uint64) {
	c.windowBytes[v] -= min(n, c.windowBytes[v])
	c.totalBytes[v] -= min(n, c.totalBytes[v])
}

// window is how many connections of this window have a trait; run, of the whole run.
func (c *counts) window(bit int) uint64 { return c.live[bit] + c.ended[bit] }
func (c *counts) run(bit int) uint64    { return c.live[bit] + c.past[bit] }

// connected reports whether a connection is in the table.
func (c *counts) connected() bool {
	return slices.ContainsFunc(c.live[:verdicts], func(n uint64) bool { return n > 0 })
}

func (c *counts) startWindow() { c.ended, c.windowBytes = [traitCount]uint64{}, [verdicts]uint64{} }

// inWindow is how many connections with a verdict the edge had in this window.
func (g *edge) inWindow() uint64 {
	var n uint64
	for v := range verdicts {
		n += g.counts.window(v)
	}
	return n
}

// judged is how many of them could be judged.
func (g *edge) judged() uint64 { return g.inWindow() - g.counts.window(unjudgedBit) }

// worst is the index of the verdict that stands for the edge.
func worst(of func(bit int) uint64) int {
	for v := range verdicts {
		if of(v) > 0 {
			return v
		}
	}
	return unjudgedBit
}

// startWindow makes the edge ready for the next window.
func (g *edge) startWindow() {
	for i := range g.proofs {
		g.proofs[i].startWindow()
	}
	g.previousPeak, g.peak = g.peak, 0
	g.counts.startWindow()
	for v := range verdicts {
		if g.counts.live[v] > 0 {
			g.peak = max(g.peak, (traits(1) << v).rank())
		}
	}
	if g.counts.live[notMutualBit] > 0 {
		g.peak = max(g.peak, (traits(1) << notMutualBit).rank())
	}
}
