package finding

import (
	"net/netip"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// setConn sets the ECS members of a connection: source, destination, network, tls, http, url,
// user_agent, event.outcome, related.ip. If offer is set, it adds the cipher suites that the client offered.
func (e *Engine) setConn(r *record.Record, j *verdict.Judged, offer bool) {
	s, d := &j.Source, &j.Destination
	r.Source = record.Source{IP: bare(s.Addr), Port: s.Port, Bytes: s.Bytes, Packets: s.Packets}
	r.Destination = record.Destination{IP: bare(d.Addr), Port: d.Port, Bytes: d.Bytes, Packets: d.Packets}
	if j.Direction != verdict.DirectionIngress && j.PeerNameBasis != "spiffe" && !isAddr(j.PeerName) {
		r.Destination.Domain = j.PeerName
	}
	if j.NAT.Addr.IsValid() {
		r.Destination.NAT = record.NAT{IP: bare(j.NAT.Addr), Port: j.NAT.Port}
	}
	r.Network = networkOf(j)
	r.Event.Outcome = outcomeOf(j)
	e.related = append(e.related[:0], r.Source.IP, r.Destination.IP)
	if nat := r.Destination.NAT.IP; nat.IsValid() && nat != r.Destination.IP {
		e.related = append(e.related, nat)
	}
	r.Related.IP = e.related
	if j.TLS != nil {
		setTLS(&e.tls, j.TLS, offer)
		r.TLS = &e.tls
	}
	if j.HTTP != nil {
		e.setHTTP(r, j.HTTP)
	}
}

// bare returns an address as it is in records: without a zone, and IPv4 in IPv6 as IPv4.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func networkOf(j *verdict.Judged) record.Network {
	protocol := uint8(6)
	if j.Transport == "udp" {
		protocol = 17
	}
	var id [32]byte
	return record.Network{
		Transport: j.Transport, Type: networkType(j.Source.Addr), Protocol: j.Protocol, Direction: j.Direction,
		Bytes: j.Source.Bytes + j.Destination.Bytes, Packets: j.Source.Packets + j.Destination.Packets,
		CommunityID: string(appendCommunityID(id[:0], protocol,
			netip.AddrPortFrom(j.Source.Addr, j.Source.Port), netip.AddrPortFrom(j.Destination.Addr, j.Destination.Port))),
	}
}

func networkType(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.Is4():
		return "ipv4"
	case a.Is6():
		return "ipv6"
	}
	return ""
}

func setTLS(x *record.TLS, t *verdict.TLSInfo, offer bool) {
	*x = record.TLS{
		Version: t.Version, VersionProtocol: t.VersionProtocol, Cipher: t.Cipher, Curve: t.Curve, NextProtocol: t.NextProtocol,
		Established: t.Established,
	}
	if t.Version != "" {
		x.Resumed = &no
		if t.Resumed {
			x.Resumed = &yes
		}
	}
	x.Client.ServerName, x.Client.JA3, x.Server.JA3S = t.ServerName, t.JA3, t.JA3S
	setCertificate(&x.Client.Certificate, t.Client)
	setCertificate(&x.Server.Certificate, t.Server)
	if offer {
		x.Client.SupportedCiphers = t.SupportedCiphers
	}
}

// Members of records that may be absent point to these booleans.
var yes, no = true, false

// setCertificate sets the members of a leaf certificate. ECS has hashes of certificates and
// serial numbers in upper case, and JA3 in lower case.
func setCertificate(x *record.Certificate, c *verdict.Certificate) {
	if c == nil {
		return
	}
	x.Subject, x.Issuer = c.Subject, c.Issuer
	if c.NotAfter != 0 || c.NotBefore != 0 {
		x.NotBefore, x.NotAfter = seconds(c.NotBefore), seconds(c.NotAfter)
	}
	x.Hash.SHA256 = strings.ToUpper(c.SHA256)
	x.X509 = record.X509{
		AlternativeNames: c.AlternativeNames, PublicKeyAlgorithm: c.PublicKeyAlgorithm,
		PublicKeySize: uint64(max(c.PublicKeySize, 0)), SerialNumber: c.SerialNumber, SignatureAlgorithm: c.SignatureAlgorithm,
	}
}

// seconds returns the time s seconds after the epoch. It returns nil if the year does not fit into
// RFC 3339.
func seconds(s int64) *time.Time {
	t := time.Unix(s, 0).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return nil
	}
	return &t
}

// setHTTP sets the members of the first request and response. Path and user agent may contain
// secrets, so they are published with RedactNone only.
func (e *Engine) setHTTP(r *record.Record, h *verdict.HTTPInfo) {
	r.HTTP.Version, r.HTTP.Request.Method, r.HTTP.Response.StatusCode = h.Version, h.Method, uint64(h.Status)
	r.URL.Domain = h.Host
	if e.cfg.Redact == RedactNone {
		r.URL.Path, r.UserAgent.Original = h.Path, h.UserAgent
	}
}

// setJudgement sets the members of meshtls that describe a connection.
func (e *Engine) setJudgement(m *record.Meshtls, j *verdict.Judged, x Expect) {
	m.Verdict, m.Scope, m.Class, m.ClassClaimed = string(j.Verdict), j.Scope, j.Class, j.Claimed
	m.Mesh, m.MeshBasis, m.Enrolled, m.Expectation = j.Mesh, j.MeshBasis, e.policy.enrolled(j), string(x)
	m.Reasons, m.ConnState, m.FlowHash, m.MissedBytes = j.Reasons, j.State, j.FlowHash.String(), j.MissedBytes
	m.Credentials = j.Credentials.Names()
	if j.PeerName != "" {
		m.Peer = record.Peer{Name: j.PeerName, NameBasis: j.PeerNameBasis}
	}
	if t := j.TLS; t != nil {
		m.TLS = record.Auth{
			ClientAuth: t.ClientAuth, ClientAuthBasis: t.ClientAuthBasis, ClientAuthRequested: t.ClientAuthRequested,
			ClientAuthAge: max(t.ClientAuthAge, 0), Outcome: t.Outcome, Alert: t.Alert, ALPNOffered: t.ALPNOffered,
			JA4: t.JA4, KeyShare: t.KeyShare, HelloRetry: t.HelloRetry, EarlyData: t.EarlyData, UpgradedFrom: t.UpgradedFrom,
			SessionHash: t.SessionHash, ClientChainBytes: uint64(max(t.ClientChainBytes, 0)), ClientKeyHint: t.ClientKeyHint,
		}
	}
}

// isAddr reports whether a name is an address, with or without brackets. Most names are not, and a
// failed parse allocates an error, so the shape is checked first.
func isAddr(name string) bool {
	name = strings.Trim(name, "[]")
	if name == "" || !strings.Contains(name, ":") && (name[len(name)-1] < '0' || name[len(name)-1] > '9') || strings.Contains(name, "/") {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}
