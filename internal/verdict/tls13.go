package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// In TLS 1.3 certificates are encrypted, but the sizes of the client's first encrypted records reveal whether it sent
// one. docs/decisions/002-tls13-client-authentication.md has the rule, test/tlslab the measurements. flight13.go
// reads the client's flight, server13.go the server's, sizes13.go has the sizes.

// judge13 judges a TLS 1.3 handshake.
func judge13(t *dissect.TLS, e ends, ended bool) handshake {
	h := newHandshake()
	s, known := sizes(t.Server.CipherSuite)
	records, why := secondFlight(t)
	var f flight
	switch {
	case t.Server.PSK:
		h.resumed = true
		h.because("psk_selected")
		if why == "" {
			f = finishedIn(records, s)
		}
	case why != "":
		h.because(why)
	case !known:
		f = flight{records: records, firm: true}
		h.because("unfamiliar_suite")
	default:
		f = readFlight(records, s, t)
		crossCheck(&f, t, s, e)
		h.because(f.reason...)
		h.setClientAuth(&f, t)
	}

	switch why {
	case "":
		setOutcome(&h, t, &f, s, e, ended)
	case "unexpected_record", "unacknowledged_flight":
		h.open = true // the client sent a flight, and the server may have reacted to it
	}
	if !h.open {
		setFailure(&h, t, e, ended)
	}

	if f.hollow && (h.outcome == OutcomeRejected || h.outcome == OutcomeAborted && !e.first.client) {
		h.auth, h.basis, h.requested = AuthDeclined, BasisInferred, RequestedYes
		h.because("empty_certificate_flight")
	}
	if f.later && !ended && !e.client && !e.serverReset && t.More(t.Client) == 0 {
		h.decided = false // the meaning depends on what the client still sends
	}
	return h
}

// setClientAuth sets the client authentication that the client's flight shows.
func (h *handshake) setClientAuth(f *flight, t *dissect.TLS) {
	if f.auth == AuthUnknown {
		return
	}
	h.auth, h.basis, h.requested = f.auth, BasisInferred, RequestedYes
	if f.auth == AuthNotRequested {
		h.requested = RequestedNo
	}
	h.hint = f.hint
	if !compresses(t.Hello) { // the size of a compressed chain does not show the chain's own size
		h.chain = f.chain
	}
}

// setFailure sets the outcome of a handshake that visibly ended early.
func setFailure(h *handshake, t *dissect.TLS, e ends, ended bool) {
	if h.outcome == OutcomeEstablished || h.outcome == OutcomeRejected {
		return
	}
	h.fail(t, e)
	h.decided = h.outcome != OutcomeIncomplete || ended
}

// setOutcome sets the outcome. Only data that the server sends after the client's flight establishes a handshake,
// because a server refuses a certificate by an encrypted alert.
func setOutcome(h *handshake, t *dissect.TLS, f *flight, s suite, e ends, ended bool) {
	end := f.end
	if end == 0 {
		// The flight was not understood: any record that follows the client's first protected one counts.
		mine, _ := secondFlight(t)
		end = mine[0].End
	}

	server := readServer(t, s, end)
	soonest := end
	if f.soonest > 0 {
		soonest = f.soonest
	}

	a := server.reaction(end, s, e)
	h.open = a.unclear > 0 || a.data || a.farewell

	switch {
	case a.data && (h.auth == AuthPresented || f.doubted || h.resumed && t.Hello != nil && t.Hello.EarlyData()) && server.spokeBefore(soonest):
		// a server may speak before it has read the client's flight, and then refuse the client
		h.because("half_rtt_data")
	case a.data:
		h.outcome = OutcomeEstablished
		h.because("application_data_seen")
		h.decided = f.firm || f.last+1 < len(f.records) || ended || e.over()
	case !server.complete || t.More(t.Client.Other()) > 0:
	case a.unclear > 0:
		h.because("unclear_answer")
		h.decided = ended
	case a.farewell:
		h.because("alert_sized_record")
	case a.alerts > 0 && !e.blind && !served(t, end, e) && e.server && h.auth != AuthNotRequested && server.mayRefuse(&a, end, s):
		h.because("alert_sized_record")
		if h.open = !f.hollow && !server.refused(&a, end, e); h.open {
			h.because("refused_or_closed")
			break
		}
		h.outcome, h.decided = OutcomeRejected, true
	case a.alerts > 0:
		h.open = true
		h.because("alert_sized_record")
	case e.over():
		h.because("application_data_missing")
		if h.open = leftOpen(t, f, end, e); h.open && h.auth != AuthNotRequested && closedAtOnce(t, end, e) {
			h.because("refused_or_closed")
		}
	}
}
