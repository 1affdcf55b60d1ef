package verdict

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Values of meshtls.class: what a connection is there for.
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

// class returns what a connection is there for, meshtls.class, and what it only claims to
// be there for, empty if nothing. Findings pass over every class but workload, so each
// rests on what the ends of the connection cannot choose: an address of the node or of the
// platform, a port that the pod declares, what both ends said, and that nothing else was
// said (looked). A name, a path and a User-Agent make a claim.
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

// claimedClass returns the class that a connection claims to have, empty if none.
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

// ClassMayChange reports whether o has a class that ends when something else is said: what
// follows has to be looked at.
func ClassMayChange(o *Judged) bool {
	return o.HTTP != nil && (o.Class == classProbe || o.Class == classMetrics)
}

func path(o *Judged) string {
	if o.HTTP == nil {
		return ""
	}
	return o.HTTP.Path
}

func agent(o *Judged, names ...string) bool {
	return o.HTTP != nil && slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(o.HTTP.UserAgent, n) })
}

// fromNode reports whether the source is one that the kubelet has: an address of the node,
// or what Istio's ambient mode gives probes of pods that are enrolled in it. A link-local address is not: each neighbor
// has one.
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

// isDNS: DNS and nothing else, at a port of DNS, by both ends. One end is enough while an
// answer may come, and where the other is one of the pod's resolvers or a group's address
// (RFC 6762), or the resolvers are not known, as in a capture.
func (j *Judge) isDNS(o *Judged) bool {
	known := func(a netip.Addr) bool { return a.IsMulticast() || slices.Contains(j.cfg.Resolvers, a.Unmap()) }
	return o.Protocol == "dns" && dnsPort(o) && (o.only.dns || o.only.asks && (!o.Ended || len(j.cfg.Resolvers) == 0 || known(o.Destination.Addr) || known(o.Source.Addr)))
}

// dnsPort reports whether the server's port is one of DNS. Over UDP an answer may be all
// that was seen.
func dnsPort(o *Judged) bool {
	dst, src := o.Destination.Port, o.Source.Port
	// who began is known for sure of a connection over TCP that was seen from its start
	reply := src == portDNS && (o.Transport == "udp" || o.MissedStart)
	return dst == portDNS || reply || dst == portMDNS || dst == portIstio || dst == portDoT
}

// claimsDNS: what one end speaks and the port, or the ALPN name of DNS over TLS or QUIC
// (RFC 7858, RFC 9250), or the port and an address on the node's own link, where its DNS
// cache listens (169.254.20.10).
func (j *Judge) claimsDNS(o *Judged) bool {
	switch {
	case o.Protocol == "dns":
		return dnsPort(o)
	case o.TLS != nil:
		return o.Destination.Port == portDoT && (slices.Contains(o.TLS.ALPNOffered, "dot") || slices.Contains(o.TLS.ALPNOffered, "doq"))
	}
	return o.Destination.Port == portDNS && o.Destination.Addr.IsLinkLocalUnicast() && o.HTTP == nil
}

// metadata are the addresses of the clouds' instance metadata services: AWS, Azure and
// GCP share the first; then AWS ECS and EKS; then, for port 80 only, since they are not
// link-local: AWS over IPv6, Alibaba, Oracle's own.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("169.254.170.23"),
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"),
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
}

// isMetadata: an address that is for this alone, as the server.
func (j *Judge) isMetadata(o *Judged) bool {
	a := o.Destination.Addr.Unmap()
	if o.Direction == DirectionIngress || !a.IsLinkLocalUnicast() && o.Destination.Port != 80 {
		return false
	}
	pods := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.Contains(metadata, a) && !slices.ContainsFunc(j.cfg.Cluster, pods)
}

// isAPIServer: its address and port.
func (j *Judge) isAPIServer(o *Judged) bool {
	return j.cfg.APIServer.IsValid() && netip.AddrPortFrom(o.Destination.Addr.Unmap(), o.Destination.Port) == j.cfg.APIServer
}

// claimsAPIServer: where its address is not known, TLS to the name by which pods know it
// and a port of it.
func (j *Judge) claimsAPIServer(o *Judged) bool {
	name := ""
	if o.TLS != nil {
		name = o.TLS.ServerName
	}
	return !j.cfg.APIServer.IsValid() && (o.Destination.Port == 443 || o.Destination.Port == 6443) &&
		(name == "kubernetes.default" || name == "kubernetes.default.svc" || strings.HasPrefix(name, "kubernetes.default.svc."))
}

