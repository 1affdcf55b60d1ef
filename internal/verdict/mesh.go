package verdict

import (
	"slices"
	"strings"
)

// profile describes the signs of a mesh in the TLS between its proxies, and around it. Each is a hint, not a proof:
// the client chooses SNI, ALPN and paths, and certificates are not verified here.
type profile struct {
	mesh   string
	alpn   []string                // ALPN names of the mesh
	sni    func(name string) bool  // reports whether a server name, or an identity that is a DNS name, has the mesh's form
	spiffe func(c identities) bool // reports whether a SPIFFE identity has the mesh's form
	tunnel uint16                  // port of the mesh, used with no server name and with h2 as the only ALPN offer
	server func(name string) bool  // reports whether a name belongs to the mesh's control plane
	paths  []string                // prefixes of the paths of RPCs to the mesh's control plane
	ports  []uint16                // ports of the mesh's control plane, as the mesh's proxies see them
	probes []uint16                // ports of the mesh's proxies that the kubelet probes
	scrape []uint16                // ports of the mesh's proxies and control plane that serve metrics
}

// discovery is Envoy's xDS (api/envoy/service/discovery/v3 of envoyproxy/envoy).
const discovery = "/envoy.service.discovery.v3."

// profiles are the known meshes; the first one that matches counts. The values come from the projects' sources. OSM:
// pkg/envoy/xdsutil.go, pkg/identity/types.go, pkg/constants/constants.go. Istio:
// pilot/pkg/networking/core/listener.go, pilot/pkg/model/service.go, pkg/spiffe/spiffe.go, "Ports used by Istio".
// ztunnel: src/tls/certificate.rs. Linkerd: linkerd/transport-header, charts/linkerd-control-plane. Consul:
// agent/connect/{sni,uri_service}.go. Kuma: pkg/xds/envoy/tls, MADR 101.
var profiles = []profile{
	{
		mesh: "osm", alpn: []string{"osm"}, spiffe: osmSPIFFE,
		server: hasFirstLabel("osm-controller"), paths: []string{discovery}, ports: []uint16{15128},
		probes: []uint16{15901, 15902, 15903, 15904}, scrape: []uint16{15010},
	},
	{
		mesh: "istio", alpn: []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}, sni: istioSNI,
		server: istiod, paths: []string{discovery, "/istio.v1.auth.IstioCertificateService/"}, ports: []uint16{15010, 15012},
		probes: []uint16{15020, 15021}, scrape: []uint16{15014, 15020, 15090},
	},
	{
		mesh: "linkerd", alpn: []string{"transport.l5d.io/v1"}, sni: linkerdSNI,
		server: hasFirstLabel("linkerd-identity", "linkerd-destination", "linkerd-policy", "linkerd-dst", "linkerd-identity-headless", "linkerd-dst-headless"),
		paths:  []string{"/io.linkerd.proxy."}, ports: []uint16{8080, 8086, 8090},
		probes: []uint16{4191}, scrape: []uint16{4191},
	},
	{
		mesh: "consul", sni: consulSNI, spiffe: consulSPIFFE,
		server: consulServer, paths: []string{discovery, "/hashicorp.consul."}, ports: []uint16{8300, 8502, 8503},
		scrape: []uint16{20200},
	},
	{
		mesh: "kuma", alpn: []string{"kuma"}, sni: kumaSNI, spiffe: kumaSPIFFE,
		server: hasFirstLabel("kuma-control-plane"), paths: []string{discovery, "/kuma."}, ports: []uint16{5678, 5685},
		scrape: []uint16{5670},
	},
	{mesh: "istio_ambient", tunnel: 15008},
	{mesh: "istio", spiffe: istioSPIFFE}, // last, because other meshes use this form too, together with signs of their own
}

// Meshes returns the names of the known meshes.
func Meshes() (names []string) {
	for i := range profiles {
		if !slices.Contains(names, profiles[i].mesh) {
			names = append(names, profiles[i].mesh)
		}
	}
	return names
}

// controlPorts are the control-plane ports of all profiles.
var controlPorts = func() (all []uint16) {
	for i := range profiles {
		all = append(all, profiles[i].ports...)
	}
	return all
}()

// hasFirstLabel returns a function that reports whether the first label of a name is in labels, and other labels follow
// it.
func hasFirstLabel(labels ...string) func(string) bool {
	return func(name string) bool {
		label, rest, _ := strings.Cut(name, ".")
		return rest != "" && slices.Contains(labels, label)
	}
}

