package verdict

import (
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Config describes the surroundings of the tap. The zero value means that nothing is known about them.
type Config struct {
	Local     []netip.Prefix // the pod's own addresses
	Nodes     []netip.Addr   // the node's addresses (HOST_IPS)
	Ambient   bool           // the pod is enrolled in Istio's ambient mode
	Gateways  []netip.Addr   // the pod's default gateways: on a bridge, probes and clients behind SNAT come from them
	Resolvers []netip.Addr   // the pod's DNS servers
	Probed    []Probe        // probes that the pod declares
	Scraped   []uint16       // ports at which the pod declares metrics
	Meshes    []string       // meshes whose proxy is known to be in the pod, named as in profiles; the proxy's ports follow from them
	Cluster   []netip.Prefix // ranges of pods and services, as declared
	APIServer netip.AddrPort // KUBERNETES_SERVICE_HOST and _PORT
	Listen    uint16         // the tap's own port in the pod, 0 if it has none
	Replies   bool           // the pod's own packets are captured too, so a connection without any of them was not accepted

	// Sent reports whether one of the tap's own connections began with a ClientHello that has this random. Proxied
	// reports whether a proxy in the pod accepts the tap's connections to this address and opens others instead. nil
	// means never.
	Sent    func(random [32]byte) bool
	Proxied func(to netip.AddrPort) bool
}

// Judge judges connections. It remembers full handshakes for later resumptions, and the names of addresses, in
// bounded tables. It is not safe for concurrent use.
type Judge struct {
	cfg         Config
	resumptions resumptions
	hostNames   hostNames
	shared      shared
	cached      cachedHandshake
	offers      map[string][]string // names of the suites that clients offer, by their concatenated numbers
}

// New returns a Judge that remembers nothing yet. It retains the slices and functions of cfg.
func New(cfg Config) *Judge { return &Judge{cfg: cfg, resumptions: newResumptions()} }

// SetLocal replaces Config.Local: the pod's addresses may become known late.
func (j *Judge) SetLocal(local []netip.Prefix) { j.cfg.Local = local }

// SetListen replaces Config.Listen: whether the tap got its port becomes known late.
func (j *Judge) SetListen(port uint16) { j.cfg.Listen = port }

// Judge returns the verdict on c from the packets and bytes seen so far. s is nil for a connection without payload.
// iface is the name of the interface, empty if unknown. ended reports that the connection is over: the verdict is
// final.
func (j *Judge) Judge(c *flow.Conn, s *dissect.Session, iface string, ended bool) (out Judged) {
	j.describe(&out, c, iface, ended)
	var peer peerName
	if s != nil {
		out.MissedBytes = missedBytes(c, s)
		out.noteOnly(s)
		j.judgeSession(&out, c, s, ended)
		peer.name, peer.set = s.Peer()
	}
	j.complete(&out, c, &peer)
	if s != nil && peer.set {
		s.SetPeer(peer.name)
	}
	j.cached.session = nil // the session may be reused for another connection
	return out
}

// complete fills in the fields that follow from the others.
func (j *Judge) complete(out *Judged, c *flow.Conn, peer *peerName) {
	j.withdrawContradicted(out, c)
	out.Class, out.Claimed = j.class(out)
	out.only = onlyKind{}
	out.Mesh, out.MeshBasis = meshOf(out)
	j.namePeer(out, c, peer)
}

// Settled reports whether Judge would now set Judged.Settled for c. It takes less time and memory than Judge. Use it
// after each change of a connection.
func (j *Judge) Settled(c *flow.Conn, s *dissect.Session) bool {
	if concluded(s) != nil || j.settled(c, s) {
		return true
	}
	if s.After() == nil { // otherwise s keeps the judgement of the earlier TLS
		s.SetConclusion(nil)
	}
	return false
}

// settled does the work of Settled for a session without a stored judgement. It stores the handshake for Judge
// (cachedHandshake).
func (j *Judge) settled(c *flow.Conn, s *dissect.Session) bool {
	t := s.TLS()
	switch {
	case s.After() != nil:
		return j.settledAfter(c, s)
	case !hasPayload(s):
		return false
	case s.Failed():
		return true
	case j.MayBeTurnedAway(c):
		return false
	case t == nil || s.AnsweredInPlaintext():
		kind, _ := kindOf(s)
		return kindSettled(s, kind) && !j.classPending(c, s)
	case t.Readable:
		return true
	case unansweredHello(c, s):
		return closed(s)
	case midstream(t):
		return !t.HelloBegun && chainedBothWays(c, s, t)
	}

	var h handshake
	if !awaitsFlight13(s, t) {
		h = handshakeOf(c, s, t, false)
	}
	if !h.settled() || s.Wrapped() {
		if !j.foreign(c) {
			j.resumptions.noteOpen(c, t)
		}
		return false
	}

	j.cached = cachedHandshake{momentOf(c, s), h}
	return true
}

// awaitsFlight13 reports whether a TLS 1.3 handshake lacks all packets that decide it: a record of the client's
// flight, a plaintext alert, the end of the connection. It is a quick check for the most frequent case in which
// handshakeOf would settle nothing.
func awaitsFlight13(s *dissect.Session, t *dissect.TLS) bool {
	if t.Over != tlsmsg.OverTCP || len(t.Alerts) > 0 || t.Server != nil && (t.Server.V2 || !t.Server.TLS13()) {
		return false
	}
	for _, side := range sides {
		if fin, rst := s.Ended(side); fin || rst {
			return false
		}
	}
	records, _ := t.Records(t.Client)
	return len(records) == 0
}

// cachedHandshake is the result of Settled. It is reused if Judge is called at the same moment.
type cachedHandshake struct {
	moment
	handshake handshake
}

// moment identifies a state of a session. Conclusions from the session do not change as long as its moment is the same.
type moment struct {
	session  *dissect.Session
	revision uint32
	packets  uint64
}

func momentOf(c *flow.Conn, s *dissect.Session) moment {
	return moment{s, s.Revision(), c.Orig.Packets + c.Resp.Packets}
}

// handshake returns the result of handshakeOf, from the cache if Settled has just computed it.
func (j *Judge) handshake(c *flow.Conn, s *dissect.Session, ended bool) handshake {
	f := j.cached
	j.cached = cachedHandshake{}
	if !ended && f.moment == momentOf(c, s) {
		return f.handshake
	}
	return handshakeOf(c, s, s.TLS(), ended)
}

// judgement is the part of Judged that follows from the session's bytes. It is kept when a settled session is
// finished.
type judgement struct {
	verdict  Verdict
	protocol string
	reasons  []string
	tls      *TLSInfo
	http     *HTTPInfo

	credentials     credentials.Kinds
	credentialsRead bool
}

// judgementOf returns the judgement in o.
func judgementOf(o *Judged) judgement {
	return judgement{o.Verdict, o.Protocol, slices.Clip(o.Reasons), o.TLS, o.HTTP, o.Credentials, o.CredentialsRead}
}

// repeatIn sets the fields of o that k has.
func (k *judgement) repeatIn(o *Judged) {
	o.Verdict, o.Protocol, o.Reasons, o.TLS, o.HTTP = k.verdict, k.protocol, k.reasons, k.tls, k.http
	o.Credentials, o.CredentialsRead = k.credentials, k.credentialsRead
}

// concluded returns the judgement that is stored in a finished session. It returns nil if no judgement is stored, or if the
// session must be judged again: it is not finished, or its parser failed.
func concluded(s *dissect.Session) *judgement {
	if after := s.After(); after != nil {
		s = after // after has the judgement of both sessions
	}
	if k, ok := s.Conclusion().(*judgement); ok && s.Finished() && !s.Failed() {
		return k
	}
	return nil
}

// judgeSession judges a session. For a finished session, it repeats the judgement that was stored before.
func (j *Judge) judgeSession(out *Judged, c *flow.Conn, s *dissect.Session, ended bool) {
	if k := concluded(s); k != nil {
		k.repeatIn(out)
		out.Settled = true
		return
	}

	if ended {
		s.Conclude()
	}
	holder := s
	if s.After() != nil {
		j.judgeAfter(out, c, s)
		holder = s.After()
	} else {
		j.judge(out, c, s)
	}

	switch {
	case ended:
		j.resumptions.noteDone(out.ID, out.Last, false)
	case out.Settled:
		k, ok := s.Conclusion().(*judgement)
		if !ok || s.Finished() || holder != s { // k may be shared with another session
			k = new(judgement)
		}
		*k = judgementOf(out)
		if holder.SetConclusion(k); !s.Finished() {
			s.SetConclusion(k)
		}
	default:
		holder.SetConclusion(nil)
	}
}

// describe fills in the fields that follow from the packets' headers. out must be zero.
func (j *Judge) describe(out *Judged, c *flow.Conn, iface string, ended bool) {
	out.ID, out.zones, out.Interface, out.Start, out.Last = c.ID, c.Zones, iface, c.First, c.Last
	out.Ended, out.Settled = ended, ended

	out.Transport, out.State = "tcp", c.State.String()
	if c.Transport == wire.ProtoUDP {
		out.Transport, out.State = "udp", ""
	}

	out.Source.from(&c.Orig)
	out.Destination.from(&c.Resp)
	if c.Redirected != nil {
		out.NAT.from(c.Redirected)
	}

	out.MissedStart, out.MissedBytes, out.FlowHash = c.MissedStart, c.Orig.Missed+c.Resp.Missed, flowHash(c)
	out.Direction, out.Scope = j.locate(out, c)
	out.Foreign = out.Direction == "" && j.foreign(c)
}

func (p *Endpoint) from(e *flow.Endpoint) {
	p.Addr, p.Port, p.Bytes, p.Packets = e.Addr, e.Port, e.Bytes, e.Packets
}

// because adds reason codes, except those that are already in o.
func (o *Judged) because(codes ...string) {
	if o.Reasons == nil && len(codes) > 0 {
		o.Reasons = make([]string, 0, usualReasons)
	}
	for _, c := range codes {
		if !slices.Contains(o.Reasons, c) {
			o.Reasons = append(o.Reasons, c)
		}
	}
}

// judge sets the verdict, its reasons, and the fields of TLS and HTTP.
func (j *Judge) judge(out *Judged, c *flow.Conn, s *dissect.Session) {
	if !hasPayload(s) {
		return
	}
	out.HTTP = httpInfo(s.HTTP())
	out.Credentials, out.CredentialsRead = s.Credentials()

	switch {
	case s.Failed():
		out.Verdict = Unknown
		out.because("dissector_failed")
		out.Settled = true
	case s.TLS() != nil && s.TLS().Over == tlsmsg.OverQUIC && !quicShown(s) && !s.AnsweredInPlaintext():
		out.Verdict, out.Protocol = Unknown, "quic"
		out.because("quic_long_header", "no_client_hello")
	case unansweredHello(c, s):
		judgeUnanswered(out, s)
	case s.TLS() != nil && !s.AnsweredInPlaintext():
		j.judgeTLS(out, c, s)
	default:
		j.judgeOther(out, c, s)
	}

	switch {
	case turnedAway(c):
		out.withdrawUnread("answered_by_resets")
	case out.Ended && j.unanswered(c):
		out.withdrawUnread("never_answered")
	case j.MayBeTurnedAway(c) && !out.Ended && !s.Failed():
		out.Settled = false
	}

	if out.Verdict == Unknown || out.Verdict == TLS {
		out.because(blindSpots(c, s)...)
	}
	out.because(misnamed(out, s)...)
}

// misnamed returns a reason for each kind of name that was sent but is left out. A name is left out if it is invalid,
// or if a request named several hosts.
func misnamed(out *Judged, s *dissect.Session) (why []string) {
	if h := s.HTTP(); h != nil && h.Misnamed {
		why = append(why, "host_not_a_name")
	}
	if out.TLS == nil {
		return why
	}
	if out.TLS.Misnamed {
		why = append(why, "sni_not_a_name")
	}
	if out.TLS.ALPNLeftOut {
		why = append(why, "alpn_not_a_name")
	}
	for _, c := range s.TLS().Certs {
		if c != nil && c.Leaf != nil && c.Leaf.Misnamed {
			return append(why, "certificate_names_left_out")
		}
	}
	return why
}

// hasPayload reports whether either side sent bytes, captured or not.
func hasPayload(s *dissect.Session) bool {
	for _, side := range sides {
		if seen, missed := s.Seen(side); seen+missed > 0 {
			return true
		}
	}
	return false
}

var sides = [2]dissect.Side{dissect.Originator, dissect.Responder}

// missedBytes returns how many bytes were not captured, because packets were lost or truncated.
func missedBytes(c *flow.Conn, s *dissect.Session) uint64 {
	_, a := s.Seen(dissect.Originator)
	_, b := s.Seen(dissect.Responder)
	return max(c.Orig.Missed+c.Resp.Missed, uint64(a+b))
}

// blindSpots returns the reasons for which the verdict could not be more specific.
func blindSpots(c *flow.Conn, s *dissect.Session) []string {
	var why []string
	if c.MissedStart {
		why = append(why, "missed_start")
	}
	if missedBytes(c, s) > 0 {
		why = append(why, "missed_bytes")
	}
	why = append(why, doubts(c, false)...)
	a, _ := s.Seen(dissect.Originator)
	b, _ := s.Seen(dissect.Responder)
	if c.Transport == wire.ProtoTCP && (a == 0 && c.Orig.Packets == 0 || b == 0 && c.Resp.Packets == 0) {
		why = append(why, "one_direction_only")
	}
	return why
}

func httpInfo(h *dissect.HTTP) *HTTPInfo {
	if h == nil {
		return nil
	}
	return &HTTPInfo{Version: h.Version, Method: h.Method, Host: h.Host, Path: h.Path, UserAgent: h.UserAgent, Status: h.Status}
}
