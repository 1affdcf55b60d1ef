package finding

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Identity describes the tap and its pod, as the downward API and the webhook report them. Nothing in it
// was observed on the wire. Empty members are left out of records.
type Identity struct {
	Version string // version of the tap
	Run     string // differs for each start of the tap; empty for a capture file, so that each replay gives the same records

	Pod            string // pod name
	Namespace      string
	UID            string // pod UID
	IPs            []netip.Addr
	Node           string
	ServiceAccount string
	Cluster        string

	WorkloadKind string // "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet"
	WorkloadName string

	LocalProxy   string   // "istio", "linkerd", ...: the proxy that the webhook found in the pod
	Ambient      string   // "istio", "cilium": the ambient mesh that the webhook found the pod enrolled in
	DeclaredSkip []uint16 // ports that the pod's annotations exclude from the mesh
}

// workload returns the name of the tapped workload in edges and sentences. It is namespace/name of the
// workload, or of the pod if the workload is unknown, or empty if both are unknown.
func (id *Identity) workload() string {
	name := id.WorkloadName
	if name == "" {
		name = id.Pod
	}
	if name == "" || id.Namespace == "" {
		return name
	}
	return id.Namespace + "/" + name
}

// record returns the members that all records have in common: the versions and the identity.
func (id *Identity) record() record.Record {
	r := record.Record{
		ECS:      record.ECS{Version: record.ECSVersion},
		Meshtls:  record.Meshtls{Schema: record.SchemaVersion, Run: id.Run},
		Observer: record.Observer{Type: "sensor", Product: "meshtls-tap", Version: id.Version},
		Kubernetes: record.Kubernetes{
			Namespace: id.Namespace, Pod: record.Pod{Name: id.Pod, UID: id.UID},
			Node: record.Name{Name: id.Node}, ServiceAccount: record.Name{Name: id.ServiceAccount},
		},
		Service: record.Name{Name: id.WorkloadName},
	}

	if id.Namespace != "" || id.Pod != "" || id.Cluster != "" {
		r.Orchestrator = record.Orchestrator{Type: "kubernetes", Cluster: record.Name{Name: id.Cluster}, Namespace: id.Namespace}
	}

	for _, a := range id.IPs {
		r.Kubernetes.Pod.IP = append(r.Kubernetes.Pod.IP, bare(a))
	}

	if kind := id.kind(&r.Kubernetes); kind != nil {
		kind.Name = id.WorkloadName
	}

	r.Meshtls.Local = record.Local{Proxy: id.LocalProxy, Ambient: id.Ambient, DeclaredSkip: id.DeclaredSkip}
	return r
}

// kind returns the member of k for the workload's kind. It returns nil if there is no such member.
func (id *Identity) kind(k *record.Kubernetes) *record.Name {
	switch id.WorkloadKind {
	case "Deployment":
		return &k.Deployment
	case "StatefulSet":
		return &k.StatefulSet
	case "DaemonSet":
		return &k.DaemonSet
	case "Job":
		return &k.Job
	case "CronJob":
		return &k.CronJob
	case "ReplicaSet":
		return &k.ReplicaSet
	}
	return nil
}
