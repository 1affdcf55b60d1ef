package verdict

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/iana"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// handshake is the conclusion from one TLS handshake, from which the verdict follows.
type handshake struct {
	auth, basis, requested string
	outcome                string
	alert                  string
	resumed                bool
	decided                bool   // auth will not change
	open                   bool   // the server may have accepted the client, so the end of the connection is not a failure
	chain                  int    // TLSInfo.ClientChainBytes as inferred, 0 if unknown
	hint                   string // TLSInfo.ClientKeyHint
	age                    int64  // TLSInfo.ClientAuthAge
	reasons                []string
}

func (h *handshake) because(codes ...string) {
	if h.reasons == nil {
		h.reasons = make([]string, 0, usualReasons)
	}
	h.reasons = append(h.reasons, codes...)
}

// usualReasons is the number of reasons that most judgements do not exceed.
const usualReasons = 4

func newHandshake() handshake {
	return handshake{auth: AuthUnknown, basis: BasisNone, requested: RequestedUnknown, outcome: OutcomeIncomplete}
}

// judgeTLS judges a connection that speaks TLS.
func (j *Judge) judgeTLS(out *Judged, c *flow.Conn, s *dissect.Session) {
	t := s.TLS()
	out.Protocol = [...]string{tlsmsg.OverTCP: "tls", tlsmsg.OverDTLS: "dtls", tlsmsg.OverQUIC: "quic"}[t.Over]
	if midstream(t) {
		judgeMidstream(out, c, s)
		return
	}

	h := j.handshake(c, s, out.Ended)
	if t.Over == tlsmsg.OverTCP {
		j.inherit(&h, out, t)
	}

	out.TLS = tlsInfo(t, &h)
	out.TLS.UpgradedFrom = s.UpgradedFrom()
	out.TLS.SupportedCiphers = j.offered(t.Hello)
	out.TLS.SentByTap = j.cfg.Sent != nil && t.Hello != nil && t.Over == tlsmsg.OverTCP && out.Direction == DirectionEgress && j.cfg.Sent(t.Hello.Random)

	out.because(h.reasons...)
	if s.Upgraded() {
		out.because("starttls")
	}
	if t.HelloRetry {
		out.because("hello_retry_request")
	}
	if t.HelloVerify {
		out.because("hello_verify_request")
	}
	for _, chain := range t.Certs {
		if chain != nil && chain.Compressed {
			out.because("certificate_compressed")
		}
	}
	if out.TLS.ECHOffered {
		out.because("ech_offered")
	}

	out.Verdict = verdictOf(&h)
	withdrawUnreadEnd(out, c)
	if out.Verdict == TLS && spokeOtherwise(c, s, t) {
		out.Verdict = Unknown
		out.because("unrecognized_data")
	}

	out.Settled = out.Settled || h.settled() && !s.Wrapped()
	judgeReadable(out, t)
	if t.Readable { // the content is readable, so everything else that the connection showed was forged
		h.auth, h.basis = AuthUnknown, BasisNone
	}

	switch {
	case !out.Settled:
		j.resumptions.noteOpen(c, t)
	case t.Over == tlsmsg.OverTCP:
		j.remember(&h, out, t)
	}
}

// handshakeOf returns the conclusion from the handshake of c only. It does not include facts that a resumption
// inherits.
func handshakeOf(c *flow.Conn, s *dissect.Session, t *dissect.TLS, ended bool) handshake {
	ends := closing(c, s, t)
	var h handshake
	switch {
	case t.Over == tlsmsg.OverQUIC:
		h = judgeSealed(t, ends, ended)
	case t.Server == nil:
		h = judgeHelloOnly(t, ends, ended)
	case t.Server.V2:
		h = newHandshake()
		h.because("ssl2_hello")
	case t.Over == tlsmsg.OverDTLS && t.Server.TLS13():
		h = judgeSealed(t, ends, ended)
	case t.Server.TLS13():
		h = judge13(t, ends, ended)
	default:
		h = judge12(t, ends, ended)
	}

	why := doubts(c, t.Conflict)
	if t.Mixed() {
		why = append(why, "second_handshake")
	}
	if len(why) > 0 && h.auth != AuthUnknown {
		h.auth, h.basis = AuthUnknown, BasisNone
		h.because(why...)
	}
	if !bothSpoke(c, s, t) {
		h.revertOneEnd(c, s, t, ended)
	}

	if verdictOf(&h) == Failed && !ended && !bothSentFIN(s) {
		h.decided = false
	}
	return h
}

// settled reports whether the conclusion is final, unless something unexpected follows.
func (h *handshake) settled() bool { return h.decided && h.outcome != OutcomeIncomplete }