// isTap: the tap's own port at the pod's own address, or TLS of the tap that a proxy in the
// pod forwards unchanged. Its ClientHello has a random of the tap's, which nobody else knows
// before it is sent. Plaintext remains plaintext, whichever process sends it.
func (j *Judge) isTap(o *Judged) bool {
	if o.TLS != nil && o.TLS.SentByTap {
		return o.Scope == ScopeWire && (o.Verdict == TLS || o.Verdict == MTLS)
	}
	return j.cfg.Listen != 0 && o.Transport == "tcp" && o.Destination.Port == j.cfg.Listen && j.Local(o.Destination.Addr)
}

// claimsTap: Kafka in plaintext to an address for which a proxy in the pod accepts the tap's
// connections. It may be one of them, forwarded by the proxy, or the application's own.
func (j *Judge) claimsTap(o *Judged) bool {
	return j.cfg.Proxied != nil && o.Scope == ScopeWire && o.Direction == DirectionEgress && o.Protocol == "kafka" &&
		j.cfg.Proxied(netip.AddrPortFrom(o.Destination.Addr.Unmap(), o.Destination.Port))
}

// claimsMeshControl: a port of a mesh's control plane, and its name (in SNI, Host or its
// certificate) or the path of its RPCs. All of it is the ends' word.
func (j *Judge) claimsMeshControl(o *Judged) bool {
	return slices.Contains(controlPorts, o.Destination.Port) &&
		anyProfile(func(p *profile) bool { return slices.Contains(p.ports, o.Destination.Port) && p.controls(o) })
}

func anyProfile(is func(p *profile) bool) bool {
	for i := range profiles {
		if is(&profiles[i]) {
			return true
		}
	}
	return false
}

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

// metricPaths are what scrapes ask for by custom.
var metricPaths = []string{"/metrics", "/stats/prometheus", "/metrics/cadvisor", "/metrics/resource"}

// isMetrics: requests for metrics and for nothing else, at a port where the pod declares
// them or its proxy has them. What is encrypted shows no path: a scrape over mutual TLS is
// mutual TLS between workloads.
func (j *Judge) isMetrics(o *Judged) bool {
	return o.Direction == DirectionIngress && j.scraped(o) && o.only.request && slices.Contains(metricPaths, path(o)) && o.HTTP.Method == "GET"
}

// scraped reports whether the server's port is one where the pod declares metrics, or its proxy
// has them.
func (j *Judge) scraped(o *Judged) bool {
	return slices.Contains(j.cfg.Scraped, o.Destination.Port) || j.proxied(o, func(p *profile) []uint16 { return p.scrape })
}

// classPending reports whether what the first request of a connection to the pod turns out to be, of
// which a part came so far, may earn it the class of a scrape or a probe. Until that is known
// nothing is settled: a finding would have to be retracted.
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

// proxyProbed reports whether the server's port is one where the pod's proxy is probed.
func (j *Judge) proxyProbed(o *Judged) bool {
	return j.proxied(o, func(p *profile) []uint16 { return p.probes })
}

// proxied reports whether the server's port is one of the mesh's proxy in the pod.
func (j *Judge) proxied(o *Judged, ports func(p *profile) []uint16) bool {
	return anyProfile(func(p *profile) bool {
		return slices.Contains(j.cfg.Meshes, p.mesh) && slices.Contains(ports(p), o.Destination.Port)
	})
}

// claimsMetrics: the path, and a source on the node, a port where they are declared or
// where proxies are scraped, or a scraper by its name.
func (j *Judge) claimsMetrics(o *Judged) bool {
	if !slices.Contains(metricPaths, path(o)) {
		return false
	}
	scraped := func(p *profile) bool { return slices.Contains(p.scrape, o.Destination.Port) }
	return j.fromNode(o) || slices.Contains(j.cfg.Scraped, o.Destination.Port) || anyProfile(scraped) ||
		agent(o, "Prometheus/", "vm_promscrape", "GrafanaAlloy/", "Alloy/", "OpenTelemetry", "otelcol", "Datadog Agent/", "Telegraf/")
}

