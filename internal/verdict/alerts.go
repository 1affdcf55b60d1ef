package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// A plaintext alert, a FIN or a RST on the wire shows only that one end sent it. The other end may not process it,
// for example because its stack ignores the alert, because the checksum is wrong, or because a third host sent the
// datagram. So the later packets of both ends decide.

// The closure alerts (RFC 8446, section 6.1).
const (
	closeNotify  = 0
	userCanceled = 90
)

// fatalAlert returns the first plaintext alert that ends a handshake. Closure alerts are not errors, at any level.
// An alert after which both ends continued does not count: it was forged or ignored (RFC 6347, section 4.1.2.7).
// SSL 3.0's no_certificate does not count either: it is the reply to a CertificateRequest.
func fatalAlert(t *dissect.TLS) (dissect.Alert, bool) {
	for _, a := range t.Alerts {
		if a.Level == 2 && a.Description != closeNotify && a.Description != userCanceled && !t.Outlived(a) {
			return a, true
		}
	}
	return dissect.Alert{}, false
}

// bothSentFIN reports whether both ends have sent a FIN, so that neither can continue. A RST or FIN of one end does
// not show that: the other end's stack may have ignored it.
func bothSentFIN(s *dissect.Session) bool {
	a, _ := s.Ended(dissect.Originator)
	b, _ := s.Ended(dissect.Responder)
	return a && b
}

// alertsOf returns how many plaintext alerts a side has sent. The session remembers a bounded number of them.
func alertsOf(t *dissect.TLS, side dissect.Side) (n int) {
	for _, a := range t.Alerts {
		if a.Side == side {
			n++
		}
	}
	return n
}

// unprotected reports whether n bytes can consist of at most two ChangeCipherSpec records and at most the given
// number of plaintext alerts.
func unprotected(n int64, alerts int) bool {
	const alert = wire.RecordHeader + 2
	for k := range alerts + 1 {
		if rest := n - int64(k)*alert; rest == 0 || rest == changeCipherSpec || rest == 2*changeCipherSpec {
			return true
		}
	}
	return false
}
