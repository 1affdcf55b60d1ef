package finding

import (
	"math/bits"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// verdictOrder lists the verdicts, the worst first. The verdict of an edge is the worst one of
// its connections. Failed and unknown come last: a failed handshake carried no data, and an
// unjudged connection shows nothing.
var verdictOrder = [verdicts]verdict.Verdict{verdict.Plaintext, verdict.TLS, verdict.Encrypted, verdict.MTLS, verdict.Failed, verdict.Unknown}

// verdictIndex returns the index of a verdict in verdictOrder, unjudgedBit if it has none.
func verdictIndex(v verdict.Verdict) int {
	if i := slices.Index(verdictOrder[:], v); i >= 0 {
		return i
	}
	return unjudgedBit
}

// traits is a set of properties of a connection, with one bit for each property. An edge counts its
// connections by these properties.
type traits uint64

// The first bits are the verdicts in verdictOrder. The last bits are the rules that the connection
// broke.
const (
	plaintextBit = iota
	tlsBit
	encryptedBit
	mtlsBit
	failedBit
	unjudgedBit
	authUnknownBit                              // TLS that carried data, client authentication unknown
	notMutualBit                                // TLS shown not to be mutual
	answeredBit                                 // plaintext that the server accepted, see answered
	answeringBit                                // plaintext on a connection whose SYN was answered, see answering
	spokenBit                                   // plaintext on a connection with payload from the pod, see spoken
	missedStartBit                              // the connection's start was not captured
	gapBit                                      // some of the connection's bytes were not captured
	credentialsBit                              // the client sent credentials in plaintext
	unreadBit                                   // unjudged, because no end has read the payload
	retryBit                                    // the server asked for a second ClientHello
	seenBit                                     // the first fact that rules need, where it was seen, see fact
	hiddenBit      = seenBit + int(factCount)   // the first fact, where it existed and was not seen
	ruleBit        = hiddenBit + int(factCount) // the first rule
	traitCount     = ruleBit + ruleCount

	verdicts = unjudgedBit + 1
)

// This does not compile if the type traits has fewer bits than there are traits.
const _ = traits(1 << (traitCount - 1))

func (t traits) has(bit int) bool { return t&(1<<bit) != 0 }

// verdict returns the index of the connection's verdict in verdictOrder.
func (t traits) verdict() int {
	for i := range verdicts {
		if t.has(i) {
			return i
		}
	}
	return unjudgedBit
}

// rank returns how bad a connection is for its edge, from 1 (best) to 5 (plaintext).
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

// retentionRank ranks a connection for the choice of edges to fold when there are too many: edges with
// higher ranks keep their names. It equals rank except for plaintext. Anybody can send plaintext from
// any address, so plaintext that nobody answered has the lowest rank, 0. Plaintext on a connection
// with payload from the pod itself has the highest.
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

// spoken reports whether the pod sent payload. If the direction is unknown, it reports whether both
// ends sent payload.
func spoken(j *verdict.Judged) bool {
	switch j.Direction {
	case verdict.DirectionEgress:
		return j.Source.Bytes > 0
	case verdict.DirectionIngress:
		return j.Destination.Bytes > 0
	}
	return j.Source.Bytes > 0 && j.Destination.Bytes > 0
}

// answering reports whether the start of a connection and packets of both ends were seen.
func answering(j *verdict.Judged) bool {
	return !j.MissedStart && j.Source.Packets > 0 && j.Destination.Packets > 0
}

// traitsOf returns the traits of a connection with a verdict, without the bits of rules.
func traitsOf(j *verdict.Judged) traits {
	t := traits(1)<<verdictIndex(j.Verdict) | factTraits(j)
	if j.MissedStart {
		t |= 1 << missedStartBit
	}

	if j.MissedBytes > 0 {
		t |= 1 << gapBit
	}

	if j.Credentials != 0 {
		t |= 1 << credentialsBit
	}

	if j.TLS != nil && j.TLS.HelloRetry {
		t |= 1 << retryBit
	}

	if j.Verdict == verdict.Unknown && (slices.Contains(j.Reasons, "never_answered") || slices.Contains(j.Reasons, "answered_by_resets")) {
		t |= 1 << unreadBit
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

// notMutual reports whether a TLS connection was shown not to be mutual. It returns false if the server may have refused the
// connection because the client sent no certificate: perhaps no session existed. A server that requests none does not refuse for that.
func notMutual(j *verdict.Judged) bool {
	switch j.TLS.ClientAuth {
	case verdict.AuthDeclined:
		return j.TLS.Established && !slices.Contains(j.Reasons, "refused_or_closed")
	case verdict.AuthNotRequested:
		return !slices.Contains(j.Reasons, "refused_or_closed")
	}
	return false
}

// answered reports whether the server accepted plaintext. It did if its response was neither a TLS
// refusal nor HTTP status 400, with which proxies reject plaintext on a TLS port.
func answered(j *verdict.Judged) bool {
	if j.HTTP != nil {
		return j.HTTP.Status != 0 && j.HTTP.Status != 400
	}
	return j.Destination.Bytes > 0 && !slices.Contains(j.Reasons, "cleartext_answer_to_hello")
}

// counts holds the number of connections of an edge by trait. A connection counts in each window, and in each
// posture interval, in which it was open. Its bytes count in those in which they were reported.
type counts struct {
	live        [traitCount]uint64 // connections that are in the flow table now
	ended       [traitCount]uint64 // connections that ended in this window
	periodEnded [traitCount]uint64 // connections that ended in this posture interval
	past        [traitCount]uint64 // connections that ended in the whole run
	windowBytes [verdicts]uint64   // bytes reported in this window
	periodBytes [verdicts]uint64   // bytes reported in this posture interval
	totalBytes  [verdicts]uint64   // bytes reported in the whole run
}

// liveConnection is a connection in the flow table, with its share of the counts.
type liveConnection struct {
	edge   *edge
	traits traits
	bytes  uint64
}

func (c *counts) add(t traits) {
	for ; t != 0; t &= t - 1 {
		c.live[bits.TrailingZeros64(uint64(t))]++
	}
}

func (c *counts) remove(t traits) {
	for ; t != 0; t &= t - 1 {
		c.live[bits.TrailingZeros64(uint64(t))]--
	}
}

// endConnection moves a connection from the live connections to the ended ones. inWindow and inPeriod report
// whether it counts in this window and in this posture interval.
func (c *counts) endConnection(t traits, inWindow, inPeriod bool) {
	c.remove(t)
	for ; t != 0; t &= t - 1 {
		i := bits.TrailingZeros64(uint64(t))
		c.past[i]++
		if inWindow {
			c.ended[i]++
		}
		if inPeriod {
			c.periodEnded[i]++
		}
	}
}

func (c *counts) addBytes(v int, n uint64) {
	c.windowBytes[v] += n
	c.periodBytes[v] += n
	c.totalBytes[v] += n
}

// subtractBytes subtracts n bytes from verdict v, because their connection now has another verdict
// or edge.
func (c *counts) subtractBytes(v int, n uint64) {
	c.windowBytes[v] -= min(n, c.windowBytes[v])
	c.periodBytes[v] -= min(n, c.periodBytes[v])
	c.totalBytes[v] -= min(n, c.totalBytes[v])
}

// window returns the number of connections of this window that have a trait. period returns the same number
// for this posture interval, and run for the whole run.
func (c *counts) window(bit int) uint64 { return c.live[bit] + c.ended[bit] }
func (c *counts) period(bit int) uint64 { return c.live[bit] + c.periodEnded[bit] }
func (c *counts) run(bit int) uint64    { return c.live[bit] + c.past[bit] }

// connected reports whether any connection is in the flow table.
func (c *counts) connected() bool {
	return slices.ContainsFunc(c.live[:verdicts], func(n uint64) bool { return n > 0 })
}

func (c *counts) startWindow() { c.ended, c.windowBytes = [traitCount]uint64{}, [verdicts]uint64{} }

// judged returns the number of connections in this window whose verdict is not unknown.
func (g *edge) judged() uint64 { return allOf(g.counts.window) - g.counts.window(unjudgedBit) }

// allOf returns the number of connections with a verdict, unknown included.
func allOf(of func(bit int) uint64) uint64 {
	var n uint64
	for v := range verdicts {
		n += of(v)
	}
	return n
}

// worst returns the index of the worst verdict among an edge's connections, which is the edge's
// verdict. It returns unjudgedBit if no connection has a verdict.
func worst(of func(bit int) uint64) int {
	for v := range verdicts {
		if of(v) > 0 {
			return v
		}
	}
	return unjudgedBit
}

// startWindow prepares the edge for the next window.
func (g *edge) startWindow() {
	for i := range g.proofs {
		g.proofs[i].startWindow()
	}
	for i := range g.groups {
		g.groups[i].startWindow()
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
