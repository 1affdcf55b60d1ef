package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// enough1RTT is how many packets under application keys (1-RTT) each side must send until an encrypted handshake
// counts as established.
const enough1RTT = 2

// quicShown reports whether a connection is QUIC beyond doubt: a hello was decrypted, or both ends sent QUIC packets.
// Anybody can send a packet with a QUIC header.
func quicShown(s *dissect.Session) bool {
	a, _ := s.Kind(dissect.Originator)
	b, _ := s.Kind(dissect.Responder)
	return s.TLS().Hello != nil || s.TLS().Server != nil || a == dissect.KindTLS && b == dissect.KindTLS
}

// judgeSealed judges QUIC and DTLS 1.3. Their handshakes are encrypted except for the hellos, and the sizes of their
// messages were not studied, so client authentication is unknown.
func judgeSealed(t *dissect.TLS, e ends, ended bool) handshake {
	h := newHandshake()
	if t.Over == tlsmsg.OverQUIC {
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
