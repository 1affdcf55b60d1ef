package record

import (
	"net/netip"
	"time"
)

// Values of event.dataset: the kinds of records.
const (
	DatasetFinding = "meshtls.finding" // an edge breaks a rule, or the tap is blind
	DatasetPosture = "meshtls.posture" // the state of one edge in one window
	DatasetTap     = "meshtls.tap"     // the state of the tap
	DatasetFlow    = "meshtls.flow"    // one connection that has ended
)

const (
	// SchemaVersion is meshtls.schema. It changes only if a published field is renamed, is removed or
	// changes its meaning.
	SchemaVersion = 1
	// ECSVersion is the version of the Elastic Common Schema that the names come from.
	ECSVersion = "9.4.0"
)

// Record is one published record. All members except Kubernetes and Meshtls are from the Elastic Common
// Schema (ECS, ECSVersion), with its names, types and units. Kubernetes has the names of Elastic's
// Beats. Meshtls holds all other data.
type Record struct {
	Timestamp Time   `json:"@timestamp"`        // when it happened, by the packets' time
	Message   string `json:"message,omitempty"` // one sentence for people; in findings and postures
	ECS       ECS    `json:"ecs"`
	Event     Event  `json:"event"`
	Rule      Rule   `json:"rule,omitzero"` // in findings

	Threat     Threat     `json:"threat,omitzero"`      // in findings: techniques of an attacker that the finding makes possible or may show
	Tags       []string   `json:"tags,omitempty"`       // in findings
	Related    Related    `json:"related,omitzero"`     // in findings, flows and postures
	DataStream DataStream `json:"data_stream,omitzero"` // in findings

	// In a flow, these members describe its connection. In a finding, they describe the latest
	// connection that broke the rule. A posture has Network.Direction only.
	Source      Source      `json:"source,omitzero"`      // the client
	Destination Destination `json:"destination,omitzero"` // the server
	Network     Network     `json:"network,omitzero"`
	TLS         *TLS        `json:"tls,omitempty"` // nil: no TLS was seen
	HTTP        HTTP        `json:"http,omitzero"`
	URL         URL         `json:"url,omitzero"`
	UserAgent   UserAgent   `json:"user_agent,omitzero"`

	Meshtls  Meshtls  `json:"meshtls"`
	Observer Observer `json:"observer"`

	// The tap's identity and its pod, from the downward API and the webhook. Nothing here was observed on
	// the wire.
	Orchestrator Orchestrator `json:"orchestrator,omitzero"`
	Kubernetes   Kubernetes   `json:"kubernetes,omitzero"`
	Service      Name         `json:"service,omitzero"` // the tapped workload
}

// ECS is the field set ecs.
type ECS struct {
	Version string `json:"version"` // ECSVersion
}

// Event is ECS event.
type Event struct {
	ID        string   `json:"id"`       // 32 hexadecimal digits: the same each time that a record is sent, and different for records of two taps
	Kind      string   `json:"kind"`     // "alert" for a finding that opens or becomes more severe, "event" for other findings and for flows, "state" for posture, "metric" for the tap
	Category  []string `json:"category"` // "network", or "process" if the record is about the tap
	Type      []string `json:"type"`
	Dataset   string   `json:"dataset"`              // one of the Dataset constants
	Module    string   `json:"module,omitempty"`     // "meshtls"; in findings
	Provider  string   `json:"provider,omitempty"`   // "meshtls-tap"; in findings
	Action    string   `json:"action,omitempty"`     // the state of a finding, why a posture was emitted, or what happened to the tap
	Reason    string   `json:"reason,omitempty"`     // why the tap is degraded or stopped, or why a finding was withdrawn
	Severity  *int64   `json:"severity,omitempty"`   // in findings: 1 to 100, or 0 if the finding has ended; nil in other records
	RiskScore *int64   `json:"risk_score,omitempty"` // in findings: the same as Severity
	Outcome   string   `json:"outcome,omitempty"`    // in flows and findings: "success", "failure" or "unknown", of the connection
	Reference string   `json:"reference,omitempty"`  // in findings: URL of the description of the rule
	Start     Time     `json:"start"`                // start of the connection, finding or window
	End       Time     `json:"end"`
	Duration  int64    `json:"duration"` // nanoseconds between Start and End, never negative
	Created   Time     `json:"created"`  // time by the tap's clock; for captures, the packets' time
	Sequence  uint64   `json:"sequence"` // number of the record in this run and dataset, from 1: a gap is a lost record
}

