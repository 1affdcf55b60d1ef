package record

// Meshtls is the object meshtls. It has the data for which ECS has no name. The members from Verdict to TLS describe
// a connection (in flows and findings) or the worst connections of an edge (in postures).
type Meshtls struct {
	Schema       int64    `json:"schema"`                  // SchemaVersion
	Verdict      string   `json:"verdict,omitempty"`       // "mtls", "tls", "plaintext", "encrypted", "failed" or "unknown"; empty: no payload
	Scope        string   `json:"scope,omitempty"`         // "wire", or "pod" for traffic that never leaves the pod
	Class        string   `json:"class,omitempty"`         // kind of traffic, by evidence that neither end can choose; the rules apply to "workload"
	ClassClaimed string   `json:"class_claimed,omitempty"` // kind of traffic that its ends claim; at most it lowers the default expectation from mutual TLS to TLS
	Mesh         string   `json:"mesh,omitempty"`          // the mesh that the connection looks like: a hint, never a proof
	MeshBasis    string   `json:"mesh_basis,omitempty"`    // evidence for Mesh: "alpn", "sni", "port" or "certificate"
	Enrolled     string   `json:"enrolled,omitempty"`      // evidence that the pod is in an ambient mesh: "declared" or "seen"; empty: not known
	Expectation  string   `json:"expectation,omitempty"`   // "mtls", "tls", "any" or "undeclared"; of posture, the strictest of the edge's connections
	Reasons      []string `json:"reasons,omitempty"`       // codes that led to the verdict
	ConnState    string   `json:"conn_state,omitempty"`    // Zeek's conn_state
	FlowHash     string   `json:"flow_hash,omitempty"`     // hash of ports and initial sequence numbers: the same at both ends of a connection, also across NAT
	MissedBytes  uint64   `json:"missed_bytes,omitempty"`  // bytes of the streams that were not captured
	Credentials  []string `json:"credentials,omitempty"`   // kinds of credentials that the client sent in plaintext, sorted
	Peer         Peer     `json:"peer,omitzero"`
	TLS          Auth     `json:"tls,omitzero"`

	Finding  Finding   `json:"finding,omitzero"`   // in findings
	Evidence Evidence  `json:"evidence,omitzero"`  // in findings for which a capture was stored
	Edge     Edge      `json:"edge,omitzero"`      // in findings and postures
	Tap      *Tap      `json:"tap,omitempty"`      // in the tap's own records, and in findings about the tap
	Coverage *Coverage `json:"coverage,omitempty"` // in all records but flows
	Local    Local     `json:"local,omitzero"`
	Run      string    `json:"run,omitempty"` // the run of the tap whose records Event.Sequence counts; empty for captures
}

// Peer is the remote end's name, if the packets show one.
type Peer struct {
	Name      string `json:"name"`       // a name or a SPIFFE ID
	NameBasis string `json:"name_basis"` // evidence for Name: "spiffe" (from a certificate), or the claims "sni", "host_header" and "dns"
}

// Auth is meshtls.tls: the conclusions about the handshake.
type Auth struct {
	ClientAuth          string   `json:"client_auth"`               // the client's certificate: "presented", "declined", "not_requested" or "unknown"
	ClientAuthBasis     string   `json:"client_auth_basis"`         // "observed", "inferred", "inherited" or "none"
	ClientAuthRequested string   `json:"client_auth_requested"`     // whether the server asked for one: "yes", "no" or "unknown"
	ClientAuthAge       int64    `json:"client_auth_age,omitempty"` // nanoseconds since the handshake from which ClientAuth is inherited
	Outcome             string   `json:"outcome"`                   // "established", "rejected", "aborted" or "incomplete"
	Alert               string   `json:"alert,omitempty"`           // the alert that rejected the handshake, as IANA names it
	ALPNOffered         []string `json:"alpn_offered,omitempty"`
	JA4                 string   `json:"ja4,omitempty"`
	KeyShare            string   `json:"key_share,omitempty"`          // the server's group, as IANA names it
	HelloRetry          bool     `json:"hello_retry,omitempty"`        // the server asked for a second ClientHello; false: no such message was seen
	EarlyData           bool     `json:"early_data,omitempty"`         // the client offered early data; false: no such offer was seen
	UpgradedFrom        string   `json:"upgraded_from,omitempty"`      // the protocol before an upgrade to TLS (STARTTLS)
	SessionHash         string   `json:"session_hash,omitempty"`       // hash of both randoms: the same at both ends, also across NAT
	ClientChainBytes    uint64   `json:"client_chain_bytes,omitempty"` // size of the client's chain in DER, seen or inferred
	ClientKeyHint       string   `json:"client_key_hint,omitempty"`    // kind of the client's key, inferred from the sizes of TLS records, such as "ecdsa-p256"
}

