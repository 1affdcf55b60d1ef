package record

// Meshtls is the object meshtls: what ECS has no name for. The members up to TLS are of a
// connection (flows, findings) or of the worst connections of an edge (posture).
type Meshtls struct {
	Schema       int64    `json:"schema"`                  // SchemaVersion
	Verdict      string   `json:"verdict,omitempty"`       // "mtls", "tls", "plaintext", "encrypted", "failed" or "unknown"; empty: no payload
	Scope        string   `json:"scope,omitempty"`         // "wire", or "pod" for what never leaves the pod
	Class        string   `json:"class,omitempty"`         // kind of traffic, by evidence that neither end can choose; the rules apply to "workload"
	ClassClaimed string   `json:"class_claimed,omitempty"` // kind of traffic that its ends claim it to be; it changes no finding
	Mesh         string   `json:"mesh,omitempty"`          // the mesh that it looks like: a hint, never a proof
	MeshBasis    string   `json:"mesh_basis,omitempty"`    // evidence for Mesh: "alpn", "sni", "port" or "certificate"
	Enrolled     string   `json:"enrolled,omitempty"`      // evidence that the pod is in an ambient mesh: "declared" or "seen"; empty: not known
	Expectation  string   `json:"expectation,omitempty"`   // "mtls", "tls", "any" or "undeclared"; of posture, the strictest of the edge's connections
	Reasons      []string `json:"reasons,omitempty"`       // codes that led to the verdict
	ConnState    string   `json:"conn_state,omitempty"`    // Zeek's conn_state
	FlowHash     string   `json:"flow_hash,omitempty"`     // of ports and initial sequence numbers: the same at both ends of a connection, whatever NAT does
	MissedBytes  uint64   `json:"missed_bytes,omitempty"`  // bytes of the streams that were not seen
	Peer         Peer     `json:"peer,omitzero"`
	TLS          Auth     `json:"tls,omitzero"`

	Finding  Finding   `json:"finding,omitzero"`   // findings
	Edge     Edge      `json:"edge,omitzero"`      // findings and posture
	Tap      *Tap      `json:"tap,omitempty"`      // the tap's own records, and findings about the tap
	Coverage *Coverage `json:"coverage,omitempty"` // all but flows
	Local    Local     `json:"local,omitzero"`
	Run      string    `json:"run,omitempty"` // the run of the tap that Event.Sequence counts in; empty for captures
}

// Peer is the remote end's name, where the packets tell it.
type Peer struct {
	Name      string `json:"name"`       // a name or a SPIFFE ID
	NameBasis string `json:"name_basis"` // "spiffe", which a certificate shows, or the claims "sni", "host_header" and "dns"
}

// Auth is meshtls.tls: the conclusions about the handshake.
type Auth struct {
	ClientAuth          string   `json:"client_auth"`               // the client's certificate: "presented", "declined", "not_requested" or "unknown"
	ClientAuthBasis     string   `json:"client_auth_basis"`         // "observed", "inferred", "inherited" or "none"
	ClientAuthRequested string   `json:"client_auth_requested"`     // whether the server asked for one: "yes", "no" or "unknown"
	ClientAuthAge       int64    `json:"client_auth_age,omitempty"` // nanoseconds since the handshake that ClientAuth is inherited from
	Outcome             string   `json:"outcome"`                   // "established", "rejected", "aborted" or "incomplete"
	Alert               string   `json:"alert,omitempty"`           // the alert that rejected it, IANA's description
	ALPNOffered         []string `json:"alpn_offered,omitempty"`
	JA4                 string   `json:"ja4,omitempty"`
	KeyShare            string   `json:"key_share,omitempty"`          // the server's group, IANA's name
	HelloRetry          bool     `json:"hello_retry,omitempty"`        // the server asked for a second ClientHello; false: not seen
	EarlyData           bool     `json:"early_data,omitempty"`         // the client offered early data; false: not seen
	UpgradedFrom        string   `json:"upgraded_from,omitempty"`      // the protocol before STARTTLS
	SessionHash         string   `json:"session_hash,omitempty"`       // of both randoms: the same at both ends, whatever NAT does
	ClientChainBytes    uint64   `json:"client_chain_bytes,omitempty"` // DER, seen or inferred
	ClientKeyHint       string   `json:"client_key_hint,omitempty"`    // kind of the client's key by the sizes of records, such as "ecdsa-p256"
}

// Finding is meshtls.finding.
type Finding struct {
	GroupID   string `json:"group_id"`   // the same for one fault on all replicas, and at both ends where names allow it
	State     string `json:"state"`      // "open", "ongoing", "resolved" or "withdrawn"
	Count     uint64 `json:"count"`      // connections at fault since it opened (of tap-blind: interfaces); 0 retracts the finding
	FirstSeen Time   `json:"first_seen"` // start of the first of them
}

