package verdict

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// judge12 judges a handshake of TLS 1.2 or older, whose messages are in plaintext (RFC 5246, section 7.3).
func judge12(t *dissect.TLS, e ends, ended bool) handshake {
	h := newHandshake()
	client, server := t.Client, t.Client.Other()
	if abbreviated(t) {
		return judgeResumed12(t, e, ended)
	}
	observe12(&h, t)

	switch {
	case t.Finished[server] || t.ChangeCipherSpec(server) && t.AppRecords[server] > 0:
		h.outcome = OutcomeEstablished
		h.because("tls12_finished")
	case t.Finished[client] && e.blind && t.Carried():
		h.outcome = OutcomeEstablished
		h.because("application_data_seen")
	default:
		h.fail(t, e)
	}

	h.decided = h.outcome != OutcomeIncomplete || ended
	switch {
	case h.auth == AuthPresented:
		if why := unproved(t); why != "" && h.outcome != OutcomeRejected && h.outcome != OutcomeAborted {
			h.auth, h.basis = AuthUnknown, BasisNone
			h.because(why)
		}
	case h.outcome == OutcomeEstablished && t.AppRecords[server] == 0 && !ended && !e.over():
		h.decided = false // before its first response, a server may request a certificate by renegotiation
	}
	return h
}

// observe12 sets client authentication from the messages that were seen.
func observe12(h *handshake, t *dissect.TLS) {
	client, server := t.Client, t.Client.Other()
	switch {
	case t.CertificateRequest:
		h.requested = RequestedYes
		h.because("certificate_requested")
	case t.ServerHelloDone && !t.LostHandshake[server]:
		h.requested = RequestedNo
	}

	cert := t.Certs[client]
	switch {
	case cert != nil && cert.Length > 0:
		h.because("client_certificate_seen")
		if cert.Broken {
			h.because("certificate_broken")
		}
		h.auth, h.basis = AuthPresented, BasisObserved
	case cert != nil && !cert.Broken, noCertificate(t):
		h.auth, h.basis = AuthDeclined, BasisObserved
		h.because("client_certificate_empty")
	case h.requested == RequestedNo:
		h.auth, h.basis = AuthNotRequested, BasisObserved
		h.because("certificate_not_requested")
	}

	if h.auth != AuthPresented && t.SealedHandshakes[client] > 1 {
		// another handshake, which is encrypted, follows the Finished; it may have a certificate (RFC 5746)
		h.auth, h.basis = AuthUnknown, BasisNone
		h.because("renegotiated")
	}
}

// unproved returns the reason for which a client's certificate does not count, empty if it counts. Either the
// server did not request it, or no CertificateVerify shows that the client has its key (RFC 5246, section 7.4.8).
// Messages that were lost count as sent.
func unproved(t *dissect.TLS) string {
	switch {
	case !t.CertificateRequest && !t.LostHandshake[t.Client.Other()]:
		return "certificate_not_requested"
	case !t.CertificateVerify && !t.LostHandshake[t.Client]:
		return "no_certificate_verify"
	}
	return ""
}

// noCertificate reports whether an SSL 3.0 client sent the alert no_certificate: the client has no certificate (RFC
// 6101, section 5.6.6).
func noCertificate(t *dissect.TLS) bool {
	for _, a := range t.Alerts {
		if a.Side == t.Client && a.Description == 41 {
			return t.CertificateRequest
		}
	}
	return false
}

// abbreviated reports whether a handshake is a resumption: the server's ChangeCipherSpec directly follows its
// ServerHello (RFC 5246, section 7.3, RFC 5077, section 3.1).
func abbreviated(t *dissect.TLS) bool {
	server := t.Client.Other()
	if t.ServerHelloDone || t.Certs[server] != nil || t.ServerKeyGroup != 0 || t.CertificateRequest || t.ClientKeyExchange {
		return false
	}
	if t.ChangeCipherSpec(server) && !t.LostHandshake[server] {
		return true
	}
	// the server's ChangeCipherSpec was not captured, but the server accepted the offered session
	return t.Hello != nil && len(t.Server.SessionID) > 0 && bytes.Equal(t.Server.SessionID, t.Hello.SessionID) && t.ChangeCipherSpec(t.Client)
}

// judgeResumed12 judges an abbreviated handshake of TLS 1.2 or older.
func judgeResumed12(t *dissect.TLS, e ends, ended bool) handshake {
	h := newHandshake()
	h.resumed = true
	h.because("session_resumed")
	client, server := t.Client, t.Client.Other()
	if t.Finished[client] && (t.Finished[server] || t.ChangeCipherSpec(server)) || t.Carried() || !e.blind && t.WentOn() {
		h.outcome = OutcomeEstablished
		h.because("tls12_finished")
	} else {
		h.fail(t, e)
	}
	h.decided = h.outcome != OutcomeIncomplete || ended
	return h
}
