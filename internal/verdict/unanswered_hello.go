package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// unansweredHello reports whether a ClientHello followed other bytes, and the server did not reply with TLS
// although all its bytes were captured. Such a hello does not change the judgement of the earlier bytes. If the
// earlier bytes were only the negotiation of a known protocol, unansweredHello returns false while a reply may
// still come, and after an alert that ends the handshake.
func unansweredHello(c *flow.Conn, s *dissect.Session) bool {
	t := s.TLS()
	if kind, _ := s.Preceded(); kind == dissect.KindNone || t == nil || s.AnsweredInPlaintext() || t.Over != tlsmsg.OverTCP {
		return false
	}

	server := t.Client.Other()
	_, refused := fatalAlert(t)
	switch {
	case t.Server != nil, t.Hello == nil && !t.HelloBegun:
		return false
	case s.Negotiated() && (refused || !closed(s)):
		return false
	}
	_, missed := s.Seen(server)
	if _, before := s.Seen(t.Client); before > 0 && s.Unknown(server) {
		return false // without the client's missing bytes, TLS of the server may not have been recognized
	}
	return missed == 0 && !hasPending(c) && c.Resp.Packets > 0 && !c.Fragments && !c.Doubtful() &&
		t.Chained(server) <= len(t.Alerts)
}

// judgeUnanswered judges a connection for which unansweredHello returns true, by the bytes before the hello. The fields
// of the hello are reported only if the earlier bytes were not recognized as plaintext.
func judgeUnanswered(out *Judged, s *dissect.Session) {
	kind, protocol := s.Preceded()
	out.Verdict, out.Protocol = Plaintext, protocol
	switch kind {
	case dissect.KindPlain:
		plainReasons(out, s, protocol)
	case dissect.KindText:
		out.because("text_like")
	case dissect.KindStructured:
		out.because("structured_plaintext")
	default:
		h := newHandshake()
		out.Verdict, out.TLS = Unknown, tlsInfo(s.TLS(), &h)
		out.because("unrecognized_data")
	}
	out.because("no_server_hello")
	if _, refused := fatalAlert(s.TLS()); refused {
		out.because("alert_received")
	}
	out.Settled = out.Settled || closed(s)
}
