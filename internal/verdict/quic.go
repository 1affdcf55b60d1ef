package verdict

import "github.com/meshtls-tap/meshtls-tap/internal/dissect"

// quic tells that a QUIC long header was seen.
func quic(s *dissect.Session) bool {
	_, a := s.Kind(dissect.Originator)
	_, b := s.Kind(dissect.Responder)
	return a == "quic" || b == "quic"
}

// judgeQUIC judges a QUIC connection: always TLS 1.3 (RFC 9001), whose handshake is
// encrypted but for the hellos, so that client authentication is unknown.
func judgeQUIC(out *Judged, s *dissect.Session) {
	h := newHandshake()
	out.Verdict, out.Protocol = TLS, "quic"
	out.TLS = &TLSInfo{Version: "1.3", VersionProtocol: "tls", ClientAuth: h.auth, ClientAuthBasis: h.basis, ClientAuthRequested: h.requested, Outcome: h.outcome}
	out.because("quic_long_header")
	hello := s.QUICHello()
	out.Settled = out.Settled || hello != nil
	if hello == nil {
		out.because("no_client_hello")
		return
	}
	out.TLS.offer(hello, 'q')
}
