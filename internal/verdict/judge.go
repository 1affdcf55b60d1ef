package verdict

import (
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Config says what is known of the place that is tapped. The zero value knows nothing.
type Config struct {
	Local     []netip.Prefix // the pod's own addresses
	Nodes     []netip.Addr   // the node's addresses (HOST_IPS)
	Ambient   bool           // the pod is enrolled in Istio's ambient mode
	Gateways  []netip.Addr   // the pod's default gateways: where probes come from on a bridge, and clients behind SNAT
	Resolvers []netip.Addr   // the pod's DNS servers
	Probed    []Probe        // probes that the pod declares
	Scraped   []uint16       // ports that the pod declares metrics at
	Meshes    []string       // meshes whose proxy is known to be in the pod, as profiles name them: it has their ports
	Cluster   []netip.Prefix // ranges of pods and services, as declared
	APIServer netip.AddrPort // KUBERNETES_SERVICE_HOST and _PORT
	Listen    uint16         // the tap's own port of the pod, 0 if it has none

	// Sent reports whether one of the tap's own connections began with a ClientHello that has
	// this random. Proxied reports whether a proxy in the pod accepts the tap's connections to
	// this address and opens others in their place. nil: no.
	Sent    func(random [32]byte) bool
	Proxied func(to netip.AddrPort) bool
}

// Judge judges connections. It remembers full handshakes for the resumptions that
// follow them, and the names of addresses, in bounded tables. It is not safe for concurrent use.
type Judge struct {
	cfg         Config
	resumptions resumptions
	hostNames   hostNames
	shared      shared
	cached      cachedHandshake
	offers      map[string][]string // names of the suites that clients offer, by their numbers
}

// New returns a Judge.
func New(cfg Config) *Judge { return &Judge{cfg: cfg, resumptions: newResumptions()} }

// SetLocal replaces Config.Local: the pod's addresses may become known late.
func (j *Judge) SetLocal(local []netip.Prefix) { j.cfg.Local = local }

// SetListen replaces Config.Listen: whether the tap got its port is known late.
func (j *Judge) SetListen(port uint16) { j.cfg.Listen = port }

// Judge says what c is, as far as s has been seen. s may be nil: no payload came.
// iface is the name of the interface, empty where a capture does not tell it. ended
// says that no more will come.
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
	j.cached.session = nil // it may be used again for another connection
	return out
}

// complete fills in what is drawn from all the rest.
func (j *Judge) complete(out *Judged, c *flow.Conn, peer *peerName) {
	j.withdrawContradicted(out, c)
	out.Class, out.Claimed = j.class(out)
	out.only = onlyKind{}
	out.Mesh, out.MeshBasis = meshOf(out)
	j.namePeer(out, c, peer)
}

// Settled reports whether Judge would call c settled now, at less cost in time and memory. Use it after each change
// of a connection.
func (j *Judge) Settled(c *flow.Conn, s *dissect.Session) bool {
	if concluded(s) != nil || j.settled(c, s) {
		return true
	}
	if s.After() == nil { // else it keeps what was concluded before
		s.Keep(nil)
	}
	return false
}