// istiod reports whether a name is the name of Istio's control plane in a namespace: istiod, istiod-REVISION or
// istio-pilot.
func istiod(name string) bool {
	label, rest, _ := strings.Cut(name, ".")
	return rest != "" && (label == "istiod" || strings.HasPrefix(label, "istiod-") || label == "istio-pilot")
}

// consulServer reports whether a name is server.DATACENTER.consul, or the name that Consul's chart gives the service.
func consulServer(name string) bool {
	return strings.HasPrefix(name, "server.") && strings.HasSuffix(name, ".consul") || hasFirstLabel("consul-server")(name)
}

// istioSNI reports whether a name has the form outbound_.PORT_.SUBSET_.HOST, with a possibly empty subset.
func istioSNI(name string) bool {
	rest, ok := strings.CutPrefix(name, "outbound_.")
	if !ok {
		rest, ok = strings.CutPrefix(name, "inbound_.")
	}
	port, rest, found := strings.Cut(rest, "_.")
	subset, _, subsetFound := strings.Cut(rest, "_.")
	return ok && found && subsetFound && isNumber(port) && !strings.Contains(subset, ".")
}

// linkerdSNI reports whether a name has the form ACCOUNT.NAMESPACE.serviceaccount.identity.linkerd.DOMAIN.
func linkerdSNI(name string) bool { return strings.Contains(name, ".serviceaccount.identity.linkerd.") }

// consulSNI reports whether a name has the form SERVICE.NAMESPACE.DATACENTER.internal.DOMAIN. Instead of internal it
// may have internal-v1 (after a partition), external (after a peer) or query (for a prepared query).
func consulSNI(name string) bool {
	name, ok := strings.CutSuffix(name, ".consul")
	at := strings.LastIndexByte(name, '.')
	if !ok || at < 0 || !consulDomain(name[at+1:]+".consul") {
		return false
	}
	rest := name[:at]
	kind := rest[strings.LastIndexByte(rest, '.')+1:]
	return kind != rest && (kind == "internal" || kind == "internal-v1" || kind == "external" || kind == "query")
}

// consulDomain reports whether a name is a trust domain of Consul: a UUID and .consul.
func consulDomain(domain string) bool {
	id, ok := strings.CutSuffix(domain, ".consul")
	return ok && len(id) == 36 && strings.Trim(id, "0123456789abcdef-") == ""
}

