package verdict

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Values of meshtls.class: the purpose of a connection.
const (
	classWorkload      = "workload"
	classProbe         = "probe"
	classMeshControl   = "mesh_control"
	classMetrics       = "metrics"
	classDNS           = "dns"
	classKubernetesAPI = "kubernetes_api"
	classCloudMetadata = "cloud_metadata"
	classNode          = "node"
	classTap           = "tap"
)

// class returns the purpose of a connection (meshtls.class), and the purpose that its ends only claim, empty if none.
// Findings skip all classes except workload. So a class needs facts that the ends cannot choose: an address of the node
// or of the platform, a port that the pod declares, the protocol that both ends spoke, and that they spoke nothing else
// (Judged.only). A name, a path or a User-Agent is only a claim.
func (j *Judge) class(o *Judged) (class, claimed string) {
	if shown := j.provenClass(o); shown != "" {
		return shown, ""
	}
	return classWorkload, j.claimedClass(o)
}

// provenClass returns the class that a connection proves, empty if none.
func (j *Judge) provenClass(o *Judged) string {
	switch {
	case j.isDNS(o):
		return classDNS
	case j.isMetadata(o):
		return classCloudMetadata
	case j.isAPIServer(o):
		return classKubernetesAPI
	case j.isTap(o):
		return classTap
	case j.isMetrics(o):
		return classMetrics
	case j.isProbe(o):
		return classProbe
	case j.isNode(o):
		return classNode
	}
	return ""
}

// claimedClass returns the class that a connection claims, empty if none.
func (j *Judge) claimedClass(o *Judged) string {
	switch {
	case j.claimsTap(o):
		return classTap
	case j.claimsDNS(o):
		return classDNS
	case j.claimsAPIServer(o):
		return classKubernetesAPI
	case j.claimsMeshControl(o):
		return classMeshControl
	case j.claimsMetrics(o):
		return classMetrics
	case j.claimsProbe(o):
		return classProbe
	case j.claimsNode(o):
		return classNode
	}
	return ""
}

// ClaimedClasses returns the values that Judged.Claimed can have, apart from "".
func ClaimedClasses() []string {
	return []string{classTap, classDNS, classKubernetesAPI, classMeshControl, classMetrics, classProbe, classNode}
}

// ClassMayChange reports whether o would lose its class if later requests differ. Its later bytes must then be read.
func ClassMayChange(o *Judged) bool {
	return o.HTTP != nil && (o.Class == classProbe || o.Class == classMetrics)
}

// path returns the path of the first HTTP request, or "".
func path(o *Judged) string {
	if o.HTTP == nil {
		return ""
	}
	return o.HTTP.Path
}

// agent reports whether the User-Agent begins with one of the names.
func agent(o *Judged, names ...string) bool {
	return o.HTTP != nil && slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(o.HTTP.UserAgent, n) })
}

// fromNode reports whether the source is an address that the kubelet uses: one of the node's, or the address that
// istio-cni gives to probes of pods in ambient mode. Other link-local addresses do not qualify: any neighbor may have
// one.
func (j *Judge) fromNode(o *Judged) bool {
	a := o.Source.Addr.Unmap()
	return o.Direction == DirectionIngress && (slices.Contains(j.cfg.Nodes, a) || j.cfg.Ambient && slices.Contains(ambientProbes, a))
}

// ambientProbes are HOST_PROBE_SNAT_IP and HOST_PROBE_SNAT_IPV6 of istio-cni.
var ambientProbes = []netip.Addr{netip.MustParseAddr("169.254.7.127"), netip.MustParseAddr("fd16:9254:7127:1337:ffff:ffff:ffff:ffff")}

const (
	portDNS   = 53
	portMDNS  = 5353
	portIstio = 15053 // istio-agent's DNS proxy
	portDoT   = 853   // DNS over TLS and over QUIC
)

// isDNS reports whether both ends spoke DNS and nothing else, at a DNS port. DNS of one end suffices in three cases: a
// response may still come; the other end is one of the pod's resolvers or a multicast address (RFC 6762); or the
// resolvers are unknown, as in a capture file.
func (j *Judge) isDNS(o *Judged) bool {
	known := func(a netip.Addr) bool { return a.IsMulticast() || slices.Contains(j.cfg.Resolvers, a.Unmap()) }
	return o.Protocol == "dns" && dnsPort(o) && (o.only.dns || o.only.asks && (!o.Ended || len(j.cfg.Resolvers) == 0 || known(o.Destination.Addr) || known(o.Source.Addr)))
}

