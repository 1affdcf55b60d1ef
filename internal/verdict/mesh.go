package verdict

import (
	"slices"
	"strings"
)

// profile is how a mesh shows itself. Each is a hint, none a proof: SNI and ALPN are
// claims of the client.
type profile struct {
	mesh string
	alpn []string               // ALPN names of its own
	sni  func(name string) bool // tells the form of its SNI
	port uint16                 // port of its own, with an ALPN or SNI that nothing else tells
}

// profiles, with the projects' sources as of 2026: OSM pkg/envoy/xdsutil.go; Istio
// pilot/pkg/networking/core/listener.go and pilot/pkg/model/service.go; ztunnel
// src/tls/certificate.rs; Linkerd linkerd/transport-header; Consul agent/connect/sni.go.
var profiles = []profile{
	{mesh: "osm", alpn: []string{"osm"}},
	{mesh: "istio", alpn: []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}, sni: istioSNI},
	{mesh: "linkerd", alpn: []string{"transport.l5d.io/v1"}, sni: linkerdSNI},
	{mesh: "consul", sni: consulSNI},
	{mesh: "kuma", alpn: []string{"kuma"}},
	{mesh: "istio_ambient", port: 15008},
}

// istioSNI: outbound_.PORT_.SUBSET_.HOST, the subset possibly empty.
func istioSNI(name string) bool {
	rest, ok := strings.CutPrefix(name, "outbound_.")
	if !ok {
		rest, ok = strings.CutPrefix(name, "inbound_.")
	}
	port, rest, found := strings.Cut(rest, "_.")
	subset, _, subsetFound := strings.Cut(rest, "_.")
	return ok && found && subsetFound && port != "" && strings.Trim(port, "0123456789") == "" && !strings.Contains(subset, ".")
}

// linkerdSNI: ACCOUNT.NAMESPACE.serviceaccount.identity.linkerd.DOMAIN.
func linkerdSNI(name string) bool { return strings.Contains(name, ".serviceaccount.identity.linkerd.") }

// consulSNI: SERVICE.NAMESPACE.DATACENTER.internal.DOMAIN, whose trust domain is a UUID
// and .consul.
func consulSNI(name string) bool {
	name, ok := strings.CutSuffix(name, ".consul")
	at := strings.LastIndexByte(name, '.')
	return ok && at > 0 && len(name)-at-1 == 36 && strings.Trim(name[at+1:], "0123456789abcdef-") == "" &&
		(strings.HasSuffix(name[:at], ".internal") || strings.HasSuffix(name[:at], ".internal-v1"))
}

// meshOf names the mesh that a connection looks like, empty if none.
func meshOf(o *Judged) string {
	if o.TLS == nil {
		return ""
	}
	for _, p := range profiles {
		if slices.ContainsFunc(o.TLS.ALPNOffered, func(a string) bool { return slices.Contains(p.alpn, a) }) ||
			p.sni != nil && p.sni(o.TLS.ServerName) ||
			p.port != 0 && o.Destination.Port == p.port && o.TLS.ServerName == "" {
			return p.mesh
		}
	}
	return meshOfSPIFFE(o.TLS.Client, o.TLS.Server)
}

// meshOfSPIFFE tells meshes by the form of their SPIFFE identities.
func meshOfSPIFFE(certs ...*Certificate) string {
	for _, c := range certs {
		switch {
		case c == nil || c.SPIFFE == "":
		case strings.Contains(c.SPIFFE, "/dc/") && strings.Contains(c.SPIFFE, "/svc/"):
			return "consul"
		case strings.Contains(c.SPIFFE, "/ns/") && strings.Contains(c.SPIFFE, "/sa/"):
			return "istio"
		}
	}
	return ""
}

// namePeer names the remote end where the packets tell its name.
func namePeer(o *Judged) {
	switch o.Direction {
	case DirectionIngress:
		if o.TLS != nil && o.TLS.Client != nil && o.TLS.Client.SPIFFE != "" {
			o.PeerName, o.PeerNameBasis = o.TLS.Client.SPIFFE, "spiffe"
		}
		return
	case DirectionInternal:
		return
	}
	switch {
	case o.TLS != nil && o.TLS.Server != nil && o.TLS.Server.SPIFFE != "":
		o.PeerName, o.PeerNameBasis = o.TLS.Server.SPIFFE, "spiffe"
	case o.TLS != nil && o.TLS.ServerName != "":
		o.PeerName, o.PeerNameBasis = o.TLS.ServerName, "sni"
	case o.HTTP != nil && o.HTTP.Host != "":
		o.PeerName, o.PeerNameBasis = o.HTTP.Host, "host_header"
	}
}
