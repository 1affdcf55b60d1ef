package topology

import (
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Workload is an owner of pods, or one end outside of the cluster.
type Workload struct {
	Namespace string       `json:"namespace,omitempty"` // empty: outside of the cluster, or not known
	Kind      string       `json:"kind,omitempty"`      // "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod", "Service", "Node"; empty: only an address or a name from packets
	Name      string       `json:"name"`                // a resource's name; else a name from packets, or the address
	Claimed   bool         `json:"claimed,omitempty"`   // only the client's words (SNI, Host, DNS) give Name
	Addresses []netip.Addr `json:"addresses,omitempty"` // sorted; at most 8
}

// Inventory is what the API server says about the cluster. The zero value knows nothing, as for a capture file.
type Inventory struct {
	Pods     []Pod
	Services []Service
	Nodes    []Node
}

// Pod is a running pod.
type Pod struct {
	Namespace, Name, UID string
	Workload             Workload // its owner; for a pod without one, itself
	Addresses            []netip.Addr
	HostNetwork          bool     // it shares the node's addresses, and cannot be told from the node
	Tapped               bool     // a tap runs in it now
	Untapped             string   // why not, in a few words; empty: Tapped, or not known
	Mesh                 string   // the mesh that it is enrolled in, by its labels, annotations and containers: "istio", "istio_ambient", "linkerd" ...; empty: none is known
	Ports                []uint16 // the declared container ports
}

// Service is a Service with its cluster addresses.
type Service struct {
	Namespace, Name string
	Addresses       []netip.Addr
	Workloads       []Workload        // workloads that its selector selects
	Ports           map[uint16]uint16 // the service's ports, and the target ports where they are numbers
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
	Port     uint16   `json:"port"`
	Scope    string   `json:"scope"`   // "wire", or "pod" for traffic that never leaves the pod
	Class    string   `json:"class"`   // kind of traffic, as in meshtls.class
	Verdict  string   `json:"verdict"` // the worst verdict of a connection: "plaintext", "tls", "encrypted", "failed", "unknown", "mtls", in this order
	Protocol string   `json:"protocol,omitempty"`
	Version  string   `json:"version,omitempty"` // of TLS, such as "TLS 1.3"
	Cipher   string   `json:"cipher,omitempty"`
	Basis    string   `json:"basis,omitempty"`   // "observed", "inferred", "inherited", "none"
	Reasons  []string `json:"reasons,omitempty"` // reason codes of the worst connection

	Connections record.ByVerdict `json:"connections"`       // as the end that saw more of them reports it
	First       time.Time        `json:"first"`             // start of the first connection that a record is about
	Last        time.Time        `json:"last"`              // the latest such time
	Changes     []Change         `json:"changes,omitempty"` // the verdicts in the order of time; at most 64, the latest

	Ends         []End    `json:"ends"`                   // the taps that saw the edge
	Disagreement string   `json:"disagreement,omitempty"` // a sentence, if both ends were seen and report different things
	Findings     []string `json:"findings,omitempty"`     // rules that are open on the edge
	Expectation  string   `json:"expectation,omitempty"`
	Accepted     *bool    `json:"accepted_plaintext,omitempty"` // the server accepted plaintext; nil: not known
}

// Change is a point of an edge's timeline.
type Change struct {
	At      time.Time `json:"at"`
	Verdict string    `json:"verdict"`
}

// End is an edge as one side's taps report it.
type End struct {
	Side        string           `json:"side"`    // "client" or "server"; "" for a capture file
	Taps        int              `json:"taps"`    // number of taps
	Verdict     string           `json:"verdict"` // the worst
	Connections record.ByVerdict `json:"connections"`
	Dropped     uint64           `json:"dropped"` // packets that these taps lost, in total
	Older       uint64           `json:"older"`   // connections older than these taps, in total
}

// Finding is an open or resolved finding.
type Finding struct {
	Rule      string    `json:"rule"`
	Severity  int64     `json:"severity"`
	State     string    `json:"state"`
	Message   string    `json:"message"`
	From      Workload  `json:"from"`
	To        Workload  `json:"to"`
	Port      uint16    `json:"port"`
	Count     uint64    `json:"count"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Basis     string    `json:"basis,omitempty"`
	Reasons   []string  `json:"reasons,omitempty"`
	Evidence  string    `json:"evidence,omitempty"`  // name of the file of evidence
	Reference string    `json:"reference,omitempty"` // URL of the rule's page
	Coverage  string    `json:"coverage,omitempty"`  // a sentence
}

// Unknown is what could not be known, for the end of every report: a sentence, and the workloads that it is about.
type Unknown struct {
	Text      string     `json:"text"`
	Workloads []Workload `json:"workloads,omitempty"`
}