// dnsPort reports whether the server's port is a DNS port. Over UDP the response may be the only captured packet.
func dnsPort(o *Judged) bool {
	dst, src := o.Destination.Port, o.Source.Port
	// the originator of a TCP connection is certain if its start was captured
	reply := src == portDNS && (o.Transport == "udp" || o.MissedStart)
	return dst == portDNS || reply || dst == portMDNS || dst == portIstio || dst == portDoT
}

// claimsDNS reports whether a connection claims to be DNS. The claim is one of these: the protocol of one end and the
// port; the ALPN name of DNS over TLS or QUIC (RFC 7858, RFC 9250); the port and a link-local address, such as the
// address of the node's DNS cache (169.254.20.10).
func (j *Judge) claimsDNS(o *Judged) bool {
	switch {
	case o.Protocol == "dns":
		return dnsPort(o)
	case o.TLS != nil:
		return o.Destination.Port == portDoT && (slices.Contains(o.TLS.ALPNOffered, "dot") || slices.Contains(o.TLS.ALPNOffered, "doq"))
	}
	return o.Destination.Port == portDNS && o.Destination.Addr.IsLinkLocalUnicast() && o.HTTP == nil
}

// metadata lists the addresses of the clouds' instance metadata services. AWS, Azure and GCP use the first address. AWS
// uses the next four too (ECS, EKS, IPv6). Addresses that are not link-local count for port 80 only: AWS over IPv6,
// Alibaba Cloud, Oracle Cloud.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("169.254.170.23"),
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"),
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
}

// isMetadata reports whether the server's address is reserved for instance metadata.
func (j *Judge) isMetadata(o *Judged) bool {
	a := o.Destination.Addr.Unmap()
	if o.Direction == DirectionIngress || !a.IsLinkLocalUnicast() && o.Destination.Port != 80 {
		return false
	}
	pods := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.Contains(metadata, a) && !slices.ContainsFunc(j.cfg.Cluster, pods)
}

// isAPIServer reports whether the server has the API server's address and port.
func (j *Judge) isAPIServer(o *Judged) bool {
	return j.cfg.APIServer.IsValid() && netip.AddrPortFrom(o.Destination.Addr.Unmap(), o.Destination.Port) == j.cfg.APIServer
}

// claimsAPIServer reports whether a connection is TLS to the API server's usual name and port, while the API server's
// address is unknown.
func (j *Judge) claimsAPIServer(o *Judged) bool {
	name := ""
	if o.TLS != nil {
		name = o.TLS.ServerName
	}
	return !j.cfg.APIServer.IsValid() && (o.Destination.Port == 443 || o.Destination.Port == 6443) &&
		(name == "kubernetes.default" || name == "kubernetes.default.svc" || strings.HasPrefix(name, "kubernetes.default.svc."))
}

// isTap reports whether a connection is the tap's own. It is a connection to the tap's port at the pod's address, or
// TLS of the tap that a proxy in the pod forwards unchanged. The ClientHello of such TLS has the tap's random, which
// nobody else knows before the tap sends it. Plaintext remains plaintext, regardless of the process that sends it.
func (j *Judge) isTap(o *Judged) bool {
	if o.TLS != nil && o.TLS.SentByTap {
		return o.Scope == ScopeWire && (o.Verdict == TLS || o.Verdict == MTLS)
	}
	return j.cfg.Listen != 0 && o.Transport == "tcp" && o.Destination.Port == j.cfg.Listen && j.Local(o.Destination.Addr)
}

// claimsTap reports whether a connection is plaintext Kafka to an address for which a proxy in the pod accepts the
// tap's connections. The application may have opened such a connection too.
func (j *Judge) claimsTap(o *Judged) bool {
	return j.cfg.Proxied != nil && o.Scope == ScopeWire && o.Direction == DirectionEgress && o.Protocol == "kafka" &&
		j.cfg.Proxied(netip.AddrPortFrom(o.Destination.Addr.Unmap(), o.Destination.Port))
}

// claimsMeshControl reports whether a connection claims to be for a mesh's control plane: by the port, and by the name
// (in SNI, Host or certificate) or the path of an RPC. The ends choose all of these.
func (j *Judge) claimsMeshControl(o *Judged) bool {
	return slices.Contains(controlPorts, o.Destination.Port) &&
		anyProfile(func(p *profile) bool { return slices.Contains(p.ports, o.Destination.Port) && p.controls(o) })
}

// anyProfile reports whether the function is returns true for any known mesh.
func anyProfile(is func(p *profile) bool) bool {
	for i := range profiles {
		if is(&profiles[i]) {
			return true
		}
	}
	return false
}

