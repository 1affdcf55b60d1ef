package finding

import "net/netip"

// Identity is who the tap is and what it was told of its pod, by the downward API and
// the webhook. It is the tap's own word: nothing in it was seen on the wire. Empty
// values are left out of the records.
type Identity struct {
	Version string // of the tap
	Run     string // one for each start of the tap; empty for a capture, so that it replays to the same records

	Pod            string // pod name
	Namespace      string
	UID            string // pod UID
	IPs            []netip.Addr
	Node           string
	ServiceAccount string
	Cluster        string

	WorkloadKind string // "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet"
	WorkloadName string

	LocalProxy   string   // "istio", "linkerd", ...: the proxy that the webhook saw in the pod
	Ambient      string   // "istio", "cilium": the ambient mesh that the webhook saw the pod enrolled in
	DeclaredSkip []uint16 // ports that the pod's annotations take out of the mesh
}

// workload names the tapped workload in edges and sentences: namespace/name of the
// workload, else of the pod; empty where neither is known.
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

// workloadFields are the Kubernetes fields, as Elastic's Beats name them, that hold the
// name of a workload of each kind.
var workloadFields = map[string]string{
	"Deployment": "deployment", "StatefulSet": "statefulset", "DaemonSet": "daemonset",
	"Job": "job", "CronJob": "cronjob", "ReplicaSet": "replicaset",
}

// encode writes orchestrator, kubernetes and service. They are the same in each record
// of a run, so that this is done once.
func (id *Identity) encode(e *encoder) {
	if id.Namespace != "" || id.Pod != "" || id.Cluster != "" {
		e.open("orchestrator")
		e.str("type", "kubernetes")
		e.open("cluster")
		e.str("name", id.Cluster)
		e.close()
		e.str("namespace", id.Namespace)
		e.close()
	}
	e.open("kubernetes")
	e.str("namespace", id.Namespace)
	e.open("pod")
	e.str("name", id.Pod)
	e.str("uid", id.UID)
	e.addrs("ip", id.IPs)
	e.close()
	e.open("node")
	e.str("name", id.Node)
	e.close()
	e.open("serviceaccount")
	e.str("name", id.ServiceAccount)
	e.close()
	if field := workloadFields[id.WorkloadKind]; field != "" {
		e.open(field)
		e.str("name", id.WorkloadName)
		e.close()
	}
	e.close()
	e.open("service")
	e.str("name", id.WorkloadName)
	e.close()
}

// encodeLocal writes meshtls.local.
func (id *Identity) encodeLocal(e *encoder) {
	e.open("local")
	e.str("proxy", id.LocalProxy)
	e.str("ambient", id.Ambient)
	e.ports("declared_skip", id.DeclaredSkip)
	e.close()
}
