package finding

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// rule is a condition that a connection can break. The page that its reference names explains it.
type rule struct {
	id, name string
	hits     severities

	// For the rules that have a page. needs is the fact without which a rule is blind, fires reports whether a connection
	// breaks the rule (nil if that also depends on other connections: see applies), and words describes how.
	needs fact
	fires func(j *verdict.Judged) bool
	words func(j *verdict.Judged) breach
}

// reference returns the address of the page that explains the rule.
func (r *rule) reference() string {
	if r.words != nil {
		return pageBase + r.id + ".md"
	}
	return referenceBase + r.id
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
	tlsVersionWeak
	cipherWeak
	certificateExpired
	certificateExpiring
	certificateWeak
	handshakeFailed
	plaintextAccepted
	identityMismatch
	edgeUnjudged
	keyExchangeDowngrade
	notPostQuantum
	credentialsInClear
	ruleCount
)

// rules lists the rules with their severities, which are the steps of Elastic's detection rules: 21 low, 47
// medium, 73 high, 99 critical.
var rules = [ruleCount]rule{
	plaintextEdge: {id: "plaintext-edge", name: "Plaintext between workloads", hits: severities{mtls: 73, tls: 47, undeclared: 21}},
	tlsNotMutual:  {id: "tls-not-mutual", name: "TLS without a client certificate where mutual TLS is expected", hits: severities{mtls: 47}},
	mtlsDowngrade: {id: "mtls-downgrade", name: "A peer that spoke mutual TLS speaks something less", hits: severities{mtls: 73, tls: 73, undeclared: 73}},

	tlsVersionWeak: {
		id: "tls-version-weak", name: "TLS of a deprecated version", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: factHello, fires: weakVersion, words: versionWords,
	},
	cipherWeak: {
		id: "cipher-weak", name: "TLS with a weak cipher suite", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: factCipher, fires: weakCipher, words: cipherWords,
	},
	certificateExpired: {
		id: "certificate-expired", name: "An expired certificate in use", hits: severities{mtls: 73, tls: 73, undeclared: 47},
		needs: factCertificate, fires: usesExpired, words: expiredWords,
	},
	certificateExpiring: {
		id: "certificate-expiring", name: "A certificate near its end in use", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: factCertificate, fires: usesExpiring, words: expiringWords,
	},
	certificateWeak: {
		id: "certificate-weak", name: "A certificate with a weak key or signature in use", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: factCertificate, fires: usesWeak, words: weakWords,
	},
	handshakeFailed: {
		id: "handshake-failed", name: "A TLS handshake that failed", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: factOutcome, fires: failed, words: failedWords,
	},
	plaintextAccepted: {
		id: "plaintext-accepted", name: "A server that speaks mutual TLS accepts plaintext", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: factAnswer, words: acceptedWords,
	},
	identityMismatch: {
		id: "identity-mismatch", name: "A server shows the certificate of another server", hits: severities{mtls: 73, tls: 47, undeclared: 21},
		needs: factIdentity, fires: mismatched, words: mismatchWords,
	},
	edgeUnjudged: {
		id: "edge-unjudged", name: "No connection of an edge could be judged", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: noFact, words: unjudgedWords,
	},
	keyExchangeDowngrade: {
		id: "key-exchange-downgrade", name: "A peer fell back from a post-quantum key exchange", hits: severities{mtls: 47, tls: 47, undeclared: 21},
		needs: factFallback, words: keyDowngradeWords,
	},
	notPostQuantum: { // off; see Severities
		id: "key-exchange-not-post-quantum", name: "A key exchange without a post-quantum algorithm",
		needs: factGroup, fires: classical, words: classicalWords,
	},
	credentialsInClear: {
		id: "credentials-in-clear", name: "Credentials in plaintext", hits: severities{mtls: 73, tls: 73, undeclared: 47},
		needs: factCredentials, fires: sendsCredentials, words: credentialWords,
	},
}