// controls reports whether a path or name in the connection is one of the mesh's control plane.
func (p *profile) controls(o *Judged) bool {
	if slices.ContainsFunc(p.paths, func(x string) bool { return strings.HasPrefix(path(o), x) }) {
		return true
	}
	var names []string
	if o.TLS != nil {
		names = append(names, o.TLS.ServerName)
		if o.TLS.Server != nil {
			names = append(names, o.TLS.Server.AlternativeNames...)
		}
	}
	if o.HTTP != nil {
		names = append(names, o.HTTP.Host)
	}
	return slices.ContainsFunc(names, p.server)
}

// metricPaths are the customary paths of scrapes.
var metricPaths = []string{"/metrics", "/stats/prometheus", "/metrics/cadvisor", "/metrics/resource"}

// isMetrics reports whether a connection consists of requests for metrics only, to a port where the pod declares
// metrics or its proxy serves them. Encrypted requests show no path: a scrape over mutual TLS counts as mutual TLS
// between workloads.
func (j *Judge) isMetrics(o *Judged) bool {
	return o.Direction == DirectionIngress && j.scraped(o) && o.only.request && slices.Contains(metricPaths, path(o)) && o.HTTP.Method == "GET"
}

// scraped reports whether the server's port is one where the pod declares metrics, or where its proxy serves them.
func (j *Judge) scraped(o *Judged) bool {
	return slices.Contains(j.cfg.Scraped, o.Destination.Port) || j.proxied(o, func(p *profile) []uint16 { return p.scrape })
}

// classPending reports whether a connection to the pod may still get the class of a scrape or a probe, because its
// first request is incomplete. Its verdict does not settle before that, so that no finding has to be retracted.
func (j *Judge) classPending(c *flow.Conn, s *dissect.Session) bool {
	if from, to := j.localEnds(c); from || !to || !s.Asking() {
		return false
	}
	o := Judged{Direction: DirectionIngress}
	o.Source.from(&c.Orig)
	o.Destination.from(&c.Resp)
	declared, _ := j.declared(o.Destination.Port)
	return j.scraped(&o) || (declared || j.proxyProbed(&o)) && (j.fromNode(&o) || j.fromGateway(&o))
}

// proxyProbed reports whether the kubelet probes the pod's proxy at the server's port.
func (j *Judge) proxyProbed(o *Judged) bool {
	return j.proxied(o, func(p *profile) []uint16 { return p.probes })
}

// proxied reports whether the server's port is one of the given ports of the mesh whose proxy is in the pod.
func (j *Judge) proxied(o *Judged, ports func(p *profile) []uint16) bool {
	return anyProfile(func(p *profile) bool {
		return slices.Contains(j.cfg.Meshes, p.mesh) && slices.Contains(ports(p), o.Destination.Port)
	})
}

// claimsMetrics reports whether a connection claims to be a scrape. It requests a path of metrics, and has one of these
// signs: a source on the node, a port where metrics are declared or proxies are scraped, a scraper's User-Agent.
func (j *Judge) claimsMetrics(o *Judged) bool {
	if !slices.Contains(metricPaths, path(o)) {
		return false
	}
	scraped := func(p *profile) bool { return slices.Contains(p.scrape, o.Destination.Port) }
	return j.fromNode(o) || slices.Contains(j.cfg.Scraped, o.Destination.Port) || anyProfile(scraped) ||
		agent(o, "Prometheus/", "vm_promscrape", "GrafanaAlloy/", "Alloy/", "OpenTelemetry", "otelcol", "Datadog Agent/", "Telegraf/")
}

// probePaths are the customary paths of probes; the last is gRPC's.
var probePaths = []string{
	"/healthz", "/readyz", "/livez", "/health", "/ready", "/live", "/healthz/ready", "/ping", "/startupz", "/health/ready", "/health/live",
	"/osm-liveness-probe", "/osm-readiness-probe", "/osm-startup-probe", grpcHealth,
}

// isProbe reports whether a connection is a probe by the kubelet. Three facts are needed:
//
//   - The source is on the node. On a bridge the source is the pod's gateway, which is also the source of every client
//     behind SNAT.
//   - The pod declares a probe at the port, or its proxy is probed there.
//   - The client sent one request of a probe's form, or nothing, as a tcpSocket probe does to a server that speaks
//     first. The form is a path that the pod declares. If no path is known, or at the proxy's port, the form is the
//     kubelet's User-Agent and a customary path; from the node itself, one of the two is enough.
func (j *Judge) isProbe(o *Judged) bool {
	if !j.fromNode(o) && !j.fromGateway(o) {
		return false
	}

	proxy := j.proxyProbed(o)
	port, paths := j.declared(o.Destination.Port)
	if !proxy && !port {
		return false
	}

	form := slices.Contains(paths, path(o)) || port && path(o) == grpcHealth // a gRPC probe has only this path
	if len(paths) == 0 || proxy {
		kubelet := agent(o, "kube-probe/")
		form = j.fromNode(o) && (probePath(o) || kubelet) || kubelet && probePath(o)
	}
	return sentNothing(o) || o.only.request && form && onlyReads(o)
}

