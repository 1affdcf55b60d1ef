package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// One end alone can put an alert in plaintext, a FIN or a RST on the wire that the other end
// never takes: a stack passes over it, a checksum is wrong, a datagram was sent by somebody
// else. What both ends do afterwards counts.

// The closure alerts (RFC 8446, section 6.1).
const (
	closeNotify  = 0
	userCanceled = 90
)

// fatalAlert returns the first alert in the clear that ends a handshake. Closure alerts are no
// errors, whatever their level, and an alert that both ends went on behind was made up, or
// passed over (RFC 6347, section 4.1.2.7). SSL 3.0's no_certificate is an answer to a
// CertificateRequest, not an end.
func fatalAlert(t *dissect.TLS) (dissect.Alert, bool) {
	for _, a := range t.Alerts {
		if a.Level == 2 && a.Description != closeNotify && a.Description != userCanceled && !t.Outlived(a) {
			return a, true
		}
	}
	return dissect.Alert{}, false
}

// bothSentFIN reports whether each end has sent a FIN: neither can go on. A RST of one end, or a
// FIN, may be none to the other's stack.
func bothSentFIN(s *dissect.Session) bool {
	a, _ := s.Ended(dissect.Originator)
	b, _ := s.Ended(dissect.Responder)
	return a && b
}

// alertsOf returns how many alerts in plaintext a side has sent, as far as they are remembered.
func alertsOf(t *dissect.TLS, side dissect.Side) (n int) {
	for _, a := range t.Alerts {
		if a.Side == side {
			n++
		}
	}
	return n
}

// unprotected reports whether n bytes can be two ChangeCipherSpecs at most, and so many alerts
// in plaintext.
func unprotected(n int64, alerts int) bool {
	const alert = wire.RecordHeader + 2
	for k := range alerts + 1 {
		if rest := n - int64(k)*alert; rest == 0 || rest == changeCipherSpec || rest == 2*changeCipherSpec {
			return true
		}
	}
	return false
}
