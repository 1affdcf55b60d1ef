package verify

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// connection is one connection as a tap reports it, or all connections of an edge if only a posture is known.
type connection struct {
	hashes    []string // meshtls.tls.session_hash and meshtls.flow_hash, or the sample of a posture
	scope     string
	direction string
	source    netip.AddrPort
	dest      netip.AddrPort
	peers     []netip.Addr // of a posture: the peer's addresses
	port      uint16
	start     time.Time
	end       time.Time
	older     bool // its start was not captured
	posture   bool
	resumed   bool // TLS resumed an earlier session

	verdict  string
	protocol string
	version  string // of TLS
	cipher   string
	auth     record.Auth
	reasons  []string
}

func ofFlow(r *record.Record) *connection {
	m := &r.Meshtls
	c := &connection{
		scope: m.Scope, direction: r.Network.Direction, port: r.Destination.Port,
		source: netip.AddrPortFrom(r.Source.IP.Unmap(), r.Source.Port), dest: netip.AddrPortFrom(r.Destination.IP.Unmap(), r.Destination.Port),
		start: r.Event.Start.Std(), end: r.Event.End.Std(), older: slices.ContainsFunc(m.Reasons, isOlder),
		verdict: m.Verdict, protocol: r.Network.Protocol, auth: m.TLS, reasons: m.Reasons,
	}
	for _, h := range [...]string{m.TLS.SessionHash, m.FlowHash} {
		if h != "" {
			c.hashes = append(c.hashes, h)
		}
	}
	if t := r.TLS; t != nil {
		c.version, c.cipher = tlsVersion(t.VersionProtocol, t.Version), t.Cipher
		c.resumed = t.Resumed != nil && *t.Resumed
	}
	return c
}

// isOlder reports whether a reason code says that the start of a connection was not captured.
func isOlder(reason string) bool { return reason == "missed_start" || reason == "mid_stream_records" }

// ofPosture returns the connections of an edge. They have a verdict only if all of them have the same.
func ofPosture(r *record.Record) *connection {
	m := &r.Meshtls
	c := &connection{
		hashes: m.Edge.Sample, scope: m.Scope, direction: r.Network.Direction, port: m.Edge.Port, posture: true,
		start: r.Event.Start.Std(), end: r.Event.End.Std(), verdict: m.Verdict, protocol: r.Network.Protocol,
		auth: m.TLS, reasons: m.Reasons,
	}
	for _, a := range r.Related.IP {
		c.peers = append(c.peers, a.Unmap())
	}
	if n := m.Edge.Connections; n != nil && kinds(n) != 1 {
		c.verdict, c.reasons = "unknown", []string{"several_verdicts"}
	}
	if v := m.Edge.TLSVersions; len(v) == 1 {
		c.version = tlsVersion("", v[0])
	}
	if v := m.Edge.Ciphers; len(v) == 1 {
		c.cipher = v[0]
	}
	if c.verdict == "mtls" {
		c.auth.ClientAuth = "presented"
	}
	return c
}

// kinds returns the number of verdicts that connections have.
func kinds(n *record.ByVerdict) (kinds int) {
	for _, x := range [...]uint64{n.Plaintext, n.TLS, n.Encrypted, n.MTLS, n.Failed, n.Unknown} {
		if x > 0 {
			kinds++
		}
	}
	return kinds
}

// tlsVersion returns the name of a version: "TLS 1.3", "DTLS 1.2".
func tlsVersion(protocol, version string) string {
	if version == "" {
		return ""
	}
	if strings.Contains(version, " ") {
		return strings.ToUpper(version)
	}
	return strings.ToUpper(cmp.Or(protocol, "tls")) + " " + version
}

// same reports whether two taps have seen the same connection, or, for postures, at least one. One whose start neither of them captured has no hash, and is recognized by its
// client's address and port, unless they are translated.
func (c *connection) same(o *connection) bool {
	if len(c.hashes) == 0 && len(o.hashes) == 0 && c.older && o.older {
		return c.source == o.source
	}
	return slices.ContainsFunc(c.hashes, func(h string) bool { return slices.Contains(o.hashes, h) })
}

// rank orders connections: a higher rank is weaker evidence for mutual TLS, and then evidence against it.
func (c *connection) rank() int {
	switch {
	case c.mutual():
		return 0
	case c.empty():
		return 1
	case !c.judged():
		return 2
	}
	return 3 + slices.Index([]string{"encrypted", "tls", "plaintext"}, c.verdict)
}

// empty reports whether the connection carried no data.
func (c *connection) empty() bool { return c.verdict == "" || c.verdict == "failed" }

// mutual reports whether the connection was shown to be mutual TLS.
func (c *connection) mutual() bool { return c.verdict == "mtls" && c.auth.ClientAuth == "presented" }

// judged reports whether the connection was shown to be mutual TLS or not to be.
func (c *connection) judged() bool {
	switch c.verdict {
	case "mtls":
		return c.mutual()
	case "tls":
		return c.auth.ClientAuth == "declined" || c.auth.ClientAuth == "not_requested"
	case "plaintext", "encrypted", "failed":
		return true
	}
	return false
}

// String returns the verdict in words, such as "mutual TLS, TLS 1.3, TLS_AES_128_GCM_SHA256, client certificate presented (inferred)".
func (c *connection) String() string {
	var parts []string
	add := func(s string) {
		if s != "" {
			parts = append(parts, s)
		}
	}
	switch c.verdict {
	case "", "unknown":
		add("no verdict")
	case "failed":
		add("failed handshake")
	case "tls":
		if c.version == "" {
			add("TLS")
		}
	default:
		add(report.VerdictLabel(c.verdict))
	}
	if c.verdict == "plaintext" || c.verdict == "encrypted" {
		add(report.ProtocolName(c.protocol))
	}
	add(c.version)
	add(report.CleanMessage(c.cipher))
	if c.version != "" || c.verdict == "mtls" || c.verdict == "tls" {
		add(c.clientAuth())
	}
	if c.auth.Alert != "" {
		add("alert " + report.CleanMessage(c.auth.Alert))
	}
	return strings.Join(parts, ", ")
}

func (c *connection) clientAuth() string {
	basis := ""
	if b := c.auth.ClientAuthBasis; b != "" && b != "none" {
		basis = " (" + report.CleanMessage(b) + ")"
	}
	switch c.auth.ClientAuth {
	case "presented":
		return "client certificate presented" + basis
	case "declined":
		return "the client sent no certificate" + basis
	case "not_requested":
		return "the server requested no client certificate" + basis
	}
	return "not known whether the client sent a certificate"
}

// why returns the reasons in words.
func (c *connection) why() []string {
	var out []string
	for _, code := range c.reasons {
		if code == "several_verdicts" {
			out = append(out, "the connections of the edge have different verdicts")
			continue
		}
		out = append(out, report.ReasonWords(code))
	}
	return out
}