// probePaths are the paths that probes ask for by custom; the last is gRPC's.
var probePaths = []string{
	"/healthz", "/readyz", "/livez", "/health", "/ready", "/live", "/healthz/ready", "/ping", "/startupz", "/health/ready", "/health/live",
	"/osm-liveness-probe", "/osm-readiness-probe", "/osm-startup-probe", grpcHealth,
}

// isProbe: a source on the node (behind a bridge the kubelet's is the pod's gateway, and so
// is that of every client behind SNAT), a port that the pod declares probes of or where its
// proxy is probed, and one request of a probe's form, or none at all: what a tcpSocket
// probe is to a server that speaks first. The form is a path that the pod declares; where
// none is known it takes the kubelet's name and a path of probes, from the node one of them.
func (j *Judge) isProbe(o *Judged) bool {
	if !j.fromNode(o) && !j.fromGateway(o) {
		return false
	}
	proxy := j.proxyProbed(o)
	port, paths := j.declared(o.Destination.Port)
	if !proxy && !port {
		return false
	}
	form := slices.Contains(paths, path(o)) || port && path(o) == grpcHealth // gRPC's probe has but one path
	if len(paths) == 0 || proxy {
		kubelet := agent(o, "kube-probe/")
		form = j.fromNode(o) && (probePath(o) || kubelet) || kubelet && probePath(o)
	}
	return sentNothing(o) || o.only.request && form && onlyReads(o)
}

// Probe is a probe that the pod declares.
type Probe struct {
	Port uint16
	Path string // that is asked for, without the query; empty if it is not known, or is none
}

// declared reports whether the pod declares a probe of a port, and returns the paths that
// its probes ask for there.
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

// onlyReads reports whether a request of a probe asks and does no more: GET and HEAD, and
// gRPC's health check, which is a POST.
func onlyReads(o *Judged) bool {
	return o.HTTP.Method == "GET" || o.HTTP.Method == "HEAD" || o.HTTP.Method == "POST" && path(o) == grpcHealth
}

const grpcHealth = "/grpc.health.v1.Health/Check"

// claimsProbe: a source on the node's link, and a path of probes, a port where proxies are
// probed, the kubelet's name, or that nothing was asked for; or a path of probes and the
// kubelet's name from anywhere.
func (j *Judge) claimsProbe(o *Judged) bool {
	node := j.fromNode(o) || o.Source.Addr.IsLinkLocalUnicast()
	if !node && !j.fromGateway(o) {
		return agent(o, "kube-probe/") && probePath(o)
	}
	probed := func(p *profile) bool { return slices.Contains(p.probes, o.Destination.Port) }
	return anyProfile(probed) || agent(o, "kube-probe/") || sentNothing(o) || node && probePath(o)
}

func probePath(o *Judged) bool {
	p := path(o)
	return slices.Contains(probePaths, p) || strings.HasPrefix(p, "/app-health/") || kumaProbe(o)
}

// SetGateways replaces Config.Gateways: routes may become known late.
func (j *Judge) SetGateways(gateways []netip.Addr) { j.cfg.Gateways = gateways }

// fromGateway tells a connection to the pod from its default gateway: on a bridge the
// node's end of it.
func (j *Judge) fromGateway(o *Judged) bool {
	return o.Direction == DirectionIngress && slices.Contains(j.cfg.Gateways, o.Source.Addr.Unmap())
}

// sentNothing tells a connection that was seen whole and in which the client sent
// nothing: what a tcpSocket probe is to a server that speaks first.
func sentNothing(o *Judged) bool {
	return o.Ended && o.Transport == "tcp" && o.Source.Bytes == 0 && !o.MissedStart && o.MissedBytes == 0
}

// kumaProbe: a virtual probe, /PORT/PATH on port 9000 or 9001.
func kumaProbe(o *Judged) bool {
	first, _, ok := strings.Cut(strings.TrimPrefix(path(o), "/"), "/")
	return ok && isNumber(first) && (o.Destination.Port == 9000 || o.Destination.Port == 9001)
}

// portKubelet is the kubelet's on its node, which no workload can have.
const portKubelet = 10250

// isNode: the kubelet, at an address of the node.
func (j *Judge) isNode(o *Judged) bool {
	return o.Destination.Port == portKubelet && slices.Contains(j.cfg.Nodes, o.Destination.Addr.Unmap())
}

// claimsNode: an address of the node as the server, where there are workloads too
// (NodePort, hostNetwork), or a link-local one at the pod's other end, which each neighbor
// has.
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