func (j *Judge) settled(c *flow.Conn, s *dissect.Session) bool {
	t := s.TLS()
	switch {
	case s.After() != nil:
		return j.settledAfter(c, s)
	case !hasPayload(s):
		return false
	case s.Failed():
		return true
	case MayBeTurnedAway(c):
		return false
	case t == nil || s.InClear():
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

// awaitsFlight13 reports whether a handshake of TLS 1.3 has not come to what decides it: no record of
// the client's flight, no alert in plaintext and no end of the connection. It is the most
// frequent case in which handshakeOf finds nothing settled, in few instructions.
func awaitsFlight13(s *dissect.Session, t *dissect.TLS) bool {
	if t.Over != dissect.OverTCP || len(t.Alerts) > 0 || t.Server != nil && (t.Server.V2 || !t.Server.TLS13()) {
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

// cachedHandshake is a handshake as Settled has found it, for a call of Judge at the same moment.
type cachedHandshake struct {
	moment
	handshake handshake
}

// moment is a point of a session's life: conclusions do not change within it.
type moment struct {
	session  *dissect.Session
	revision uint32
	packets  uint64
}

func momentOf(c *flow.Conn, s *dissect.Session) moment {
	return moment{s, s.Revision(), c.Orig.Packets + c.Resp.Packets}
}

// handshake is handshakeOf, which is not worked out twice in a row.
func (j *Judge) handshake(c *flow.Conn, s *dissect.Session, ended bool) handshake {
	f := j.cached
	j.cached = cachedHandshake{}
	if !ended && f.moment == momentOf(c, s) {
		return f.handshake
	}
	return handshakeOf(c, s, s.TLS(), ended)
}

// judgement is what remains of a settled session once it is finished: what of Judged
// was drawn from its bytes.
type judgement struct {
	verdict  Verdict
	protocol string
	reasons  []string
	tls      *TLSInfo
	http     *HTTPInfo
}

// concluded returns what was concluded of a session before it was finished, nil if it is
// not finished or gave up.
func concluded(s *dissect.Session) *judgement {
	if after := s.After(); after != nil {
		s = after // which has the conclusion of both
	}
	if k, ok := s.Kept().(*judgement); ok && s.Finished() && !s.Failed() {
		return k
	}
	return nil
}

// judgeSession judges a session, or repeats what was concluded of it before it was finished.
func (j *Judge) judgeSession(out *Judged, c *flow.Conn, s *dissect.Session, ended bool) {
	if k := concluded(s); k != nil {
		out.Verdict, out.Protocol, out.Reasons, out.TLS, out.HTTP = k.verdict, k.protocol, k.reasons, k.tls, k.http
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
		k, ok := s.Kept().(*judgement)
		if !ok || s.Finished() || holder != s { // somebody may have it
			k = new(judgement)
		}
		k.verdict, k.protocol, k.reasons, k.tls, k.http = out.Verdict, out.Protocol, slices.Clip(out.Reasons), out.TLS, out.HTTP
		if holder.Keep(k); !s.Finished() {
			s.Keep(k)
		}
	default:
		holder.Keep(nil)
	}
}

// describe fills in what the packets' headers tell.
// out is zero.
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

// because adds reasons, each once.
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

// judge sets the verdict.
func (j *Judge) judge(out *Judged, c *flow.Conn, s *dissect.Session) {
	if !hasPayload(s) {
		return
	}
	out.HTTP = httpInfo(s.HTTP())
	switch {
	case s.Failed():
		out.Verdict = Unknown
		out.because("dissector_failed")
		out.Settled = true
	case s.TLS() != nil && s.TLS().Over == dissect.OverQUIC && !quicShown(s) && !s.InClear():
		out.Verdict, out.Protocol = Unknown, "quic"
		out.because("quic_long_header", "no_client_hello")
	case unansweredHello(c, s):
		judgeUnanswered(out, s)
	case s.TLS() != nil && !s.InClear():
		j.judgeTLS(out, c, s)
	default:
		j.judgeOther(out, c, s)
	}
	switch {
	case turnedAway(c):
		out.withdrawUnread()
	case MayBeTurnedAway(c) && !out.Ended && !s.Failed():
		out.Settled = false
	}
	if out.Verdict == Unknown || out.Verdict == TLS {
		out.because(blindSpots(c, s)...)
	}
	out.because(misnamed(out, s)...)
}

// misnamed returns why names that were sent are left out: they are none.
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

func hasPayload(s *dissect.Session) bool {
	for _, side := range sides {
		if seen, missed := s.Seen(side); seen+missed > 0 {
			return true
		}
	}
	return false
}

var sides = [2]dissect.Side{dissect.Originator, dissect.Responder}

// missedBytes returns how many bytes never came, or were cut off where they were wanted.
func missedBytes(c *flow.Conn, s *dissect.Session) uint64 {
	_, a := s.Seen(dissect.Originator)
	_, b := s.Seen(dissect.Responder)
	return max(c.Orig.Missed+c.Resp.Missed, uint64(a+b))
}

// blindSpots names what kept a judgement from saying more.
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