// Probe is a probe that the pod declares.
type Probe struct {
	Port uint16
	Path string // requested path without the query; empty if unknown, or if the probe has none
}

// declared reports whether the pod declares a probe at a port, and returns the paths of its probes there.
func (j *Judge) declared(port uint16) (ok bool, paths []string) {
	for _, p := range j.cfg.Probed {
		if p.Port != port {
			continue
		}
		if ok = true; p.Path != "" {
			paths = append(paths, p.Path)
		}
	}
	return ok, paths
}

// onlyReads reports whether a probe's request has a method that changes nothing: GET, HEAD, or POST for gRPC's health
// check.
func onlyReads(o *Judged) bool {
	return o.HTTP.Method == "GET" || o.HTTP.Method == "HEAD" || o.HTTP.Method == "POST" && path(o) == grpcHealth
}

const grpcHealth = "/grpc.health.v1.Health/Check"

// claimsProbe reports whether a connection claims to be a probe. From the node's link or the pod's gateway, one of
// these is enough: a port where proxies are probed, the kubelet's User-Agent, or no request. From the node's link, a
// path of probes is enough too. From elsewhere, both a path of probes and the kubelet's User-Agent are needed.
func (j *Judge) claimsProbe(o *Judged) bool {
	node := j.fromNode(o) || o.Source.Addr.IsLinkLocalUnicast()
	if !node && !j.fromGateway(o) {
		return agent(o, "kube-probe/") && probePath(o)
	}
	probed := func(p *profile) bool { return slices.Contains(p.probes, o.Destination.Port) }
	return anyProfile(probed) || agent(o, "kube-probe/") || sentNothing(o) || node && probePath(o)
}

// probePath reports whether the path is customary for probes, or has the form that a mesh gives to the paths of probes.
func probePath(o *Judged) bool {
	p := path(o)
	return slices.Contains(probePaths, p) || strings.HasPrefix(p, "/app-health/") || kumaProbe(o)
}

// SetGateways replaces Config.Gateways: routes may become known late.
func (j *Judge) SetGateways(gateways []netip.Addr) { j.cfg.Gateways = gateways }

// fromGateway reports whether a connection to the pod comes from the pod's default gateway. On a bridge, the gateway is
// the node's end of the bridge.
func (j *Judge) fromGateway(o *Judged) bool {
	return o.Direction == DirectionIngress && slices.Contains(j.cfg.Gateways, o.Source.Addr.Unmap())
}

// sentNothing reports whether a TCP connection was captured whole and its client sent nothing, like a tcpSocket probe
// to a server that speaks first.
func sentNothing(o *Judged) bool {
	return o.Ended && o.Transport == "tcp" && o.Source.Bytes == 0 && !o.MissedStart && o.MissedBytes == 0
}

// kumaProbe reports whether a request has the form of Kuma's virtual probes: /PORT/PATH at port 9000 or 9001.
func kumaProbe(o *Judged) bool {
	first, _, ok := strings.Cut(strings.TrimPrefix(path(o), "/"), "/")
	return ok && isNumber(first) && (o.Destination.Port == 9000 || o.Destination.Port == 9001)
}

// portKubelet is the kubelet's port on its node, which no workload can have.
const portKubelet = 10250

// isNode reports whether the server is the kubelet, at an address of the node.
func (j *Judge) isNode(o *Judged) bool {
	return o.Destination.Port == portKubelet && slices.Contains(j.cfg.Nodes, o.Destination.Addr.Unmap())
}

// claimsNode reports whether the server has the node's address, where workloads may listen too (NodePort, hostNetwork),
// or a link-local address, which any neighbor can have.
func (j *Judge) claimsNode(o *Judged) bool {
	switch {
	case slices.Contains(j.cfg.Nodes, o.Destination.Addr.Unmap()):
		return true
	case o.Direction == DirectionEgress:
		return o.Destination.Addr.IsLinkLocalUnicast()
	case o.Direction == DirectionIngress:
		return o.Source.Addr.IsLinkLocalUnicast()
	}
	return false
}