// kumaSNI reports whether a name has a form of Kuma's: SERVICE{TAG=VALUE,...}; aHASH.NAME.PORT.MESH.KIND; for a
// resource sni.KIND.MESH[.ZONE[.NAMESPACE]].NAME.SECTION.
func kumaSNI(name string) bool {
	if service, tags, ok := strings.Cut(name, "{"); ok {
		return service != "" && strings.HasSuffix(tags, "}") && (strings.Contains(tags, "mesh=") || strings.Contains(tags, "kuma.io/"))
	}
	first, _, _ := strings.Cut(name, ".")
	if first != "sni" && len(first) != 17 {
		return false // the quick answer for nearly all names
	}

	l := strings.Split(name, ".")
	switch {
	case l[0] == "sni":
		return len(l) >= 5 && len(l) <= 7 && slices.Contains([]string{"msvc", "mzsvc", "extsvc"}, l[1])
	case len(l) == 5 && len(l[0]) == 17 && l[0][0] == 'a':
		return strings.Trim(l[0], "0123456789abcdef") == "" && isNumber(l[2]) && slices.Contains([]string{"ms", "mes", "mzms"}, l[4])
	}
	return false
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// identities are the names in a certificate that identify its mesh.
type identities struct {
	spiffe bool     // the certificate has a SPIFFE identity
	domain string   // trust domain of the SPIFFE identity
	path   []string // segments of its path
	names  []string // all alternative names
}

// identitiesOf returns the names in a certificate; no names if c is nil.
func identitiesOf(c *Certificate) identities {
	if c == nil {
		return identities{}
	}
	rest, ok := strings.CutPrefix(c.SPIFFE, "spiffe://")
	domain, path, found := strings.Cut(rest, "/")
	if !ok || !found || path == "" {
		return identities{names: c.AlternativeNames}
	}
	return identities{true, domain, strings.Split(path, "/"), c.AlternativeNames}
}

// osmSPIFFE reports whether an identity has the form spiffe://DOMAIN/ACCOUNT/NAMESPACE, next to the DNS name
// ACCOUNT.NAMESPACE.DOMAIN.
func osmSPIFFE(id identities) bool {
	return len(id.path) == 2 && slices.Contains(id.names, id.path[0]+"."+id.path[1]+"."+id.domain)
}

// istioSPIFFE reports whether an identity has the form spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT.
func istioSPIFFE(id identities) bool {
	return len(id.path) == 4 && id.path[0] == "ns" && id.path[2] == "sa"
}

// consulSPIFFE reports whether an identity has the form
// spiffe://DOMAIN/[ap/PARTITION/]ns/NAMESPACE/dc/DATACENTER/svc/SERVICE. It also accepts other identities with a
// datacenter, such as those of agents and gateways, if their domain has the form of Consul's (consulDomain).
func consulSPIFFE(id identities) bool {
	at := slices.Index(id.path, "dc")
	return at >= 0 && (at+2 < len(id.path) && id.path[at+2] == "svc" || consulDomain(id.domain))
}

// kumaSPIFFE reports whether an identity has the form spiffe://MESH/SERVICE. The mesh must be a name without a dot. In
// addition, kuma:// names must accompany the identity, or the service must be NAME_NAMESPACE_svc_PORT. kumaSPIFFE also
// accepts Istio's form with the domain MESH.ZONE.mesh.local.
func kumaSPIFFE(id identities) bool {
	if istioSPIFFE(id) {
		return strings.HasSuffix(id.domain, ".mesh.local")
	}
	tagged := slices.ContainsFunc(id.names, func(n string) bool { return strings.HasPrefix(n, "kuma://") })
	return len(id.path) == 1 && !strings.Contains(id.domain, ".") && (tagged || strings.Contains(id.path[0], "_svc_"))
}

// Values of meshtls.mesh_basis, the evidence for a mesh. The ends claim all of it; nothing is verified.
const (
	meshByALPN        = "alpn"        // an ALPN name of the mesh in the ClientHello
	meshBySNI         = "sni"         // the form of the server name
	meshByPort        = "port"        // the mesh's port, and a ClientHello like that of its proxies
	meshByCertificate = "certificate" // names in a plaintext certificate, which is not verified
)

// meshOf returns the mesh that a connection looks like, and the evidence. Both are empty if it
// looks like no known mesh.
func meshOf(o *Judged) (mesh, basis string) {
	if o.TLS == nil {
		return "", ""
	}
	for i := range profiles {
		if basis := profiles[i].inHello(o.TLS, o.Destination.Port); basis != "" {
			return profiles[i].mesh, basis
		}
	}
	client, server := identitiesOf(o.TLS.Client), identitiesOf(o.TLS.Server)
	for i := range profiles {
		if p := &profiles[i]; p.identifies(&client) || p.identifies(&server) {
			return p.mesh, meshByCertificate
		}
	}
	return "", ""
}

// inHello returns the evidence for p in a ClientHello and its port, or "" if they contain no evidence.
func (p *profile) inHello(t *TLSInfo, port uint16) (basis string) {
	ownALPN := func(a string) bool { return slices.Contains(p.alpn, a) }
	switch {
	case slices.ContainsFunc(t.ALPNOffered, ownALPN):
		return meshByALPN
	case p.sni != nil && p.sni(t.ServerName):
		return meshBySNI
	case p.tunnel != 0 && port == p.tunnel && hbone(t):
		return meshByPort
	}
	return ""
}

// hbone reports whether a ClientHello is like those of ztunnel and waypoints: without a server name, and with h2
// as the only ALPN offer (ztunnel src/tls/certificate.rs, outbound_connector). HBONE is mutual TLS 1.3 from a
// connection's first byte. So a handshake is not HBONE if it has another version, follows other bytes, or was
// shown to have no client certificate.
func hbone(t *TLSInfo) bool {
	oneWay := t.ClientAuth == AuthDeclined || t.ClientAuth == AuthNotRequested || t.ClientAuthRequested == RequestedNo
	other := t.UpgradedFrom != "" || t.Version != "" && (t.Version != "1.3" || t.VersionProtocol != "tls")
	return t.ServerName == "" && !t.Misnamed && !t.ALPNLeftOut && slices.Equal(t.ALPNOffered, []string{"h2"}) && !oneWay && !other
}

// identifies reports whether names in a certificate identify the mesh.
func (p *profile) identifies(id *identities) bool {
	return id.spiffe && p.spiffe != nil && p.spiffe(*id) || p.sni != nil && slices.ContainsFunc(id.names, p.sni)
}