// Finding is meshtls.finding.
type Finding struct {
	GroupID     string `json:"group_id"`               // the same for one problem on all replicas, and at both ends if both use the same name for the server
	State       string `json:"state"`                  // "open", "ongoing", "resolved" or "withdrawn"
	Count       uint64 `json:"count"`                  // connections that broke the rule since the finding opened (of tap-blind: interfaces); 0 retracts the finding
	FirstSeen   Time   `json:"first_seen"`             // start of the first of those connections
	FoldedEdges uint64 `json:"folded_edges,omitempty"` // edges that the finding counts together, because too many findings opened in a window; 0 in other findings
}

// Evidence is meshtls.evidence: the pcapng file with the packets of a finding's connection.
type Evidence struct {
	Name   string `json:"name"`   // name of the file in the tap's folder for evidence
	SHA256 string `json:"sha256"` // of the file, in lower-case hexadecimal
	Length uint64 `json:"length"` // of the file, in bytes
}

// Edge is meshtls.edge: direction, local workload, peer and server port. The members from Connections on
// are only in postures.
type Edge struct {
	Key    string `json:"key"`            // the same on all replicas
	From   string `json:"from,omitempty"` // client: workload, SPIFFE ID, address or network
	To     string `json:"to,omitempty"`   // server: workload, SPIFFE ID, name, address or network
	Port   uint16 `json:"port,omitempty"` // port of the server
	Folded bool   `json:"folded,omitempty"`

	Connections       *ByVerdict `json:"connections,omitempty"`        // connections that were open in the window
	Bytes             *ByVerdict `json:"bytes,omitempty"`              // payload bytes of these connections that were reported in the window
	FirstProof        Time       `json:"first_proof,omitzero"`         // time of the first connection of this edge and run that was shown to be mutual TLS
	LastProof         Time       `json:"last_proof,omitzero"`          // time of the latest such connection
	AcceptedPlaintext *bool      `json:"accepted_plaintext,omitempty"` // the server accepted plaintext in the window
	Sample            []string   `json:"sample,omitempty"`             // the 8 smallest Auth.SessionHash (FlowHash without TLS) of connections that began in the posture interval

	// What connections of the posture interval had, the most frequent first, at most 4 of each kind. Absent: none was seen.
	Protocols     []string `json:"protocols,omitempty"`      // values of Network.Protocol, if there are several
	TLSVersions   []string `json:"tls_versions,omitempty"`   // such as "1.3", "dtls 1.2" or "ssl 3.0"
	Ciphers       []string `json:"ciphers,omitempty"`        // cipher suites, as IANA names them
	Groups        []string `json:"groups,omitempty"`         // groups of the key exchange, as IANA names them
	HelloRetries  uint64   `json:"hello_retries,omitempty"`  // connections in the counts above whose server asked for a second ClientHello; 0: none was seen
	PeerAddresses uint64   `json:"peer_addresses,omitempty"` // number of the peer's addresses, where it has more than Related.IP; 8 means 8 or more

	MutedFindings uint64 `json:"muted_findings,omitempty"` // findings of the edge that were muted in the posture interval
}

// ByVerdict holds a count for each verdict.
type ByVerdict struct {
	Plaintext uint64 `json:"plaintext"`
	TLS       uint64 `json:"tls"`
	Encrypted uint64 `json:"encrypted"`
	MTLS      uint64 `json:"mtls"`
	Failed    uint64 `json:"failed"`
	Unknown   uint64 `json:"unknown"`
}

// Coverage is meshtls.coverage: the evidence on which a claim is based. Counters cover the window. In
// the tap's own records they cover the run.
type Coverage struct {
	Window   Window `json:"window"`
	Since    Time   `json:"since,omitzero"` // when the capture on all interfaces began; 0: not all are captured, or it is a file
	*Watched        // nil: unknown

	ForeignPackets       uint64            `json:"foreign_packets,omitempty"`       // packets that were not examined, because their conversations do not involve the pod
	UncapturedInterfaces []string          `json:"uncaptured_interfaces,omitempty"` // interfaces of the pod that are up and not captured
	Undecoded            map[string]uint64 `json:"undecoded,omitempty"`             // packets that may have carried connections and were not decoded, by IP protocol, EtherType or link type
	Advice               []string          `json:"advice,omitempty"`                // recommended actions for the uncaptured interfaces and undecoded packets, one sentence for each kind
	Filter               string            `json:"filter,omitempty"`                // the effective capture filter
	RulesBlind           []string          `json:"rules_blind,omitempty"`           // rules that had no evidence on this edge in the period of the record
	NodeEncryption       string            `json:"node_encryption,omitempty"`       // encryption below the pod, as declared
	Muted                []string          `json:"muted,omitempty"`                 // rules of which no finding is published
	Namespace            Namespace         `json:"namespace,omitzero"`
}

