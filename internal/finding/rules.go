package finding

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// rule is a condition that a connection can break. schema/README.md explains each rule, under the heading
// that its reference names.
type rule struct {
	id, name string
	hits     severities
}

// severities holds the event.severity of a hit for each expectation. With severity 0, the
// connection breaks no rule.
type severities struct{ mtls, tls, undeclared int }

func (s *severities) severityFor(x Expect) int {
	switch x {
	case ExpectMTLS:
		return s.mtls
	case ExpectTLS:
		return s.tls
	case ExpectUndeclared:
		return s.undeclared
	default:
		return 0
	}
}

// The rules, in the order of their bits in traits.
const (
	plaintextEdge = iota
	tlsNotMutual
	mtlsDowngrade
	ruleCount
)

// rules lists the rules with their severities, which are the steps of Elastic's detection rules: 21 low, 47
// medium, 73 high, 99 critical.
var rules = [ruleCount]rule{
	plaintextEdge: {"plaintext-edge", "Plaintext between workloads", severities{mtls: 73, tls: 47, undeclared: 21}},
	tlsNotMutual:  {"tls-not-mutual", "TLS without a client certificate where mutual TLS is expected", severities{mtls: 47}},
	mtlsDowngrade: {"mtls-downgrade", "A peer that spoke mutual TLS speaks something less", severities{mtls: 73, tls: 73, undeclared: 73}},
}

// Rules returns every rule.id that a finding can have.
func Rules() []string {
	ids := make([]string, ruleCount, ruleCount+1)
	for r := range rules {
		ids[r] = rules[r].id
	}
	return append(ids, tapBlind.id)
}

const referenceBase = "https://github.com/meshtls-tap/meshtls-tap/blob/main/schema/README.md#"

// ruled reports whether the rules apply to a connection: it is between workloads, on the wire.
func ruled(j *verdict.Judged) bool {
	return j.Scope == verdict.ScopeWire && j.Class == "workload"
}

// applies reports whether a connection with traits t fulfills the condition of rule r, which is not
// mtlsDowngrade.
func applies(r int, t traits) bool {
	switch r {
	case plaintextEdge:
		return t.has(plaintextBit)
	case tlsNotMutual:
		return t.has(notMutualBit)
	}
	return false
}

// applyRules applies the rules to a connection and emits findings that open or become more severe. It
// returns t with the bits of the rules that the connection breaks. A connection counts at most once for
// each rule. Its hit is retracted if a later judgement shows that the connection does not break the rule.
func (e *Engine) applyRules(g *edge, t traits, was *liveConnection, j *verdict.Judged, x Expect) traits {
	downgraded := ruled(j) && e.isDowngraded(g, t, was, j)
	for r := range rules {
		bit := ruleBit + r
		severity := 0
		if ruled(j) {
			severity = rules[r].hits.severityFor(x)
		}
		before := was.edge == g && was.traits.has(bit)
		hit := severity > 0 && (r == mtlsDowngrade && downgraded || applies(r, t) && (!downgraded || !e.isCovered(r)))
		counted := was.edge != nil && was.traits.has(bit)
		if counted && (!hit || !before) {
			e.retractHit(was.edge, r)
		}
		if hit {
			t |= 1 << bit
		}
		if hit && !before {
			e.addHits(g, r, j, x, severity, 1)
		}
	}

	if downgraded && g.findings[mtlsDowngrade] != nil {
		g.findings[mtlsDowngrade].setCovered(t, x)
	}
	if t.lesser() && ruled(j) {
		g.proofOf(partyOf(j), e.now).recordLesser()
	}
	return t
}

// reapplyRules applies the rules to live connections again, after a mesh was first seen at this
// pod. From then on, connections without a declared expectation are expected to be mutual TLS.
func (e *Engine) reapplyRules() {
	for _, g := range e.order {
		for v, j := range g.latest {
			if j == nil || g.counts.live[v] == 0 || !ruled(j) {
				continue
			}
			x := e.policy.expectationOf(j)
			g.expect = stricter(g.expect, x)
			if f := g.findings[mtlsDowngrade]; f != nil && f.open {
				e.raiseSeverity(g, mtlsDowngrade, f, x)
			}
			switch f := g.findings[plaintextEdge]; {
			case v != plaintextBit:
			case f != nil && f.open:
				e.raiseSeverity(g, plaintextEdge, f, x)
			default:
				e.applyRuleToLive(g, plaintextEdge, plaintextBit, j, x)
			}
			if n := g.counts.live[notMutualBit]; v == tlsBit && n > 0 && j.TLS != nil {
				e.applyTLSNotMutual(g, j, x)
			}
		}
	}
}

