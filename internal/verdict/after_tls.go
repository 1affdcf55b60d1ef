package verdict

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Bytes that follow the end of TLS in the same connection are judged like a connection of their own
// (dissect.Session.After). The weaker of the two verdicts counts.

// settledAfter is like settled, for a session whose TLS was followed by other bytes.
func (j *Judge) settledAfter(c *flow.Conn, s *dissect.Session) bool {
	var out Judged
	j.describe(&out, c, "", false)
	j.judgeAfter(&out, c, s)
	return out.Settled
}

// judgeAfter is like judge, for a session whose TLS was followed by other bytes.
func (j *Judge) judgeAfter(out *Judged, c *flow.Conn, s *dissect.Session) {
	second := *out
	if after := s.After(); after.After() != nil {
		j.judgeAfter(&second, c, after)
	} else {
		j.judge(&second, c, after)
	}

	second.addOutside(s.After())

	if k, ok := s.Conclusion().(*judgement); ok && s.Finished() && !s.Failed() {
		k.repeatIn(out)
		out.Reasons, out.Settled = slices.Clone(k.reasons), true
	} else {
		j.judge(out, c, s)
	}
	out.Credentials |= second.Credentials

	switch {
	case second.Verdict == Plaintext || second.Verdict == Encrypted && !s.Parted():
		out.addDataAfter(&second)
	case s.Parted():
		out.addLostHandshake(c, s.After())
	case second.Verdict == None:
	case second.Verdict == Unknown:
		if !s.Unsure() {
			out.addUnknownAfter(&second, s.After())
		}
	default:
		j.resumptions.blockInheritance(&second, s.After().TLS())
		missed := missedBytes(c, s)+c.Orig.Truncated+c.Resp.Truncated > 0 || hasPending(c)
		out.addSecondHandshake(&second, s.After(), missed)
	}
}

// addOutside adds what the bytes of after show that are not TLS records. Plaintext between two handshakes is plaintext on
// the wire, whatever handshake follows it. If TLS ended too often to be examined further, the rest is unknown.
func (o *Judged) addOutside(after *dissect.Session) {
	if o.Verdict == Plaintext || after.TLS() == nil || after.Failed() {
		return
	}
	kind, protocol := after.Outside()
	if kind == dissect.KindNone && !after.Overrun() {
		return
	}

	o.Verdict, o.Protocol, o.Settled, o.Reasons = Plaintext, protocol, true, nil
	switch kind {
	case dissect.KindPlain:
		plainReasons(o, after, protocol)
	case dissect.KindText:
		o.because("text_like")
	case dissect.KindStructured:
		o.because("structured_plaintext")
	case dissect.KindUnreadable:
		o.Verdict = Unknown
		o.because("unrecognized_data")
	default:
		o.Verdict = Unknown
	}
	o.because("second_handshake")
}

// blockInheritance handles a client that makes two handshakes in one connection. It is unknown which of them issued a
// ticket, so later connections inherit nothing from this client.
func (m *resumptions) blockInheritance(out *Judged, t *dissect.TLS) {
	if t == nil || t.Hello == nil || t.Client != dissect.Originator {
		return
	}
	if p := m.historyOf(out.key(t), out.Start); p != nil {
		p.first, p.last, p.disagree = max(p.first, 1), max(p.last, out.Start), max(p.disagree, out.Last)
	}
}

// addDataAfter records that TLS was followed by plaintext, or by encryption other than TLS.
func (o *Judged) addDataAfter(second *Judged) {
	if o.Verdict == Plaintext {
		return
	}
	code := "other_data_after_tls"
	if second.Verdict == Plaintext {
		code = "plaintext_after_tls"
	}

	protocol := second.Protocol
	if protocol == "" && o.TLS != nil {
		protocol = o.TLS.UpgradedFrom // the protocol continues after TLS
	}
	o.Verdict, o.Protocol, o.HTTP, o.Settled, o.CredentialsRead = second.Verdict, protocol, second.HTTP, second.Settled, second.CredentialsRead
	o.Reasons = append([]string{code}, second.Reasons...)
}