// Window is a period of packet time.
type Window struct {
	Start Time `json:"start"`
	End   Time `json:"end"`
}

// Watched holds the counters of the capture.
type Watched struct {
	Packets  uint64 `json:"packets"`
	Dropped  uint64 `json:"dropped"`   // packets lost because the ring was full
	Evicted  uint64 `json:"evicted"`   // connections evicted from the full table
	CutShort uint64 `json:"cut_short"` // streams of which only the start was read, because the buffers were full
	Older    uint64 `json:"older"`     // connections that started before the tap; the total, not its growth in the window
}

// Namespace is meshtls.coverage.namespace: the settings that the tapped namespace chose, as opposed
// to the platform.
type Namespace struct {
	Mute   []string `json:"mute,omitempty"`
	Expect []string `json:"expect,omitempty"` // CIDR[:PORT]=mtls|tls|any
}

// Tap is meshtls.tap: the state of the tap.
type Tap struct {
	Connections      uint64            `json:"connections"`                 // judged connections in the table now
	Edges            uint64            `json:"edges"`                       // edges in memory
	EdgesGone        uint64            `json:"edges_gone"`                  // edges evicted from the full table of edges
	EdgesFolded      uint64            `json:"edges_folded"`                // folded into the aggregate edge "other" because the table of edges was full
	PosturesDeferred uint64            `json:"postures_deferred,omitempty"` // postures "new" and "worsened" that waited for the end of their window, because there were too many
	Blind            *bool             `json:"blind,omitempty"`             // an interface is not captured now; nil: there are no interfaces, as for a file
	InterfaceStates  []Interface       `json:"interface_states,omitempty"`
	Interfaces       []string          `json:"interfaces,omitempty"` // captured interfaces; only action "started" has this and the next two
	Checks           map[string]Check  `json:"checks,omitempty"`     // results of the checks at the start, by name
	Gap              *Gap              `json:"gap,omitempty"`
	Mutes            []Mute            `json:"mutes,omitempty"`    // the mutes that have not ended; not in findings
	Counters         map[string]uint64 `json:"counters,omitempty"` // counts since the start of the tap
}

// Mute is a mute of findings. Absent lists select everything.
type Mute struct {
	Rule      string   `json:"rule"`
	Peers     []string `json:"peers,omitempty"`     // addresses, CIDRs and names of peers
	Ports     []uint16 `json:"ports,omitempty"`     // ports of the server
	Classes   []string `json:"classes,omitempty"`   // values of Meshtls.ClassClaimed
	Until     string   `json:"until,omitempty"`     // the last day, as a date in UTC; empty: the mute has no end
	Reason    string   `json:"reason,omitempty"`    // empty: none was given
	Findings  uint64   `json:"findings"`            // open findings that it hides now
	EndsSoon  bool     `json:"ends_soon,omitempty"` // it ends within 7 days
	Namespace bool     `json:"namespace,omitempty"` // the tapped namespace chose it, not the platform
}

// Interface is the state of the capture on one interface. Counters are since the start.
type Interface struct {
	Name     string `json:"name"`
	Captured bool   `json:"captured"`
	Since    Time   `json:"since,omitzero"` // start of the current state, captured or not
	Packets  uint64 `json:"packets"`
	Dropped  uint64 `json:"dropped"`         // packets lost because the interface's ring was full
	Error    string `json:"error,omitempty"` // why the interface is not captured
}

// Check is the result of one check.
type Check struct {
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // the result, or the action to take if the check failed
}

// Gap describes the time in the pod's network before the capture began.
type Gap struct {
	NetworkCreated Time    `json:"network_created,omitzero"` // when the pod's network was created; 0: unknown
	Milliseconds   *uint64 `json:"milliseconds,omitempty"`   // time from NetworkCreated until all interfaces were captured; nil: unknown
	Connections    uint64  `json:"connections"`              // TCP connections opened or accepted in that time, by the kernel's count
}

// Local is meshtls.local: the facts about the pod that the webhook knew.
type Local struct {
	Proxy        string   `json:"proxy,omitempty"`         // the proxy in the pod, such as "istio"
	Ambient      string   `json:"ambient,omitempty"`       // the ambient mesh that the pod is enrolled in
	DeclaredSkip []uint16 `json:"declared_skip,omitempty"` // ports that annotations exclude from the mesh
}