// Edge is meshtls.edge: direction, local workload, peer and server port. The members from
// Connections on are those of posture.
type Edge struct {
	Key    string `json:"key"`            // the same on all replicas
	From   string `json:"from,omitempty"` // client: workload, SPIFFE ID, address or network
	To     string `json:"to,omitempty"`   // server: workload, SPIFFE ID, name, address or network
	Port   uint16 `json:"port,omitempty"` // of the server
	Folded bool   `json:"folded,omitempty"`

	Connections       *ByVerdict `json:"connections,omitempty"`        // that lived in the window
	Bytes             *ByVerdict `json:"bytes,omitempty"`              // their payload bytes that were counted in the window
	FirstProof        Time       `json:"first_proof,omitzero"`         // first connection of this edge and run that was shown to be mutual TLS
	LastProof         Time       `json:"last_proof,omitzero"`          // the latest of them
	AcceptedPlaintext *bool      `json:"accepted_plaintext,omitempty"` // the server answered plaintext in the window
}

// ByVerdict is a count for each verdict.
type ByVerdict struct {
	Plaintext uint64 `json:"plaintext"`
	TLS       uint64 `json:"tls"`
	Encrypted uint64 `json:"encrypted"`
	MTLS      uint64 `json:"mtls"`
	Failed    uint64 `json:"failed"`
	Unknown   uint64 `json:"unknown"`
}

// Coverage is meshtls.coverage: what a claim is based on. Counters are of the window; in the
// tap's own records, of the run.
type Coverage struct {
	Window   Window `json:"window"`
	Since    Time   `json:"since,omitzero"` // since when all interfaces are captured; 0: not all are, or it is a file
	*Watched        // nil: not known

	ForeignPackets       uint64            `json:"foreign_packets,omitempty"`       // of conversations that do not involve the pod, which were not read
	UncapturedInterfaces []string          `json:"uncaptured_interfaces,omitempty"` // of the pod that are up and not captured
	Undecoded            map[string]uint64 `json:"undecoded,omitempty"`             // packets that may have carried connections and were not decoded, by IP protocol, EtherType or link type
	Advice               []string          `json:"advice,omitempty"`                // what to do about the two above, one sentence for each kind
	Filter               string            `json:"filter,omitempty"`                // the effective capture filter
	RulesBlind           []string          `json:"rules_blind,omitempty"`           // rules that had no evidence on this edge in this window
	NodeEncryption       string            `json:"node_encryption,omitempty"`       // encryption below the pod, as declared
	Muted                []string          `json:"muted,omitempty"`                 // rules whose findings are not published
	Namespace            Namespace         `json:"namespace,omitzero"`
}

// Window is a period of packet time.
type Window struct {
	Start Time `json:"start"`
	End   Time `json:"end"`
}

// Watched are the counters of the capture.
type Watched struct {
	Packets  uint64 `json:"packets"`
	Dropped  uint64 `json:"dropped"`   // lost because the ring was full
	Evicted  uint64 `json:"evicted"`   // connections evicted from the full table
	CutShort uint64 `json:"cut_short"` // streams of which only the head was read because the buffers were full
	Older    uint64 `json:"older"`     // connections that are older than the tap, not of the window only
}

// Namespace is meshtls.coverage.namespace: the settings of the tapped namespace, in
// distinction from those of the platform.
type Namespace struct {
	Mute   []string `json:"mute,omitempty"`
	Expect []string `json:"expect,omitempty"` // CIDR[:PORT]=mtls|tls|any
}

// Tap is meshtls.tap: the state of the tap.
type Tap struct {
	Connections     uint64            `json:"connections"`     // judged and in the table now
	Edges           uint64            `json:"edges"`           // in memory
	EdgesGone       uint64            `json:"edges_gone"`      // evicted because there was no room
	EdgesFolded     uint64            `json:"edges_folded"`    // folded into the edge "other" to make room
	Blind           *bool             `json:"blind,omitempty"` // an interface is not captured now; nil: there are no interfaces, as for a file
	InterfaceStates []Interface       `json:"interface_states,omitempty"`
	Interfaces      []string          `json:"interfaces,omitempty"` // that are captured; action "started", as are the next two
	Checks          map[string]Check  `json:"checks,omitempty"`     // the self-test
	Gap             *Gap              `json:"gap,omitempty"`
	Counters        map[string]uint64 `json:"counters,omitempty"` // since the start
}

// Interface is how the capture on one interface goes. Counters are since the start.
type Interface struct {
	Name     string `json:"name"`
	Captured bool   `json:"captured"`
	Since    Time   `json:"since,omitzero"` // when that began
	Packets  uint64 `json:"packets"`
	Dropped  uint64 `json:"dropped"`         // lost by its ring
	Error    string `json:"error,omitempty"` // why it is not captured
}

// Check is the result of one self-test.
type Check struct {
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // what was found; where not OK, what to do
}

// Gap is what passed in the pod's network before the capture began.
type Gap struct {
	NetworkCreated Time    `json:"network_created,omitzero"` // when the pod's network was created; 0: not known
	Milliseconds   *uint64 `json:"milliseconds,omitempty"`   // from then until all interfaces were captured; nil: not known
	Connections    uint64  `json:"connections"`              // TCP connections opened or accepted in that time, by the kernel's count
}

// Local is meshtls.local: what the webhook knew of the pod.
type Local struct {
	Proxy        string   `json:"proxy,omitempty"`         // the proxy in the pod, such as "istio"
	Ambient      string   `json:"ambient,omitempty"`       // the ambient mesh that the pod is enrolled in
	DeclaredSkip []uint16 `json:"declared_skip,omitempty"` // ports that annotations take out of the mesh
}
