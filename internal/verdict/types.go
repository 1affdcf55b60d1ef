package verdict

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Verdict is what a connection is judged to be (meshtls.verdict).
type Verdict string

// The verdicts. None is the absence of one: a connection without payload.
const (
	None      Verdict = ""
	MTLS      Verdict = "mtls"      // established, and a client certificate was presented
	TLS       Verdict = "tls"       // TLS whose mutuality was not shown
	Plaintext Verdict = "plaintext" // cleartext recognized
	Encrypted Verdict = "encrypted" // recognized and not TLS, such as SSH
	Failed    Verdict = "failed"    // a handshake refused or given up
	Unknown   Verdict = "unknown"   // too little or nothing recognizable
)

// Values of meshtls.tls.client_auth, its basis, meshtls.tls.client_auth_requested and
// meshtls.tls.outcome.
const (
	AuthPresented    = "presented"
	AuthDeclined     = "declined"
	AuthNotRequested = "not_requested"
	AuthUnknown      = "unknown"

	BasisObserved  = "observed"
	BasisInferred  = "inferred"
	BasisInherited = "inherited"
	BasisNone      = "none"

	RequestedYes     = "yes"
	RequestedNo      = "no"
	RequestedUnknown = "unknown"

	OutcomeEstablished = "established"
	OutcomeRejected    = "rejected"
	OutcomeAborted     = "aborted"
	OutcomeIncomplete  = "incomplete"
)

// Endpoint is one end of a connection as the record shows it.
type Endpoint struct {
	Addr    netip.Addr
	Port    uint16
	Bytes   uint64 // payload bytes
	Packets uint64
}

// Judged is one connection with its verdict: all that a record says of it. It is a
// value; nothing in it changes after Judge returned it.
type Judged struct {
	ID          uint64 // the connection's number in this run
	Interface   string // name of the capturing interface, empty where a capture does not tell
	Start, Last int64  // ns since the epoch
	Ended       bool   // the connection has left the table
	Settled     bool   // enough was seen: the verdict changes only if something unexpected follows
	State       string // Zeek's conn_state
	Transport   string // "tcp" or "udp"
	Source      Endpoint
	Destination Endpoint
	NAT         Endpoint // destination.nat: where a REDIRECT on lo really sent it; Addr invalid otherwise
	MissedStart bool
	MissedBytes uint64
	FlowHash    FlowHash // meshtls.flow_hash, zero where a start was missed

	Direction string // network.direction: "ingress", "egress", "internal", empty if unknown
	Scope     string // "wire" or "pod"
	Foreign   bool   // no end is the pod's, whose addresses are known: nothing is learned from it
	Class     string // "workload", "probe", "dns", ...: what facts show that neither end can choose
	Claimed   string // a class that the ends only claim, empty if none: it changes no finding
	Mesh      string // hint, empty if none
	MeshBasis string // the evidence for Mesh: "alpn", "sni", "port", "certificate"

	Verdict  Verdict
	Protocol string   // network.protocol: "tls", "http", ..., empty if not recognized
	Reasons  []string // short codes that led to the verdict, never empty when Verdict is not None

	TLS  *TLSInfo  // nil when no TLS was seen
	HTTP *HTTPInfo // nil when no cleartext HTTP was seen

	PeerName, PeerNameBasis string // the remote end's name where the packets tell it

	only  onlyKind
	zones [2]flow.Zone
}

// onlyKind is how much of what was said is known to be of one kind.
type onlyKind struct {
	request   bool // dissect.Session.OneRequest
	dns, asks bool // dissect.Session.OnlyDNS
}

func (o *Judged) noteOnly(s *dissect.Session) {
	o.only.request = s.OneRequest()
	o.only.dns, o.only.asks = s.OnlyDNS()
}

// TLSInfo is the TLS part of a judged connection. Empty strings are unknown.
type TLSInfo struct {
	Version, VersionProtocol string // "1.3" and "tls"; negotiated
	Cipher                   string // IANA name
	Curve                    string // IANA name of the named group
	NextProtocol             string // negotiated ALPN, only where it is in the clear
	Resumed, Established     bool
	ServerName               string // a host's name, empty if none was asked for
	Misnamed                 bool   // the client asked for something that is no name
	ALPNLeftOut              bool   // an ALPN name of either end is none (dissect.IsProtocolName)
	JA3, JA3S, JA4           string
	SupportedCiphers         []string // client's offer, IANA names
	Client, Server           *Certificate

	ClientAuth, ClientAuthBasis, ClientAuthRequested string
	Outcome                                          string
	Alert                                            string   // IANA description of the alert that ended it
	ALPNOffered                                      []string // client's offer
	KeyShare                                         string   // IANA name of the server's selected group
	HelloRetry, EarlyData                            bool
	SentByTap                                        bool   // the ClientHello has the random of a ClientHello of the tap
	ECHOffered                                       bool   // encrypted_client_hello was offered: ServerName is the outer one
	UpgradedFrom                                     string // protocol before STARTTLS
	SessionHash                                      string // hash of both randoms
	ClientChainBytes                                 int    // DER bytes of the client's chain as inferred or observed, 0 unknown
	ClientKeyHint                                    string // "ecdsa-p256", "rsa-2048", "ed25519", ...
	ClientAuthAge                                    int64  // ns since the handshake that ClientAuth is inherited from; 0: it is not
}

// Certificate is a leaf certificate seen in the clear.
type Certificate struct {
	Subject, Issuer     string // RFC 4514
	NotBefore, NotAfter int64  // seconds since the epoch
	SHA256              string // lower-case hex of the DER
	AlternativeNames    []string
	SPIFFE              string
	PublicKeyAlgorithm  string // "ECDSA", "RSA", "Ed25519"
	PublicKeySize       int    // bits
	SerialNumber        string
	ChainLength         int
	Broken              bool // not parseable as X.509; only SHA256, ChainLength and perhaps the names are valid
}

// HTTPInfo is the first request and response of cleartext HTTP.
type HTTPInfo struct {
	Version   string // "1.1"
	Method    string
	Host      string // Host header, target or :authority, no port: a name or an address
	Path      string // without the query
	UserAgent string
	Status    int // 0: no response seen
}