// verdictOf returns the verdict that follows from a handshake's outcome and client authentication.
func verdictOf(h *handshake) Verdict {
	switch h.outcome {
	case OutcomeRejected, OutcomeAborted:
		return Failed
	case OutcomeEstablished:
		if h.auth == AuthPresented {
			return MTLS
		}
	}
	return TLS
}

// ends describes how the TLS client and server ended a connection.
type ends struct {
	client, server bool  // this side sent a FIN or a RST
	reset          bool  // either side sent a RST
	serverReset    bool  // the server sent a RST
	first          end   // the FIN or RST that was sent first
	blind          bool  // absence proves nothing: bytes were lost, have not arrived yet or could not be read, or one direction was not captured
	lasted         int64 // ns from the first packet to the latest
	sent           int64 // bytes of the client's stream
}

// closing returns how a connection has ended so far.
func closing(c *flow.Conn, s *dissect.Session, t *dissect.TLS) ends {
	cf, cr := s.Ended(t.Client)
	sf, sr := s.Ended(t.Client.Other())
	_, lostO := s.Seen(dissect.Originator)
	_, lostR := s.Seen(dissect.Responder)
	seen, missed := s.Seen(t.Client)
	e := ends{
		client: cf || cr, server: sf || sr, reset: cr || sr, serverReset: sr,
		blind:  lostO+lostR > 0 || hasPending(c) || c.Orig.Packets == 0 || c.Resp.Packets == 0 || c.Fragments || c.Doubtful() || recordsLost(s, t) || s.After() != nil || t.Mixed(),
		lasted: c.Last - c.First, sent: seen + missed,
	}

	e.first = end{e.client, e.server, e.reset}
	if side, reset, seen := t.FirstEnd(); seen {
		e.first = end{side == t.Client, side != t.Client, reset}
	}
	return e
}

// end is a FIN or RST of the TLS client or server.
type end struct{ client, server, reset bool }

// hasPending reports whether either end has sent bytes that the session has not received yet, or never will.
func hasPending(c *flow.Conn) bool {
	return c.Undelivered(flow.Originator) || c.Undelivered(flow.Responder) || c.LateStart()
}

// recordsLost reports whether a side's TLS record layer was lost, or its bytes are not TLS records.
func recordsLost(s *dissect.Session, t *dissect.TLS) bool {
	for _, side := range sides {
		if _, complete := t.Records(side); !complete || s.Unknown(side) {
			return true
		}
	}
	return false
}

// over reports whether no more handshake messages can come.
func (e ends) over() bool { return e.server || e.client }

// fail sets the outcome of a handshake that did not finish. It never concludes that a message was not sent if the
// message may have been lost.
func (h *handshake) fail(t *dissect.TLS, e ends) {
	if a, ok := fatalAlert(t); ok {
		h.outcome, h.alert = OutcomeRejected, iana.AlertName(a.Description)
		h.because("alert_received")
		return
	}
	switch {
	case e.blind || !e.over() || t.WentOn():
		return
	case e.first.reset:
		h.because("reset")
	case e.first.server:
		h.because("closed_by_server")
	default:
		h.because("closed_by_client")
	}
	h.outcome = OutcomeAborted
}

// judgeHelloOnly judges a ClientHello without a ServerHello.
func judgeHelloOnly(t *dissect.TLS, e ends, ended bool) handshake {
	h := newHandshake()
	h.because("no_server_hello")
	h.fail(t, e)
	h.decided = h.outcome != OutcomeIncomplete || ended
	return h
}

