package verdict

import (
	"net/netip"
	"slices"
	"strings"
)

// Values of meshtls.class: what a connection is there for. What is expected gets a label and
// is not hidden.
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

// class labels traffic that is expected, meshtls.class. Each label but workload rests on
// two facts, as each function says, or on an address that nothing else can have. No name
// from DNS is one, and no User-Agent by itself.
func (j *Judge) class(o *Judged) string {
	switch {
	case isDNS(o):
		return classDNS
	case isMetadata(o):
		return classCloudMetadata
	case j.isAPIServer(o):
		return classKubernetesAPI
	case j.isTap(o):
		return classTap
	case isMeshControl(o):
		return classMeshControl
	case j.isMetrics(o):
		return classMetrics
	case j.isProbe(o):
		return classProbe
	case j.isNode(o):
		return classNode
	}
	return classWorkload
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

// fromNode tells a source that the kubelet can have: an address of the node, one that is
// good on the node's own link alone, or that which Istio's ambient mode gives probes.
func (j *Judge) fromNode(o *Judged) bool {
	a := o.Source.Addr.Unmap()
	return slices.Contains(j.cfg.Nodes, a) || a.IsLinkLocalUnicast() || a == ambientProbe
}

// ambientProbe is HOST_PROBE_SNAT_IPV6 of istio-cni; the IPv4 one is link-local.
var ambientProbe = netip.MustParseAddr("fd16:9254:7127:1337:ffff:ffff:ffff:ffff")

const (
	portDNS   = 53
	portMDNS  = 5353
	portIstio = 15053 // istio-agent's DNS proxy
	portDoT   = 853   // DNS over TLS and over QUIC
)

// isDNS: what is spoken and the port; or the port and an address on the node's own link,
// where its DNS cache listens (169.254.20.10), or the ALPN name of DNS over TLS or QUIC
// (RFC 7858, RFC 9250).
func isDNS(o *Judged) bool {
	dst, src := o.Destination.Port, o.Source.Port
	switch {
	case o.Protocol == "dns":
		// who began is known for sure of a connection over TCP that was seen from its start
		reply := src == portDNS && (o.Transport == "udp" || o.MissedStart)
		return dst == portDNS || reply || dst == portMDNS || dst == portIstio || dst == portDoT
	case o.TLS != nil:
		return dst == portDoT && (slices.Contains(o.TLS.ALPNOffered, "dot") || slices.Contains(o.TLS.ALPNOffered, "doq"))
	}
	return dst == portDNS && o.Destination.Addr.IsLinkLocalUnicast() && o.HTTP == nil
}

// metadata are the addresses of the clouds' instance metadata services: AWS, Azure and
// GCP share the first; then AWS ECS and EKS; then, for port 80 only, since they are not
// link-local: AWS over IPv6, Alibaba, Oracle's own.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("169.254.170.23"),
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"),
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
}

// isMetadata: an address that is for this alone.
func isMetadata(o *Judged) bool {
	a := o.Destination.Addr.Unmap()
	return slices.Contains(metadata, a) && (a.IsLinkLocalUnicast() || o.Destination.Port == 80)
}

// isAPIServer: its address and port; where they are not known, TLS to the name by which
// pods know it and a port of it.
func (j *Judge) isAPIServer(o *Judged) bool {
	if j.cfg.APIServer.IsValid() {
		return netip.AddrPortFrom(o.Destination.Addr.Unmap(), o.Destination.Port) == j.cfg.APIServer
	}
	name := ""
	if o.TLS != nil {
		name = o.TLS.ServerName
	}
	return (o.Destination.Port == 443 || o.Destination.Port == 6443) &&
		(name == "kubernetes.default" || name == "kubernetes.default.svc" || strings.HasPrefix(name, "kubernetes.default.svc."))
}

// isTap: the pod's own address and the tap's own port of it.
func (j *Judge) isTap(o *Judged) bool {
	return j.cfg.Listen != 0 && o.Transport == "tcp" && o.Destination.Port == j.cfg.Listen && j.Local(o.Destination.Addr)
}

// isMeshControl: a port of a mesh's control plane, and its name (in SNI, Host or its
// certificate) or the path of its RPCs.
func isMeshControl(o *Judged) bool {
	return anyProfile(func(p *profile) bool { return slices.Contains(p.ports, o.Destination.Port) && p.controls(o) })
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

// isMetrics: the path, and a source on the node, a port where proxies are scraped, or a
// scraper by its name. What is encrypted shows no path: a scrape over mutual TLS is
// mutual TLS between workloads.
func (j *Judge) isMetrics(o *Judged) bool {
	if !slices.Contains(metricPaths, path(o)) {
		return false
	}
	scraped := func(p *profile) bool { return slices.Contains(p.scrape, o.Destination.Port) }
	return j.fromNode(o) || anyProfile(scraped) ||
		agent(o, "Prometheus/", "vm_promscrape", "GrafanaAlloy/", "Alloy/", "OpenTelemetry", "otelcol", "Datadog Agent/", "Telegraf/")
}

// probePaths are the paths that probes ask for by custom; the last is gRPC's.
var probePaths = []string{
	"/healthz", "/readyz", "/livez", "/health", "/ready", "/live", "/healthz/ready", "/ping", "/startupz", "/health/ready", "/health/live",
	"/osm-liveness-probe", "/osm-readiness-probe", "/osm-startup-probe", "/grpc.health.v1.Health/Check",
}

// isProbe: a source on the node, and a path of probes, a port where proxies are probed,
// the kubelet's name, or that nothing was asked for. Behind a bridge the kubelet's source
// is the pod's gateway. So is that of every client behind SNAT, some of which ask for
// paths of probes, too (load balancers): from there no path is enough.
func (j *Judge) isProbe(o *Judged) bool {
	node := j.fromNode(o)
	if !node && !j.fromGateway(o) {
		return false
	}
	probed := func(p *profile) bool { return slices.Contains(p.checks, o.Destination.Port) }
	return anyProfile(probed) || agent(o, "kube-probe/") || askedNothing(o) || node && probePath(o)
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

// askedNothing tells a connection that was seen whole and in which the client sent
// nothing: what a tcpSocket probe is to a server that speaks first.
func askedNothing(o *Judged) bool {
	return o.Ended && o.Transport == "tcp" && o.Source.Bytes == 0 && !o.MissedStart && o.MissedBytes == 0
}

// kumaProbe: a virtual probe, /PORT/PATH on port 9000 or 9001.
func kumaProbe(o *Judged) bool {
	first, _, ok := strings.Cut(strings.TrimPrefix(path(o), "/"), "/")
	return ok && isNumber(first) && (o.Destination.Port == 9000 || o.Destination.Port == 9001)
}

// isNode: an address of the node as the server, or one that is good on the node's own
// link alone at the pod's other end: no workload has it.
func (j *Judge) isNode(o *Judged) bool {
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
