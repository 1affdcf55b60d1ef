package finding

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// rule is one way for a connection to be at fault. What its hits mean stands in
// schema/README.md, which its reference points to.
type rule struct {
	id, name string
	// severity of a hit by what is expected; 0: no hit.
	severity func(x Expect) int
}

// The rules, in the order of their bits in traits.
const (
	plaintextEdge = iota
	tlsNotMutual
	mtlsDowngrade
	ruleCount
)

// rules and their severities. The steps are those of Elastic's detection rules (21 low,
// 47 medium, 73 high), with 60 between for cleartext to the internet and 20 where
// nobody declared anything.
var rules = [ruleCount]rule{
	plaintextEdge: {id: "plaintext-edge", name: "Cleartext between workloads", severity: func(x Expect) int {
		return map[Expect]int{ExpectMTLS: 73, ExpectTLS: 60, ExpectUndeclared: 20}[x]
	}},
	tlsNotMutual: {id: "tls-not-mutual", name: "TLS without a client certificate where mutual TLS is expected", severity: func(x Expect) int {
		return map[Expect]int{ExpectMTLS: 47}[x]
	}},
	mtlsDowngrade: {id: "mtls-downgrade", name: "An edge that was mutual TLS is something less", severity: func(x Expect) int {
		return map[Expect]int{ExpectMTLS: 73, ExpectTLS: 60, ExpectUndeclared: 60}[x]
	}},
}

const referenceBase = "https://github.com/meshtls-tap/meshtls-tap/blob/main/schema/README.md#"

func (r *rule) encode(enc *encoder) {
	enc.open("rule")
	enc.str("id", r.id)
	enc.str("name", r.name)
	enc.str("reference", referenceBase+r.id)
	enc.close()
}

// subject tells that rules look at a connection: between workloads, on the wire.
func ruled(j *verdict.Judged) bool {
	return j.Scope == verdict.ScopeWire && j.Class == "workload"
}

// applies tells that a connection with traits t on edge g has what rule r is about.
func (g *edge) applies(r int, t traits, j *verdict.Judged) bool {
	plain := t.has(verdictIndex(verdict.Plaintext))
	switch r {
	case plaintextEdge:
		return plain
	case tlsNotMutual:
		return t.has(notMutualBit)
	case mtlsDowngrade:
		f := g.faults[mtlsDowngrade]
		changed := g.clean && g.firstProof != 0 && j.Start >= g.firstProof
		return (plain || t.has(notMutualBit)) && (changed || f != nil && f.open)
	}
	return false
}

// breaks holds a connection to the rules, emits the findings that leave at once, and
// returns t with the bits of the rules that it breaks. A connection that was counted
// before is not counted again.
func (e *Engine) breaks(g *edge, t traits, j *verdict.Judged, x Expect) traits {
	for r := range rules {
		bit := traits(1) << (ruleBit + r)
		severity := 0
		if ruled(j) {
			severity = rules[r].severity(x)
		}
		if t&bit != 0 && r == mtlsDowngrade && (t.has(verdictIndex(verdict.Plaintext)) || t.has(notMutualBit)) {
			continue // it was a change when it came
		}
		switch {
		case severity == 0 || !g.applies(r, t, j):
			t &^= bit
		case t&bit == 0:
			t |= bit
			e.hit(g, r, j, x, severity, 1)
		}
	}
	if t.has(verdictIndex(verdict.Plaintext)) || t.has(notMutualBit) {
		g.clean = false
	}
	return t
}

// reconsider looks again at what lives when a mesh was seen at this pod for the first
// time: what nothing was expected of is now expected to be mutual TLS.
func (e *Engine) reconsider() {
	for _, g := range e.order {
		for v, j := range g.last {
			if j == nil || g.counts.live[v] == 0 || !ruled(j) {
				continue
			}
			x := e.policy.of(j)
			g.expect = stricter(g.expect, x)
			if f := g.faults[plaintextEdge]; verdictOrder[v] == verdict.Plaintext && f != nil && f.open {
				e.escalate(g, plaintextEdge, f, x)
			}
			if n := g.counts.live[notMutualBit]; verdictOrder[v] == verdict.TLS && n > 0 && j.TLS != nil {
				e.convict(g, j, x)
			}
		}
	}
}

// escalate reports an open fault at once when it has become more severe.
func (e *Engine) escalate(g *edge, r int, f *fault, x Expect) {
	if s := rules[r].severity(x); s > f.severity {
		f.severity, f.expect = s, x
		e.emitFinding(g, r, f, stateOngoing, e.now, e.covered(e.now))
	}
}

// convict holds the living connections of an edge that were shown not to be mutual to
// the rule tls-not-mutual.
func (e *Engine) convict(g *edge, j *verdict.Judged, x Expect) {
	severity := rules[tlsNotMutual].severity(x)
	if severity == 0 {
		return
	}
	var n uint64
	for id, l := range e.live {
		if l.edge == g && l.traits.has(notMutualBit) && !l.traits.has(ruleBit+tlsNotMutual) {
			l.traits |= 1 << (ruleBit + tlsNotMutual)
			e.live[id] = l
			g.counts.live[ruleBit+tlsNotMutual]++
			n++
		}
	}
	if n > 0 {
		e.hit(g, tlsNotMutual, j, x, severity, n)
	}
}

// protocolNames are how protocols are written in sentences.
var protocolNames = map[string]string{
	"http": "HTTP", "http2": "HTTP/2", "grpc": "gRPC", "postgresql": "PostgreSQL", "mysql": "MySQL", "redis": "Redis", "kafka": "Kafka",
	"mongodb": "MongoDB", "amqp": "AMQP", "nats": "NATS", "mqtt": "MQTT", "smtp": "SMTP", "imap": "IMAP", "pop3": "POP3", "ftp": "FTP",
	"ldap": "LDAP", "dns": "DNS", "memcached": "memcached", "xmpp": "XMPP", "irc": "IRC", "socks": "SOCKS", "": "readable text",
}

// seen says in a sentence what a connection was: "HTTP in clear", "TLS 1.3 without a
// client certificate (the server did not ask for one)".
func seen(j *verdict.Judged) string {
	if j.Verdict == verdict.Plaintext {
		name, ok := protocolNames[j.Protocol]
		if !ok {
			name = j.Protocol
		}
		return name + " in clear"
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
