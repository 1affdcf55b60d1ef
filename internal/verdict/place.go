package verdict

import (
	"net/netip"
	"slices"
)

// Values of meshtls.scope and network.direction.
const (
	ScopeWire = "wire"
	ScopePod  = "pod"

	DirectionIngress  = "ingress"
	DirectionEgress   = "egress"
	DirectionInternal = "internal"
)

// place says where a connection runs: its network.direction and meshtls.scope. What is
// captured on lo stays in the pod, whatever its addresses (a REDIRECT shows others).
func (j *Judge) place(o *Judged) (direction, scope string) {
	from, to := j.Local(o.Source.Addr), j.Local(o.Destination.Addr)
	switch {
	case o.Interface == "lo" || o.Interface == "lo0" || from && to:
		return DirectionInternal, ScopePod
	case from:
		return DirectionEgress, ScopeWire
	case to:
		return DirectionIngress, ScopeWire
	}
	return "", ScopeWire
}

// Local tells whether an address is the pod's own, by Config.Local, or loopback.
func (j *Judge) Local(a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(j.cfg.Local, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// metadata are the addresses of the clouds' instance metadata services: AWS, Azure and
// GCP share the first; then AWS over IPv6, AWS ECS, Alibaba, Oracle's own.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("169.254.170.2"),
	netip.MustParseAddr("169.254.170.23"), netip.MustParseAddr("fd00:ec2::23"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
}

// probePaths are the paths that probes and scrapes ask for by custom.
var (
	probePaths  = []string{"/healthz", "/readyz", "/livez", "/health", "/ready", "/live", "/healthz/ready", "/app-health", "/ping"}
	metricPaths = []string{"/metrics", "/stats/prometheus"}
)

// class labels traffic that is expected, meshtls.class. Each label but workload rests
// on two facts or on an address that nothing else has.
func (j *Judge) class(o *Judged) string {
	dst := netip.AddrPortFrom(o.Destination.Addr, o.Destination.Port)
	node := slices.Contains(j.cfg.Nodes, o.Source.Addr) || o.Source.Addr.IsLinkLocalUnicast()
	path := ""
	if o.HTTP != nil {
		path = o.HTTP.Path
	}
	switch {
	case o.Protocol == "dns" && (o.Destination.Port == 53 || o.Source.Port == 53 || o.Destination.Port == 5353):
		return "dns"
	case slices.Contains(metadata, o.Destination.Addr):
		return "cloud_metadata"
	case j.cfg.APIServer.IsValid() && dst == j.cfg.APIServer:
		return "kubernetes_api"
	case node && slices.Contains(probePaths, path):
		return "probe"
	case node && slices.Contains(metricPaths, path):
		return "metrics"
	case slices.Contains(j.cfg.Nodes, o.Destination.Addr):
		return "node"
	}
	return "workload"
}
