package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// failed reports whether a TLS handshake was rejected or aborted. The verdict failed is never given where bytes were
// lost that may have completed the handshake.
func failed(j *verdict.Judged) bool { return j.Verdict == verdict.Failed && j.TLS != nil }

func failedWords(j *verdict.Judged) breach {
	return breach{"made", "a failed TLS handshake", ", " + endOf(j)}
}

// endOf returns a clause about the end of a failed handshake.
func endOf(j *verdict.Judged) string {
	has := func(reason string) bool { return slices.Contains(j.Reasons, reason) }
	switch alert := j.TLS.Alert; {
	case alertMeanings[alert] != "":
		return "which ended with the alert " + alert + ": usually " + alertMeanings[alert]
	case alert != "":
		return "which ended with the alert " + alert
	case has("alert_sized_record"):
		return "which ended with an encrypted record of the size of an alert: usually a certificate that the other end did not accept, or did not get"
	case has("reset") && j.TLS.Version != "":
		return "which one end reset after the server's hello: usually an end that does not accept the other"
	case has("closed_by_server") && j.TLS.Version != "":
		return "which the server closed after its hello, without an alert: usually a server that does not accept the client"
	case has("reset"):
		return "which one end reset: usually an application, proxy or firewall that refuses the connection or expects something else than TLS"
	case has("closed_by_server"):
		return "which the server closed without an alert: usually a port that does not expect TLS, or a server that refuses this client"
	case has("closed_by_client"):
		return "which the client closed without an alert: usually a timeout or a check that the port is open"
	}
	return "which did not end with a session"
}

// alertMeanings are the usual causes of the alerts of RFC 8446, section 6.2, and RFC 5246, section 7.2.2. The receiver of
// the alert is the end that caused it.
var alertMeanings = map[string]string{
	"unexpected_message":              "one end does not speak this protocol, or a proxy mixed up two connections",
	"bad_record_mac":                  "bytes changed on the way, or the ends computed different keys",
	"record_overflow":                 "one end does not speak TLS",
	"handshake_failure":               "no common cipher suite, or no client certificate where one is required",
	"bad_certificate":                 "a certificate that is malformed or whose signature is wrong",
	"unsupported_certificate":         "a certificate of a kind that the other end does not support or allow for this purpose",
	"certificate_revoked":             "a certificate that was revoked",
	"certificate_expired":             "a certificate that is not valid at this time, or a wrong clock",
	"certificate_unknown":             "a certificate that the other end did not accept, for a reason that it does not name",
	"illegal_parameter":               "a faulty TLS implementation, or one that was changed on the way",
	"unknown_ca":                      "a certificate of an authority that the other end does not trust, such as that of another mesh or trust domain",
	"access_denied":                   "a valid certificate whose owner may not connect: an authorization policy",
	"decode_error":                    "one end does not speak TLS, or bytes changed on the way",
	"decrypt_error":                   "a wrong signature, a key that does not belong to its certificate, or a wrong pre-shared key",
	"protocol_version":                "no common version of TLS: one end is too old, or allows only newer versions",
	"insufficient_security":           "a server that demands stronger cipher suites than the client offers",
	"internal_error":                  "a fault in one end itself: see its log",
	"inappropriate_fallback":          "a client that repeated a failed handshake with an older version",
	"missing_extension":               "a client that sent a hello without something that the server requires",
	"unsupported_extension":           "a faulty TLS implementation",
	"unrecognized_name":               "a server that has no certificate for the server name that the client sent",
	"bad_certificate_status_response": "a stapled OCSP response that the client did not accept",
	"unknown_psk_identity":            "a pre-shared key that the server does not know",
	"certificate_required":            "a client without a certificate at a server that requires one",
	"no_application_protocol":         "no common application protocol (ALPN)",
	"no_certificate":                  "a client without a certificate at a server that requires one",
}