// Rule is ECS rule: the rule that a finding is about.
type Rule struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Reference string   `json:"reference"` // URL of its description
	Category  string   `json:"category"`  // kind of rule, such as "plaintext" or "certificate"
	Ruleset   string   `json:"ruleset"`   // "meshtls-tap"
	Version   string   `json:"version"`   // changes if the rule fires for other connections than before
	Author    []string `json:"author,omitempty"`
	License   string   `json:"license"` // as SPDX names it
}

// Source is ECS source.
type Source struct {
	Address string     `json:"address,omitempty"` // the same as IP; in findings
	IP      netip.Addr `json:"ip"`                // without a zone; an IPv4-mapped address is written as IPv4
	Port    uint16     `json:"port"`
	Bytes   uint64     `json:"bytes"`   // payload bytes
	Packets uint64     `json:"packets"` // a lower bound, because the kernel leaves out packets of busy connections once they are judged
}

// Destination is ECS destination. Its first members are those of Source.
type Destination struct {
	Address string     `json:"address,omitempty"` // the same as IP; in findings
	IP      netip.Addr `json:"ip"`
	Port    uint16     `json:"port"`
	Bytes   uint64     `json:"bytes"`
	Packets uint64     `json:"packets"`
	Domain  string     `json:"domain,omitempty"` // the server's name, if the packets show one; Peer.NameBasis has the evidence
	NAT     NAT        `json:"nat,omitzero"`     // where a redirection within the pod sent the connection, such as to a sidecar
}

// NAT is ECS destination.nat.
type NAT struct {
	IP   netip.Addr `json:"ip"`
	Port uint16     `json:"port"`
}

// Network is ECS network.
type Network struct {
	Transport   string `json:"transport,omitempty"`    // "tcp" or "udp"
	Type        string `json:"type,omitempty"`         // "ipv4" or "ipv6"
	Protocol    string `json:"protocol,omitempty"`     // recognized by content; empty: not recognized
	Direction   string `json:"direction,omitempty"`    // "ingress", "egress" or "internal", as seen from the tapped pod; empty: unknown
	CommunityID string `json:"community_id,omitempty"` // Community ID 1.0, seed 0
	IANANumber  string `json:"iana_number,omitempty"`  // number of the IP protocol; in findings
	Bytes       uint64 `json:"bytes,omitempty"`        // payload bytes of both ends; 0: none was seen. In flows and findings
	Packets     uint64 `json:"packets,omitempty"`      // packets of both ends. In flows and findings
}

// TLS is ECS tls: the contents of packets, without conclusions. Names are IANA's.
type TLS struct {
	Version         string    `json:"version,omitempty"`          // negotiated: "1.3"; empty: no ServerHello was seen
	VersionProtocol string    `json:"version_protocol,omitempty"` // "tls", "dtls" or "ssl"
	Cipher          string    `json:"cipher,omitempty"`
	Curve           string    `json:"curve,omitempty"`         // named group
	NextProtocol    string    `json:"next_protocol,omitempty"` // negotiated ALPN, if it is not encrypted
	Resumed         *bool     `json:"resumed,omitempty"`       // nil: no ServerHello was seen
	Established     bool      `json:"established"`             // the end of the handshake was seen
	Client          TLSClient `json:"client,omitzero"`
	Server          TLSServer `json:"server,omitzero"`
}

// TLSClient is ECS tls.client.
type TLSClient struct {
	ServerName       string   `json:"server_name,omitempty"` // SNI
	JA3              string   `json:"ja3,omitempty"`         // lower-case hexadecimal
	Certificate               // the leaf
	SupportedCiphers []string `json:"supported_ciphers,omitempty"` // the client's offer; flows only
}

// TLSServer is ECS tls.server.
type TLSServer struct {
	JA3S        string `json:"ja3s,omitempty"` // lower-case hexadecimal, of the final ServerHello
	Certificate        // the leaf
}