// Rules returns every rule.id that a finding can have.
func Rules() []string {
	ids := make([]string, ruleCount, ruleCount+1)
	for r := range rules {
		ids[r] = rules[r].id
	}
	return append(ids, tapBlind.id)
}

const (
	referenceBase = "https://github.com/meshtls-tap/meshtls-tap/blob/main/schema/README.md#"
	pageBase      = "https://github.com/meshtls-tap/meshtls-tap/blob/main/docs/rules/"
)

// ruled reports whether the rules apply to a connection: it is between workloads, on the wire.
func ruled(j *verdict.Judged) bool {
	return j.Scope == verdict.ScopeWire && j.Class == "workload"
}

// applies reports whether a connection on edge g, with traits t, fulfills the condition of rule r. isDowngraded
// decides on mtlsDowngrade.
func (e *Engine) applies(g *edge, r int, t traits, j *verdict.Judged) bool {
	switch r {
	case plaintextEdge:
		return t.has(plaintextBit)
	case tlsNotMutual:
		return t.has(notMutualBit)
	case keyExchangeDowngrade:
		return e.fellBack(g, j)
	case mtlsDowngrade, edgeUnjudged: // see isDowngraded and reportUnjudged
		return false
	case plaintextAccepted:
		return t.has(answeredBit) && e.servers.isMutual(serverOf(j), e.now)
	}
	return rules[r].fires(j)
}

// brokenRules returns the rules whose conditions a connection fulfills, as bits. Most connections fulfill none.
func (e *Engine) brokenRules(g *edge, t traits, j *verdict.Judged, downgraded bool) (broken uint64) {
	session := hasSession(j)
	for r := range rules {
		if ofSessions&(1<<r) != 0 && !session {
			continue
		}
		if r == mtlsDowngrade && downgraded || e.applies(g, r, t, j) {
			broken |= 1 << r
		}
	}
	return broken
}

// ofSessions has the bits of the rules that only connections with a TLS session break. (SSL 2.0 breaks tlsVersionWeak without.)
const ofSessions = 1<<cipherWeak | 1<<certificateExpired | 1<<certificateExpiring | 1<<certificateWeak |
	1<<identityMismatch | 1<<keyExchangeDowngrade | 1<<notPostQuantum

