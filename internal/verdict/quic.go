package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// enough1RTT is how many packets under the keys of application data each side sends
// until a handshake that is encrypted counts as established.
const enough1RTT = 2

// quicShown reports whether QUIC was shown: its hello could be read, which takes its keys, or
// both ends spoke it. A header alone could be anybody's.
func quicShown(s *dissect.Session) bool {
	a, _ := s.Kind(dissect.Originator)
	b, _ := s.Kind(dissect.Responder)
	return s.TLS().Hello != nil || s.TLS().Server != nil || a == dissect.KindTLS && b == dissect.KindTLS
}

// judgeSealed judges QUIC and DTLS 1.3. The handshake is encrypted but for the hellos,
// and its sizes tell nothing that was measured: client authentication is unknown.
func judgeSealed(t *dissect.TLS, e ends, ended bool) handshake {
	h := newHandshake()
	if t.Over == dissect.OverQUIC {
		h.because("quic_long_header")
		if t.QUICRetry {
			h.because("quic_retry")
		}
	} else {
		h.because("dtls13_handshake")
	}
	if t.Server != nil && t.Server.PSK {
		h.resumed = true
		h.because("psk_selected")
	}
	switch {
	case t.Hello == nil:
		h.because("no_client_hello")
	case t.Server == nil:
		h.because("no_server_hello")
	}
	if t.Protected1RTT[0] >= enough1RTT && t.Protected1RTT[1] >= enough1RTT {
		h.outcome = OutcomeEstablished
		h.because("application_data_seen")
	} else {
		h.fail(t, e)
	}
	h.decided = h.outcome != OutcomeIncomplete || ended
	return h
}