// tlsInfo returns the fields of the TLS part that follow from a handshake and its conclusion.
func tlsInfo(t *dissect.TLS, h *handshake) *TLSInfo {
	out := &TLSInfo{
		Resumed: h.resumed, Established: h.outcome == OutcomeEstablished,
		ClientAuth: h.auth, ClientAuthBasis: h.basis, ClientAuthRequested: h.requested, Outcome: h.outcome, Alert: h.alert,
		HelloRetry: t.HelloRetry,
		Client:     certificate(t.Certs[t.Client]), Server: certificate(t.Certs[t.Client.Other()]),
	}

	if !t.RolesKnown {
		// without a hello it is unknown who sent a Certificate
		out.Client, out.Server = nil, nil
	}

	if hello := t.Hello; hello != nil {
		out.offer(hello, [...]byte{tlsmsg.OverTCP: 't', tlsmsg.OverDTLS: 'd', tlsmsg.OverQUIC: 'q'}[t.Over])
	}
	if t.Over == tlsmsg.OverQUIC {
		out.Version, out.VersionProtocol = "1.3", "tls" // RFC 9001: QUIC has no older version
	}

	if server := t.Server; server != nil {
		out.Version, out.VersionProtocol = versionName(server.Version)
		out.JA3S = server.JA3S()
		if tlsmsg.IsProtocolName(server.ALPN) {
			out.NextProtocol = server.ALPN
		}
		out.ALPNLeftOut = out.ALPNLeftOut || out.NextProtocol != server.ALPN
		if !server.V2 {
			out.Cipher = iana.CipherSuiteName(server.CipherSuite)
		}
		if group := max(server.Group, t.ServerKeyGroup); group != 0 {
			out.Curve = iana.GroupName(group)
			if server.Group != 0 {
				out.KeyShare = out.Curve
			}
		}
		if t.Hello != nil {
			d := sha256.Sum256(append(t.Hello.Random[:], server.Random[:]...))
			out.SessionHash = hexOf([16]byte(d[:16]))
		}
	}

	out.ClientChainBytes, out.ClientKeyHint, out.ClientAuthAge = h.chain, h.hint, h.age
	if chain := t.Certs[t.Client]; chain != nil && out.Client != nil {
		out.ClientChainBytes = chain.Bytes
	}
	return out
}

// offer fills in what the client offered. transport is the letter of JA4 for the transport.
func (x *TLSInfo) offer(hello *tlsmsg.ClientHello, transport byte) {
	name, ok := hello.Name()
	x.ServerName, x.Misnamed, x.ALPNOffered = name, !ok, hello.ALPN
	if unnamed := func(name string) bool { return !tlsmsg.IsProtocolName(name) }; slices.ContainsFunc(hello.ALPN, unnamed) {
		x.ALPNOffered, x.ALPNLeftOut = slices.DeleteFunc(slices.Clone(hello.ALPN), unnamed), true
	}
	x.JA3, x.JA4, x.ClientShape = hello.JA3(), hello.JA4(transport), hello.Shape()
	x.EarlyData, x.ECHOffered = hello.EarlyData(), hello.ECH()
}

// maxOffers bounds the stored lists of suites.
const maxOffers = 256

// offered returns the names of the suites that a client offers. There are few kinds of clients, so each list is
// stored once.
func (j *Judge) offered(hello *tlsmsg.ClientHello) []string {
	if hello == nil || len(hello.CipherSuites) == 0 {
		return nil
	}
	var buffer [256]byte
	key := buffer[:0]
	for _, c := range hello.CipherSuites {
		key = binary.BigEndian.AppendUint16(key, c)
	}

	if names, ok := j.offers[string(key)]; ok {
		return names
	}
	names := make([]string, len(hello.CipherSuites))
	for i, c := range hello.CipherSuites {
		names[i] = iana.CipherSuiteName(c)
	}

	if j.offers == nil {
		j.offers = map[string][]string{}
	}
	if len(j.offers) < maxOffers {
		j.offers[string(key)] = names
	}
	return names
}

// versionName returns a version number as the record has it, such as "1.2" and "tls".
func versionName(v uint16) (version, protocol string) {
	switch v {
	case 0x0002:
		return "2.0", "ssl"
	case 0x0300:
		return "3.0", "ssl"
	case 0x0301:
		return "1.0", "tls"
	case 0x0302:
		return "1.1", "tls"
	case 0x0303:
		return "1.2", "tls"
	case 0xfeff, 0x0100:
		return "1.0", "dtls"
	case 0xfefd:
		return "1.2", "dtls"
	case 0xfefc:
		return "1.3", "dtls"
	}
	return "1.3", "tls" // TLS 1.3 and its drafts
}

// certificate returns the leaf of a chain, or nil.
func certificate(c *tlsmsg.Chain) *Certificate {
	if c == nil || c.Length == 0 {
		return nil
	}
	out := &Certificate{SHA256: hex.EncodeToString(c.SHA256[:]), ChainLength: c.Length, Broken: c.Broken, Subject: c.Subject, Issuer: c.Issuer}
	x := c.Leaf
	if x == nil {
		return out
	}

	out.NotBefore, out.NotAfter, out.SerialNumber = x.NotBefore, x.NotAfter, x.SerialNumber
	out.AlternativeNames, out.NamesOmitted, out.SPIFFE = x.AlternativeNames, x.Omitted, x.SPIFFE
	out.PublicKeyAlgorithm, out.PublicKeySize, out.SignatureAlgorithm = x.PublicKeyAlgorithm, x.PublicKeySize, x.SignatureAlgorithm
	return out
}