// Certificate is a leaf certificate. Only TLS 1.2 and older send it in plaintext.
type Certificate struct {
	Subject   string     `json:"subject,omitempty"`    // RFC 4514, most specific name first
	Issuer    string     `json:"issuer,omitempty"`     // RFC 4514, most specific name first
	NotBefore *time.Time `json:"not_before,omitempty"` // UTC, whole seconds
	NotAfter  *time.Time `json:"not_after,omitempty"`  // UTC, whole seconds
	Hash      Hash       `json:"hash,omitzero"`
	X509      X509       `json:"x509,omitzero"`
}

// Hash is ECS hash, of the certificate's DER.
type Hash struct {
	SHA256 string `json:"sha256,omitempty"` // upper-case hexadecimal
}

// X509 is ECS x509.
type X509 struct {
	AlternativeNames   []string `json:"alternative_names,omitempty"` // DNS names, addresses and URIs
	PublicKeyAlgorithm string   `json:"public_key_algorithm,omitempty"`
	PublicKeySize      uint64   `json:"public_key_size,omitempty"`     // bits
	SerialNumber       string   `json:"serial_number,omitempty"`       // upper-case hexadecimal
	SignatureAlgorithm string   `json:"signature_algorithm,omitempty"` // of the issuer's signature
}

// HTTP is ECS http: the first request and response of HTTP in plaintext.
type HTTP struct {
	Version  string       `json:"version,omitempty"`
	Request  HTTPRequest  `json:"request,omitzero"`
	Response HTTPResponse `json:"response,omitzero"`
}

// HTTPRequest is ECS http.request.
type HTTPRequest struct {
	Method string `json:"method,omitempty"`
}

// HTTPResponse is ECS http.response.
type HTTPResponse struct {
	StatusCode uint64 `json:"status_code,omitempty"` // 0: no response was seen
}

// URL is ECS url, of the first request. A query is never published.
type URL struct {
	Domain string `json:"domain,omitempty"` // Host or :authority
	Path   string `json:"path,omitempty"`   // published only with TAP_REDACT=none
}

// UserAgent is ECS user_agent, of the first request.
type UserAgent struct {
	Original string `json:"original,omitempty"` // published only with TAP_REDACT=none
}

// Observer is ECS observer: the tap.
type Observer struct {
	Type     string  `json:"type"`               // "sensor"
	Vendor   string  `json:"vendor,omitempty"`   // "meshtls-tap"; this and the next two are in findings
	Name     string  `json:"name,omitempty"`     // namespace/name of the tapped workload, or of the pod
	Hostname string  `json:"hostname,omitempty"` // name of the tapped pod
	Product  string  `json:"product"`            // "meshtls-tap"
	Version  string  `json:"version,omitempty"`
	Ingress  Ingress `json:"ingress,omitzero"`
}

// Ingress is ECS observer.ingress.
type Ingress struct {
	Interface Name `json:"interface"` // the interface of the capture; in the tap's own records, the interface that they are about
}

// Orchestrator is ECS orchestrator.
type Orchestrator struct {
	Type      string `json:"type"` // "kubernetes"
	Cluster   Name   `json:"cluster,omitzero"`
	Namespace string `json:"namespace,omitempty"`
}

// Kubernetes is the tapped pod. At most one of the kinds of workloads is set.
type Kubernetes struct {
	Namespace      string `json:"namespace,omitempty"`
	Pod            Pod    `json:"pod,omitzero"`
	Node           Name   `json:"node,omitzero"`
	ServiceAccount Name   `json:"serviceaccount,omitzero"`
	Deployment     Name   `json:"deployment,omitzero"`
	StatefulSet    Name   `json:"statefulset,omitzero"`
	DaemonSet      Name   `json:"daemonset,omitzero"`
	Job            Name   `json:"job,omitzero"`
	CronJob        Name   `json:"cronjob,omitzero"`
	ReplicaSet     Name   `json:"replicaset,omitzero"`
}

// Pod is kubernetes.pod.
type Pod struct {
	Name string       `json:"name,omitempty"`
	UID  string       `json:"uid,omitempty"`
	IP   []netip.Addr `json:"ip,omitempty"`
}

// Name is an object with a name and nothing else.
type Name struct {
	Name string `json:"name"`
}
