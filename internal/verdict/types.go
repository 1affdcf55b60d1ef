package verdict

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Verdict is the judgement of one connection (meshtls.verdict).
type Verdict string

// The verdicts. None means that there is no verdict, because the connection has no payload.
const (
	None      Verdict = ""
	MTLS      Verdict = "mtls"      // established, and a client certificate was presented
	TLS       Verdict = "tls"       // TLS, without proof that the client authenticated
	Plaintext Verdict = "plaintext" // plaintext was recognized
	Encrypted Verdict = "encrypted" // a recognized protocol with encryption other than TLS, such as SSH
	Failed    Verdict = "failed"    // a handshake that was rejected or aborted
	Unknown   Verdict = "unknown"   // too few bytes, or none that were recognized
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
	Packets uint64 // packets that were seen: a lower bound if the connection was thinned
}

// Judged is one connection with its verdict: everything that a record has about it. It is a value that does not
// change after Judge returned it.
type Judged struct {
	ID          uint64 // the connection's number in this run
	Interface   string // name of the capturing interface, empty if unknown
	Start, Last int64  // ns since the epoch
	Ended       bool   // the connection has left the table
	Settled     bool   // the verdict remains the same unless the connection continues differently than it began
	State       string // Zeek's conn_state
	Transport   string // "tcp" or "udp"
	Source      Endpoint
	Destination Endpoint
	NAT         Endpoint // destination.nat: the address to which a REDIRECT on lo sent the connection; Addr is invalid if there was no REDIRECT
	MissedStart bool     // the start was not captured
	MissedBytes uint64   // bytes of both streams that were not captured
	FlowHash    FlowHash // meshtls.flow_hash, zero if the start of a direction was missed

	Direction string // network.direction: "ingress", "egress", "internal", empty if unknown
	Scope     string // "wire" or "pod"
	Foreign   bool   // neither end is the pod's, although its addresses are known: nothing is learned from it
	Class     string // "workload", "probe", "dns", ...: by facts that neither end can choose
	Claimed   string // a class that the ends only claim, empty if none; findings ignore it
	Mesh      string // mesh that the connection looks like, a hint only; empty if none
	MeshBasis string // the evidence for Mesh: "alpn", "sni", "port", "certificate"

	Verdict  Verdict
	Protocol string   // network.protocol: "tls", "http", ..., empty if not recognized
	Reasons  []string // short codes that explain the verdict, never empty if Verdict is not None

	TLS  *TLSInfo  // nil if no TLS was seen
	HTTP *HTTPInfo // nil if no plaintext HTTP was seen

	Credentials     credentials.Kinds // kinds of credentials that were sent in plaintext, also before TLS
	CredentialsRead bool              // the part of the plaintext that is searched for credentials was read: see dissect.Session.Credentials

	PeerName, PeerNameBasis string // the remote end's name, and the source of that name

	only  onlyKind
	zones [2]flow.Zone
}

// onlyKind states whether a connection consists only of one repeated HTTP request, or only of DNS messages.
type onlyKind struct {
	request   bool // dissect.Session.OneRequest
	dns, asks bool // dissect.Session.OnlyDNS
}

// noteOnly sets o.only from the session.
func (o *Judged) noteOnly(s *dissect.Session) {
	o.only.request = s.OneRequest()
	o.only.dns, o.only.asks = s.OnlyDNS()
}

// TLSInfo is the TLS part of a judged connection. Empty strings are unknown.
type TLSInfo struct {
	Version, VersionProtocol string       // negotiated, such as "1.3" and "tls"
	Cipher                   string       // IANA name
	Curve                    string       // IANA name of the named group
	NextProtocol             string       // negotiated ALPN, only if it is in plaintext
	Resumed, Established     bool         // an earlier session was resumed; the end of the handshake was seen
	ServerName               string       // a host name, empty if the client sent none
	Misnamed                 bool         // the client sent a server name that is not a host name
	ALPNLeftOut              bool         // an ALPN name of either end is left out because it is invalid (tlsmsg.IsProtocolName)
	JA3, JA3S, JA4           string       // fingerprints; JA3 and JA3S as lower-case hex
	ClientShape              string       // fingerprint of the client that is the same for its resumptions (tlsmsg.ClientHello.Shape); not published
	SupportedCiphers         []string     // IANA names of the suites that the client offers
	Client, Server           *Certificate // nil if none was seen

	ClientAuth, ClientAuthBasis, ClientAuthRequested string   // Auth, Basis and Requested constants
	Outcome                                          string   // an Outcome constant
	Alert                                            string   // IANA description of the alert that ended the handshake
	ALPNOffered                                      []string // ALPN names that the client offers
	KeyShare                                         string   // IANA name of the server's selected group
	HelloRetry, EarlyData                            bool     // the server asked for a second ClientHello; the client offered early data
	SentByTap                                        bool     // the ClientHello has the random of a ClientHello of the tap
	ECHOffered                                       bool     // encrypted_client_hello was offered: ServerName is the outer one
	UpgradedFrom                                     string   // protocol before STARTTLS
	SessionHash                                      string   // hash of both randoms
	ClientChainBytes                                 int      // DER bytes of the client's chain, inferred or observed, 0 if unknown
	ClientKeyHint                                    string   // "ecdsa-p256", "rsa-2048", "ed25519", ...
	ClientAuthAge                                    int64    // ns since the handshake from which ClientAuth is inherited, 0 if it is not inherited
}

// Certificate is a leaf certificate that was sent in plaintext.
type Certificate struct {
	Subject, Issuer     string   // RFC 4514
	NotBefore, NotAfter int64    // seconds since the epoch
	SHA256              string   // lower-case hex of the DER
	AlternativeNames    []string // DNS names, addresses and URIs
	NamesOmitted        bool     // there are more alternative names, which are not kept because there are too many
	SPIFFE              string   // SPIFFE ID, or ""
	PublicKeyAlgorithm  string   // "ECDSA", "RSA", "Ed25519"
	PublicKeySize       int      // bits
	SignatureAlgorithm  string   // of the issuer's signature, such as "ECDSA-SHA256" or "SHA256-RSA"; empty if unknown
	SerialNumber        string   // upper-case hex
	ChainLength         int      // certificates in the chain, the leaf included
	Broken              bool     // not parsable as X.509; only SHA256, ChainLength and perhaps the names are valid
}

// HTTPInfo is the first request and response of plaintext HTTP.
type HTTPInfo struct {
	Version   string // "1.1"
	Method    string
	Host      string // Host header, target or :authority, no port: a name or an address
	Path      string // without the query
	UserAgent string
	Status    int // 0: no response seen
}