// applyRules applies the rules to a connection and emits findings that open or become more severe. It
// returns t with the bits of the rules that the connection breaks. A connection counts at most once for
// each rule. Its hit is retracted if a later judgement shows that the connection does not break the rule.
func (e *Engine) applyRules(g *edge, t traits, was *liveConnection, j *verdict.Judged, x Expect) traits {
	isRuled := ruled(j)
	downgraded := isRuled && e.isDowngraded(g, t, was, j)
	var broken uint64
	if isRuled {
		broken = e.brokenRules(g, t, j, downgraded)
	}
	var covered [ruleCount]int // by the covering rule: the rules that it covers, as bits
	for rest := broken | uint64(was.traits>>ruleBit); rest != 0; rest &= rest - 1 {
		r := bits.TrailingZeros64(rest)
		bit := ruleBit + r
		severity := e.severity(r, x)
		before := was.edge == g && was.traits.has(bit)
		hit := severity > 0 && broken&(1<<r) != 0
		if hit {
			if by := e.coveringRule(r, t, x, j, downgraded); by < ruleCount {
				hit, covered[by] = false, covered[by]|1<<r
			}
		}
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

	g.setCovered(&covered)
	if isRuled && t.lesser() {
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
		e.raiseSessionRules(g) // after plaintextEdge, see hasAlerted
	}
}

// raiseSessionRules emits the open findings of the rules of TLS sessions at once if the expectations make them more
// severe. Live connections that broke none of these rules because anything was expected are counted at their end.
func (e *Engine) raiseSessionRules(g *edge) {
	for r, f := range g.findings {
		if rules[r].words != nil && f != nil && f.open && ruled(&f.last) && g.counts.connected() {
			e.raiseSeverity(g, r, f, e.policy.expectationOf(&f.last))
		}
	}
}

// severity returns the event.severity of a connection that breaks rule r; 0 raises no finding.
func (e *Engine) severity(r int, x Expect) int { return e.severities[r].severityFor(x) }

// raiseSeverity emits an open finding at once, within the budget of the window, if the expectation makes it
// more severe.
func (e *Engine) raiseSeverity(g *edge, r int, f *openFinding, x Expect) {
	if s := e.severity(r, x); s > f.severity {
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
	severity := e.severity(r, x)
	alive := &g.counts.live
	left := alive[trait] - alive[ruleBit+r] // connections that break the rule have the trait
	if severity == 0 || left == 0 {
		return
	}

	covered := e.coveredByDowngrade(r, x, j)
	if f := g.findings[mtlsDowngrade]; f != nil && f.muted {
		covered = false
	}
	var n uint64
	for _, id := range e.liveOn(g) {
		if n == left {
			break
		}
		l := e.liveConnections[id]
		if covered && l.traits.has(ruleBit+mtlsDowngrade) {
			continue
		}
		if l.traits.has(trait) && !l.traits.has(ruleBit+r) {
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

// protocolNames maps network.protocol to the usual spelling, if it is another one.
var protocolNames = map[string]string{
	"acap": "ACAP", "aerospike": "Aerospike", "ajp13": "AJP13", "amqp": "AMQP", "bgp": "BGP", "bolt": "Bolt", "cassandra": "Cassandra", "ceph": "Ceph",
	"clickhouse": "ClickHouse", "dcerpc": "DCE/RPC", "dhcp": "DHCP", "diameter": "Diameter", "dicom": "DICOM", "dns": "DNS", "drda": "DRDA", "dtls": "DTLS",
	"dubbo": "Dubbo", "elasticsearch": "Elasticsearch", "erlang": "Erlang distribution", "fix": "FIX", "ftp": "FTP", "gearman": "Gearman", "giop": "GIOP",
	"git": "Git", "grpc": "gRPC", "hadoop": "Hadoop RPC", "hbase": "HBase RPC", "hl7": "HL7", "http": "HTTP", "http2": "HTTP/2", "iec104": "IEC 104",
	"imap": "IMAP", "irc": "IRC", "iso8583": "ISO 8583", "jdwp": "JDWP", "kafka": "Kafka", "kerberos": "Kerberos", "ldap": "LDAP", "lmtp": "LMTP",
	"memcached": "Memcached", "mongodb": "MongoDB", "mqtt": "MQTT", "mysql": "MySQL", "nats": "NATS", "nbd": "NBD", "nntp": "NNTP", "ntp": "NTP",
	"oncrpc": "ONC RPC", "openwire": "OpenWire", "pop3": "POP3", "postgresql": "PostgreSQL", "proxy_protocol": "PROXY protocol", "pulsar": "Pulsar",
	"quic": "QUIC", "radius": "RADIUS", "rdp": "RDP", "redis": "Redis", "rfb": "RFB", "rmi": "RMI", "rtsp": "RTSP", "sieve": "ManageSieve", "sip": "SIP",
	"smb": "SMB", "smpp": "SMPP", "smtp": "SMTP", "snmp": "SNMP", "socks4": "SOCKS4", "socks5": "SOCKS5", "ssh": "SSH", "statsd": "StatsD", "stomp": "STOMP",
	"syslog": "Syslog", "tarantool": "Tarantool", "tds": "TDS", "telnet": "Telnet", "thrift": "Thrift", "tls": "TLS", "tns": "TNS", "websocket": "WebSocket",
	"xmpp": "XMPP", "zabbix": "Zabbix", "zmtp": "ZMTP", "zookeeper": "ZooKeeper",
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

	if j.TLS == nil {
		return "TLS"
	}

	version, why := versionOf(j.TLS), ""

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
