package inject

import (
	"strconv"
	"time"
)

// Facts are what a pod's specification says about its workload and its mesh.
type Facts struct {
	WorkloadKind, WorkloadName string   // empty: it has no controller
	Mesh                       string   // "istio", "linkerd", "osm", "kuma" or "consul" by its proxy; "istio_ambient" or "cilium" by labels and annotations; empty: none is known
	Skip                       []uint16 // ports that annotations exclude from the mesh for clients of the pod
}

// PodFacts returns the facts about a pod, as the webhook gives them to a tap. raw is the pod as JSON. Of ns, the labels and annotations
// are read. The error says that raw is not a pod.
func PodFacts(ns *Namespace, raw []byte, now time.Time) (Facts, error) {
	p, err := decode(raw)
	if err != nil {
		return Facts{}, err
	}
	var f Facts
	f.WorkloadKind, f.WorkloadName = p.workload(now)
	f.Mesh, _ = p.proxy(ns)
	if f.Mesh == "" {
		switch p.ambient(ns) {
		case ambientIstio:
			f.Mesh = "istio_ambient"
		case ambientCilium:
			f.Mesh = ambientCilium
		}
	}
	for _, port := range p.skipInbound(ns) {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			f.Skip = append(f.Skip, uint16(n))
		}
	}
	return f, nil
}