// raiseSeverity emits an open finding at once, within the budget of the window, if the expectation makes it
// more severe.
func (e *Engine) raiseSeverity(g *edge, r int, f *openFinding, x Expect) {
	if s := rules[r].hits.severityFor(x); s > f.severity {
		f.severity, f.expect = s, x
		n := f.count
		if f.folded {
			n = 0 // the rule's fold has already counted the finding's hits
		}
		e.announce(g, r, f, n)
	}
}

// applyTLSNotMutual applies the rule tls-not-mutual to the live connections of an edge that were shown not
// to be mutual TLS.
func (e *Engine) applyTLSNotMutual(g *edge, j *verdict.Judged, x Expect) {
	e.applyRuleToLive(g, tlsNotMutual, notMutualBit, j, x)
}

// applyRuleToLive applies a rule to the live connections of an edge that have a trait. It leaves out those
// that a finding of mtlsDowngrade covers.
func (e *Engine) applyRuleToLive(g *edge, r, trait int, j *verdict.Judged, x Expect) {
	severity := rules[r].hits.severityFor(x)
	alive := &g.counts.live
	left := alive[trait] - alive[ruleBit+r] // connections that break the rule have the trait
	if severity == 0 || left == 0 {
		return
	}

	covered := e.isCovered(r)
	var n uint64
	for id, l := range e.liveConnections {
		if n == left {
			break
		}
		if covered && l.traits.has(ruleBit+mtlsDowngrade) {
			continue
		}
		if l.edge.current() == g && l.traits.has(trait) && !l.traits.has(ruleBit+r) {
			l.traits |= 1 << (ruleBit + r)
			e.liveConnections[id] = l
			alive[ruleBit+r]++
			n++
		}
	}

	if n > 0 {
		e.addHits(g, r, j, x, severity, n)
	}
}

// protocolNames maps network.protocol to the usual spelling.
var protocolNames = map[string]string{
	"http": "HTTP", "http2": "HTTP/2", "grpc": "gRPC", "websocket": "WebSocket", "postgresql": "PostgreSQL", "mysql": "MySQL", "redis": "Redis",
	"kafka": "Kafka", "mongodb": "MongoDB", "amqp": "AMQP", "nats": "NATS", "mqtt": "MQTT", "smtp": "SMTP", "imap": "IMAP", "pop3": "POP3",
	"ftp": "FTP", "ldap": "LDAP", "dns": "DNS", "xmpp": "XMPP", "irc": "IRC", "socks": "SOCKS", "ssh": "SSH", "tls": "TLS", "quic": "QUIC", "dtls": "DTLS",
}

// ProtocolName returns the usual spelling of a network.protocol.
func ProtocolName(protocol string) string {
	if name := protocolNames[protocol]; name != "" {
		return name
	}
	return protocol
}

// describe returns the words for a connection in a sentence, such as "HTTP in plaintext" or
// "TLS 1.3 without a client certificate (the server did not ask for one)".
func describe(j *verdict.Judged) string {
	if j.Verdict == verdict.Plaintext && slices.Contains(j.Reasons, "cipher_without_encryption") {
		return ProtocolName(j.Protocol) + " without encryption"
	}

	if j.Verdict == verdict.Plaintext {
		return cmp.Or(ProtocolName(j.Protocol), "readable text") + " in plaintext"
	}

	version, why := "TLS", ""
	if j.TLS == nil {
		return version
	}

	if j.TLS.VersionProtocol == "ssl" {
		version = "SSL"
	}

	if j.TLS.Version != "" {
		version += " " + j.TLS.Version
	}

	switch j.TLS.ClientAuth {
	case verdict.AuthNotRequested:
		why = "the server did not ask for one"
	case verdict.AuthDeclined:
		why = "the client declined"
	default:
		return version
	}
	return fmt.Sprintf("%s without a client certificate (%s)", version, why)
}
