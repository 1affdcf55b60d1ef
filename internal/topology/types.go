package topology

import (
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Workload is an owner of pods, or another end of connections.
type Workload struct {
	Namespace string       `json:"namespace,omitempty"` // empty: the end has no namespace, or it is not known
	Kind      string       `json:"kind,omitempty"`      // "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod", "Service", "Node"; empty: not known
	Name      string       `json:"name"`                // a resource's name; else a name from packets, or the address
	Claimed   bool         `json:"claimed,omitempty"`   // only the client's words (SNI, Host, DNS) give Name
	Outside   bool         `json:"outside,omitempty"`   // outside of the cluster: no pod, service or node has the address. False if the inventory is not complete
	Addresses []netip.Addr `json:"addresses,omitempty"` // only of ends that are no resource of the cluster; sorted; at most 8
}

// String returns the name for people: "shop/checkout", or the name alone without a namespace.
func (w *Workload) String() string {
	if w.Namespace == "" {
		return w.Name
	}
	return w.Namespace + "/" + w.Name
}

// Inventory lists the pods, services and nodes of a cluster, as the API server reports them. The zero value is for records without
// a cluster, such as those of a capture file.
type Inventory struct {
	Pods     []Pod
	Services []Service
	Nodes    []Node
	// Namespace limits edges, findings and untapped workloads to those with an end in it. Empty: all namespaces.
	Namespace string
	Complete  bool     // all pods, services and nodes of the cluster are listed
	Notes     []string // what could not be listed, a sentence each
}

// Pod is a running pod.
type Pod struct {
	Namespace, Name, UID string
	Labels               map[string]string
	Workload             Workload // its owner; for a pod without one, itself
	Addresses            []netip.Addr
	Started              time.Time // when it started; zero: not known
	HostNetwork          bool      // it shares the node's addresses, and cannot be told from the node
	Tapped               bool      // a tap runs in it now
	Untapped             string    // why not, in a few words; empty: Tapped, or not known
	Mesh                 string    // the mesh that it is enrolled in, by its labels, annotations and containers: "istio", "istio_ambient", "cilium", "linkerd", "osm", "kuma", "consul"; empty: none is known
	Ports                []uint16  // the declared TCP ports of its containers, without those of a mesh's proxy
	Probes               []uint16  // the ports that the kubelet probes
	Skip                 []uint16  // ports that its annotations exclude from the mesh for clients
}

// Service is a Service with its cluster addresses.
type Service struct {
	Namespace, Name string
	Addresses       []netip.Addr
	Workloads       []Workload        // workloads that its selector selects
	Others          bool              // some of its endpoints are no pods of the inventory
	Ports           map[uint16]uint16 // the service's ports, and the target ports where they are known and the same in all pods
}

// Node is a node with its addresses.
type Node struct {
	Name      string
	Addresses []netip.Addr
}

// Edge is all traffic from one workload to one port of another one.
type Edge struct {
	From     Workload `json:"from"`
	To       Workload `json:"to"`
	Port     uint16   `json:"port"`             // of the server's pod, where a service translates it and the translation is known
	Folded   bool     `json:"folded,omitempty"` // several edges were counted together: To is the tapped workload if it is known, and the other end is not known
	Scope    string   `json:"scope"`            // "wire", or "pod" for traffic that never leaves the pod
	Class    string   `json:"class"`            // kind of traffic, as in meshtls.class
	Verdict  string   `json:"verdict"`          // the weakest verdict of a connection: "plaintext", "tls", "encrypted", "unknown", "mtls", "failed", in this order
	Protocol string   `json:"protocol,omitempty"`
	Version  string   `json:"version,omitempty"` // of TLS, such as "1.3"
	Cipher   string   `json:"cipher,omitempty"`
	Basis    string   `json:"basis,omitempty"`   // the weakest basis that records give for a connection with Verdict: "none", "inherited", "inferred", "observed"; empty: only postures were read, which do not have it
	Reasons  []string `json:"reasons,omitempty"` // reason codes of the latest connection with Verdict

	Connections record.ByVerdict `json:"connections"`       // lower bounds; see the package's documentation
	First       time.Time        `json:"first"`             // start of the earliest connection or posture interval
	Last        time.Time        `json:"last"`              // the latest end of one
	LastOf      LastOf           `json:"last_of"`           // when each verdict was last seen
	Changes     []Change         `json:"changes,omitempty"` // the verdicts in the order of time; at most 64, the latest

	Ends         []End    `json:"ends"`                         // the sides that were tapped
	Disagreement string   `json:"disagreement,omitempty"`       // a sentence, if both ends were tapped and report different things
	Findings     []string `json:"findings,omitempty"`           // rules that are open on the edge, sorted
	Expectation  string   `json:"expectation,omitempty"`        // the strictest
	Mesh         string   `json:"mesh,omitempty"`               // the mesh that all its mutual TLS looks like: a hint, never a proof; empty: none, or several
	NotMutual    uint64   `json:"not_mutual,omitempty"`         // of Connections.TLS: those whose client was shown to present no certificate; a lower bound
	Accepted     *bool    `json:"accepted_plaintext,omitempty"` // the server accepted plaintext; nil: not known
}

// LastOf has the latest time of each verdict; zero: none was seen.
type LastOf struct {
	Plaintext time.Time `json:"plaintext,omitzero"`
	TLS       time.Time `json:"tls,omitzero"`
	Encrypted time.Time `json:"encrypted,omitzero"`
	MTLS      time.Time `json:"mtls,omitzero"`
	Failed    time.Time `json:"failed,omitzero"`
	Unknown   time.Time `json:"unknown,omitzero"`
}

// Change is a point of an edge's timeline: from At on, connections had Verdict.
type Change struct {
	At      time.Time `json:"at"`
	Verdict string    `json:"verdict"`
}

// End is an edge as one side's taps report it.
type End struct {
	Side        string           `json:"side"`    // "client" or "server"; "" for a capture that does not show it
	Taps        int              `json:"taps"`    // number of taps
	Verdict     string           `json:"verdict"` // the weakest
	Connections record.ByVerdict `json:"connections"`
	Dropped     uint64           `json:"dropped"` // packets that these taps lost, in total
	Older       uint64           `json:"older"`   // connections older than these taps, in total
}

// Finding is a finding in its latest state. Retracted findings are left out.
type Finding struct {
	Rule      string    `json:"rule"`
	Severity  int64     `json:"severity"` // 1 to 100; 0 if it has ended
	State     string    `json:"state"`    // "open", "ongoing", "resolved" or "withdrawn"
	Message   string    `json:"message"`
	From      Workload  `json:"from"`
	To        Workload  `json:"to"`
	Port      uint16    `json:"port"`
	Count     uint64    `json:"count"` // connections that broke the rule
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Verdict   string    `json:"verdict,omitempty"`
	Basis     string    `json:"basis,omitempty"`
	Reasons   []string  `json:"reasons,omitempty"`
	Evidence  string    `json:"evidence,omitempty"`  // name of the file of evidence
	Reference string    `json:"reference,omitempty"` // URL of the rule's page
	Coverage  string    `json:"coverage,omitempty"`  // a sentence
}

// Unknown is a sentence about something that could not be known, and the workloads that it is about. Every report ends with them.
type Unknown struct {
	Text      string     `json:"text"`
	Workloads []Workload `json:"workloads,omitempty"` // sorted; at most 64
}

// Untapped is a workload without a tap in all or some of its pods.
type Untapped struct {
	Workload Workload `json:"workload"`
	Pods     int      `json:"pods"`
	Tapped   int      `json:"tapped"` // pods with a tap, by the inventory or by records
	Mesh     string   `json:"mesh,omitempty"`
	Why      string   `json:"why,omitempty"`
}

// Tally counts edges between workloads on the wire by their verdict. Folded edges are not counted.
type Tally struct {
	Edges  int              `json:"edges"`
	By     record.ByVerdict `json:"by_verdict"`
	Folded record.ByVerdict `json:"folded_connections"` // connections of edges that were counted together
}
