package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// unansweredHello reports whether a ClientHello followed other bytes and the server, of
// which all was seen, did not answer it with TLS: a hello alone does not change what was said
// before. Where nothing but a known protocol's negotiation was said, a handshake that an alert
// ends, or that can still be answered, is not meant.
func unansweredHello(c *flow.Conn, s *dissect.Session) bool {
	t := s.TLS()
	if kind, _ := s.Preceded(); kind == dissect.KindNone || t == nil || s.InClear() || t.Over != dissect.OverTCP {
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
	return missed == 0 && !hasPending(c) && c.Resp.Packets > 0 && !c.Fragments && !c.Doubtful() &&
		t.Chained(server) <= len(t.Alerts)
}

// judgeUnanswered judges what unansweredBehind reports, by the bytes before the hello. What
// the hello shows is told only where those are unknown.
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