// addUnknownAfter records that TLS was followed by bytes that are neither TLS records nor a known protocol.
func (o *Judged) addUnknownAfter(second *Judged, after *dissect.Session) {
	if o.Verdict == Plaintext {
		return
	}
	unreadable := false
	for _, side := range sides {
		kind, _ := after.Kind(side)
		unreadable = unreadable || kind == dissect.KindUnreadable
	}

	o.Verdict, o.Protocol, o.HTTP = Unknown, second.Protocol, nil
	o.Settled = second.Settled || o.Settled && unreadable
	o.Reasons = append([]string{"other_data_after_tls"}, second.Reasons...)
}

// addSecondHandshake records that the first handshake was followed by a second one, whose ClientHello is in
// plaintext. missed reports whether bytes of the connection are missing. They may belong to either handshake, so neither
// shows mutual authentication.
func (o *Judged) addSecondHandshake(second *Judged, after *dissect.Session, missed bool) {
	t := after.TLS()
	o.Reasons = slices.Clip(o.Reasons)
	switch {
	case o.Verdict == Plaintext:
		return
	case o.Verdict == Unknown || o.Verdict == Encrypted:
	case !missed && (second.Verdict == Failed || t != nil && helloOnly(t)):
		// nothing was sent under the second handshake, so the first one counts
	case weakness(second) > weakness(o):
		o.Verdict, o.Protocol, o.TLS, o.Reasons = second.Verdict, second.Protocol, second.TLS, slices.Clone(second.Reasons)
	}
	o.Settled = o.Settled && second.Settled
	if missed && o.Verdict == MTLS {
		o.withdrawClient()
		o.because("missed_bytes")
	}
	o.because("second_handshake")
}

// withdrawClient changes a verdict of mtls to tls, because it is unknown whether the client was authenticated.
func (o *Judged) withdrawClient() {
	info := *o.TLS
	info.ClientAuth, info.ClientAuthBasis, info.ClientAuthAge = AuthUnknown, BasisNone, 0
	info.Client, info.ClientChainBytes, info.ClientKeyHint = nil, 0, ""
	o.Verdict, o.TLS, o.Reasons = TLS, &info, nil
}

// addLostHandshake records that a second handshake may have been lost. It is then unknown which handshake made the
// keys of the later records.
func (o *Judged) addLostHandshake(c *flow.Conn, after *dissect.Session) {
	o.Settled = true
	if o.Verdict != MTLS {
		return
	}
	o.withdrawClient()
	o.because("no_client_hello", "mid_stream_records")
	o.because(blindSpots(c, after)...)
}

// helloOnly reports whether the ClientHello is the only message of a handshake.
func helloOnly(t *dissect.TLS) bool {
	client, server := t.Certs[t.Client], t.Certs[t.Client.Other()]
	said := client != nil || server != nil || t.ServerHelloDone || t.CertificateRequest || t.ServerKeyGroup != 0
	return !said && t.Server == nil && t.AppRecords == [2]int{} && !t.ChangeCipherSpec(dissect.Originator) && !t.ChangeCipherSpec(dissect.Responder) && t.Protected1RTT == [2]int{}
}

// weakness ranks the handshakes of one connection; the handshake with the larger result counts. It returns 0 if
// the verdict is neither tls nor mtls, 1 for mtls, 2 for tls with a client that may have a certificate, and 3 for
// tls with a client that sent none.
func weakness(o *Judged) int {
	switch {
	case o.Verdict == MTLS:
		return 1
	case o.Verdict != TLS:
		return 0
	case o.TLS != nil && (o.TLS.ClientAuth == AuthDeclined || o.TLS.ClientAuth == AuthNotRequested):
		return 3
	}
	return 2
}
