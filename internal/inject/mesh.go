package inject

import (
	"slices"
	"strconv"
	"strings"
)

// A mesh describes one service mesh: how to recognize from a pod and its namespace that the pod is in the mesh, and the
// annotations that exclude ports from it. Both follow the meshes' injectors at these commits: istio 86c9f01, linkerd2
// b24cd40, osm 7bec5b6, kuma 348b652, consul-k8s a507b1d.
type mesh struct {
	name      string
	container string // name of its proxy's container; a dash and more text may follow (Consul's multi-port pods)
	label     string // a label that the pod must have too; "": none

	declared func(*Namespace, *pod) bool // reports whether the pod requests the mesh's injector

	excludeOutbound, excludeInbound string // annotations with comma-separated ports
	includeOutbound                 string // the annotation with the opposite meaning, or ""
	namespaced                      bool   // the injector reads the annotations from the namespace too
}

var meshes = []mesh{
	{
		name: "istio", container: "istio-proxy",
		declared: func(ns *Namespace, p *pod) bool {
			inject, said := p.Metadata.Labels["sidecar.istio.io/inject"]
			if said {
				return inject == "true"
			}
			return ns.Labels["istio-injection"] == "enabled" || ns.Labels["istio.io/rev"] != ""
		},
		excludeOutbound: "traffic.sidecar.istio.io/excludeOutboundPorts",
		excludeInbound:  "traffic.sidecar.istio.io/excludeInboundPorts",
		includeOutbound: "traffic.sidecar.istio.io/includeOutboundPorts",
	}, {
		name: "linkerd", container: "linkerd-proxy",
		declared: func(ns *Namespace, p *pod) bool {
			v := firstOf(p.Metadata.Annotations["linkerd.io/inject"], ns.Annotations["linkerd.io/inject"])
			return v == "enabled" || v == "ingress"
		},
		excludeOutbound: "config.linkerd.io/skip-outbound-ports",
		excludeInbound:  "config.linkerd.io/skip-inbound-ports",
		namespaced:      true,
	}, {
		name: "osm", container: "envoy", label: "osm-proxy-uuid",
		declared: func(ns *Namespace, p *pod) bool {
			const key = "openservicemesh.io/sidecar-injection"
			v := firstOf(p.Metadata.Annotations[key], ns.Annotations[key])
			return ns.Labels["openservicemesh.io/monitored-by"] != "" && slices.Contains([]string{"enabled", "yes", "true"}, v)
		},
		excludeOutbound: "openservicemesh.io/outbound-port-exclusion-list",
		excludeInbound:  "openservicemesh.io/inbound-port-exclusion-list",
	}, {
		name: "kuma", container: "kuma-sidecar",
		declared: func(ns *Namespace, p *pod) bool {
			const key = "kuma.io/sidecar-injection"
			v := firstOf(p.Metadata.Labels[key], p.Metadata.Annotations[key], ns.Labels[key], ns.Annotations[key])
			return v == "enabled" || v == "true"
		},
		excludeOutbound: "traffic.kuma.io/exclude-outbound-ports",
		excludeInbound:  "traffic.kuma.io/exclude-inbound-ports",
	}, {
		name: "consul", container: "consul-dataplane",
		declared: func(_ *Namespace, p *pod) bool {
			return p.Metadata.Annotations["consul.hashicorp.com/connect-inject"] == "true"
		},
		excludeOutbound: "consul.hashicorp.com/transparent-proxy-exclude-outbound-ports",
		excludeInbound:  "consul.hashicorp.com/transparent-proxy-exclude-inbound-ports",
	},
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// maxSkip bounds the excluded ports in TAP_DECLARED_SKIP.
const maxSkip = 64

// proxy returns the mesh whose proxy is in the pod, or "". skip has the ports that annotations
// exclude from the mesh, at most maxSkip.
func (p *pod) proxy(ns *Namespace) (name string, skip []string) {
	for i := range meshes {
		m := &meshes[i]
		if !m.in(p) {
			continue
		}
		for _, key := range []string{m.excludeOutbound, m.excludeInbound} {
			for _, port := range expand(m.annotation(key, ns, p)) {
				if len(skip) < maxSkip && !slices.Contains(skip, port) {
					skip = append(skip, port)
				}
			}
		}
		return m.name, skip
	}
	return "", nil
}

// skipInbound returns the ports that annotations exclude from the mesh for clients of the pod.
func (p *pod) skipInbound(ns *Namespace) []string {
	for i := range meshes {
		if m := &meshes[i]; m.in(p) {
			return expand(m.annotation(m.excludeInbound, ns, p))
		}
	}
	return nil
}

// in reports whether the mesh's proxy is in the pod.
func (m *mesh) in(p *pod) bool {
	if _, ok := p.Metadata.Labels[m.label]; m.label != "" && !ok {
		return false
	}
	found := false
	p.each(func(c *container) {
		found = found || c.Name == m.container || strings.HasPrefix(c.Name, m.container+"-")
	})
	return found
}

// annotation returns the value of an annotation as the mesh's injector reads it.
func (m *mesh) annotation(key string, ns *Namespace, p *pod) string {
	v, ok := p.Metadata.Annotations[key]
	if !ok && m.namespaced {
		return ns.Annotations[key]
	}
	return v
}

// expand returns the ports in a list of ports and ranges, at most maxSkip.
func expand(list string) []string {
	var out []string
	for _, item := range splitList(list) {
		from, to, ok := bounds(item)
		for port := int(from); ok && port <= int(to) && len(out) < maxSkip; port++ {
			out = append(out, strconv.Itoa(port))
		}
	}
	return out
}

// bounds parses PORT or FROM-TO.
func bounds(item string) (from, to uint16, ok bool) {
	a, b, isRange := strings.Cut(item, "-")
	from, err := parsePort(a)
	if !isRange {
		return from, from, err == nil
	}
	to, err2 := parsePort(b)
	return from, to, err == nil && err2 == nil && from <= to
}

// covers reports whether a list of ports and ranges includes a port.
func covers(list, port string) bool {
	p, err := parsePort(port)
	if err != nil {
		return false
	}
	for _, item := range splitList(list) {
		if from, to, ok := bounds(item); ok && from <= p && p <= to {
			return true
		}
	}
	return false
}

// exclude returns the annotations that exclude the brokers' ports from the pod's mesh, or nil. The mesh then ignores
// all of the pod's traffic to these ports.
func (r *run) exclude() map[string]string {
	ports := r.cfg.Settings.kafkaPorts()
	m := r.declared()
	switch {
	case len(ports) == 0:
		r.warn("the Kafka ports stay in the mesh: TAP_KAFKA_BROKERS has no ports")
		return nil
	case m == nil:
		if r.pod.ambient(r.ns) != "" {
			r.warn("the Kafka ports stay in the mesh: no annotation excludes ports from an ambient mesh")
		}
		return nil
	}

	list := m.annotation(m.excludeOutbound, r.ns, r.pod)
	merged := list
	for _, port := range ports {
		if m.includeOutbound != "" && covers(r.pod.Metadata.Annotations[m.includeOutbound], port) {
			r.warn("port %s stays in the mesh: annotation %s includes it", port, m.includeOutbound)
			return nil
		}
		if !covers(merged, port) {
			merged = strings.Trim(merged+","+port, ",")
		}
	}
	if merged == list {
		return nil
	}
	return map[string]string{m.excludeOutbound: merged}
}

// declared returns the mesh that the pod will be in, or nil. The settings or an annotation may choose the mesh.
// Otherwise declared returns the mesh that the pod's labels and annotations request.
func (r *run) declared() *mesh {
	want := firstOf(r.choices[annotationMesh], r.cfg.Settings.env("TAP_MESH"))
	for i := range meshes {
		m := &meshes[i]
		if m.name == want || want == "" && m.declared(r.ns, r.pod) {
			return m
		}
	}
	return nil
}
