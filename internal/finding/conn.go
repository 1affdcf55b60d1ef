package finding

import (
	"net/netip"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// encodeConn writes the ECS part of a connection: source, destination, network, tls,
// http, url, user_agent. offer adds the list of cipher suites that the client offered.
func (e *Engine) encodeConn(j *verdict.Judged, offer bool) {
	enc := &e.enc
	enc.open("source")
	encodeEnd(enc, j.Source)
	enc.close()
	enc.open("destination")
	encodeEnd(enc, j.Destination)
	if j.Direction != verdict.DirectionIngress && j.PeerNameBasis != "spiffe" && !isAddr(j.PeerName) {
		enc.str("domain", j.PeerName)
	}
	if j.NAT.Addr.IsValid() {
		enc.open("nat")
		enc.addr("ip", j.NAT.Addr)
		enc.uint("port", uint64(j.NAT.Port))
		enc.close()
	}
	enc.close()
	e.encodeNetwork(j)
	if j.TLS != nil {
		enc.open("tls")
		encodeTLS(enc, j.TLS, offer)
		enc.close()
	}
	if j.HTTP != nil {
		e.encodeHTTP(j.HTTP)
	}
}

func encodeEnd(enc *encoder, p verdict.Endpoint) {
	enc.addr("ip", p.Addr)
	enc.uint("port", uint64(p.Port))
	enc.uint("bytes", p.Bytes)
	enc.uint("packets", p.Packets)
}

func (e *Engine) encodeNetwork(j *verdict.Judged) {
	enc := &e.enc
	enc.open("network")
	enc.str("transport", j.Transport)
	enc.str("type", networkType(j.Source.Addr))
	enc.str("protocol", j.Protocol)
	enc.str("direction", j.Direction)
	protocol := uint8(6)
	if j.Transport == "udp" {
		protocol = 17
	}
	var id [32]byte
	enc.text("community_id", appendCommunityID(id[:0], protocol,
		netip.AddrPortFrom(j.Source.Addr, j.Source.Port), netip.AddrPortFrom(j.Destination.Addr, j.Destination.Port)))
	enc.close()
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

func encodeTLS(enc *encoder, t *verdict.TLSInfo, offer bool) {
	enc.str("version", t.Version)
	enc.str("version_protocol", t.VersionProtocol)
	enc.str("cipher", t.Cipher)
	enc.str("curve", t.Curve)
	enc.str("next_protocol", t.NextProtocol)
	if t.Version != "" {
		enc.bool("resumed", t.Resumed)
	}
	enc.bool("established", t.Established)
	enc.open("client")
	enc.str("server_name", t.ServerName)
	enc.str("ja3", t.JA3)
	encodeCertificate(enc, t.Client)
	if offer {
		enc.list("supported_ciphers", t.SupportedCiphers)
	}
	enc.close()
	enc.open("server")
	enc.str("ja3s", t.JA3S)
	encodeCertificate(enc, t.Server)
	enc.close()
}

// encodeCertificate writes a leaf. ECS wants hashes of certificates and serial numbers
// in upper case (and JA3 in lower).
func encodeCertificate(enc *encoder, c *verdict.Certificate) {
	if c == nil {
		return
	}
	enc.str("subject", c.Subject)
	enc.str("issuer", c.Issuer)
	if c.NotAfter != 0 || c.NotBefore != 0 {
		enc.seconds("not_before", c.NotBefore)
		enc.seconds("not_after", c.NotAfter)
	}
	enc.open("hash")
	enc.str("sha256", strings.ToUpper(c.SHA256))
	enc.close()
	enc.open("x509")
	enc.list("alternative_names", c.AlternativeNames)
	enc.str("public_key_algorithm", c.PublicKeyAlgorithm)
	if c.PublicKeySize > 0 {
		enc.uint("public_key_size", uint64(c.PublicKeySize))
	}
	enc.str("serial_number", c.SerialNumber)
	enc.close()
}

// encodeHTTP writes the first request and response. Path and user agent can hold
// secrets: they leave the pod only where Redact says none.
func (e *Engine) encodeHTTP(h *verdict.HTTPInfo) {
	enc := &e.enc
	enc.open("http")
	enc.str("version", h.Version)
	enc.open("request")
	enc.str("method", h.Method)
	enc.close()
	if h.Status != 0 {
		enc.open("response")
		enc.uint("status_code", uint64(h.Status))
		enc.close()
	}
	enc.close()
	enc.open("url")
	enc.str("domain", h.Host)
	if e.cfg.Redact == RedactNone {
		enc.str("path", h.Path)
	}
	enc.close()
	if e.cfg.Redact == RedactNone {
		enc.open("user_agent")
		enc.str("original", h.UserAgent)
		enc.close()
	}
}

// encodeJudgement writes what meshtls says of a connection, inside of the object
// meshtls.
func (e *Engine) encodeJudgement(j *verdict.Judged, x Expect) {
	enc := &e.enc
	enc.str("verdict", string(j.Verdict))
	enc.str("scope", j.Scope)
	enc.str("class", j.Class)
	enc.str("class_claimed", j.Claimed)
	enc.str("mesh", j.Mesh)
	enc.str("mesh_basis", j.MeshBasis)
	enc.str("enrolled", e.policy.enrolled(j))
	enc.str("expectation", string(x))
	enc.list("reasons", j.Reasons)
	enc.str("conn_state", j.State)
	enc.str("flow_hash", j.FlowHash.String())
	if j.MissedBytes > 0 {
		enc.uint("missed_bytes", j.MissedBytes)
	}
	if j.PeerName != "" {
		enc.open("peer")
		enc.str("name", j.PeerName)
		enc.str("name_basis", j.PeerNameBasis)
		enc.close()
	}
	if t := j.TLS; t != nil {
		enc.open("tls")
		enc.str("client_auth", t.ClientAuth)
		enc.str("client_auth_basis", t.ClientAuthBasis)
		enc.str("client_auth_requested", t.ClientAuthRequested)
		if t.ClientAuthAge > 0 {
			enc.int("client_auth_age", t.ClientAuthAge)
		}
		enc.str("outcome", t.Outcome)
		enc.str("alert", t.Alert)
		enc.list("alpn_offered", t.ALPNOffered)
		enc.str("ja4", t.JA4)
		enc.str("key_share", t.KeyShare)
		enc.yes("hello_retry", t.HelloRetry)
		enc.yes("early_data", t.EarlyData)
		enc.str("upgraded_from", t.UpgradedFrom)
		enc.str("session_hash", t.SessionHash)
		if t.ClientChainBytes > 0 {
			enc.uint("client_chain_bytes", uint64(t.ClientChainBytes))
		}
		enc.str("client_key_hint", t.ClientKeyHint)
		enc.close()
	}
}

// openMeshTLS begins the object meshtls; closeMeshTLS ends it.
func (e *Engine) openMeshTLS() {
	e.enc.open("meshtls")
	e.enc.uint("schema", SchemaVersion)
}

func (e *Engine) closeMeshTLS() {
	e.cfg.Identity.encodeLocal(&e.enc)
	e.enc.str("run", e.cfg.Identity.Run)
	e.enc.close()
}

// isAddr tells whether a name is an address, perhaps in brackets. Most are not, and a
// failed parse costs an error: the shape is looked at first.
func isAddr(name string) bool {
	name = strings.Trim(name, "[]")
	if name == "" || !strings.Contains(name, ":") && (name[len(name)-1] < '0' || name[len(name)-1] > '9') || strings.Contains(name, "/") {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}
