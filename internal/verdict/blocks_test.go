package verdict_test

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Flights of a server with Mbed TLS 3, with a CertificateRequest and without. Mbed TLS pads the content and type of
// each record to a multiple of 16 bytes.
const (
	mbedAsks    = "S 32 144 528 112 64 | "
	mbedAsksNot = "S 32 528 112 64 | "
)

// TestRecordsInBlocks checks flights in records that are padded to a multiple of 16 bytes. They are read like
// other flights, and an alert in such a record is not mistaken for a response.
func TestRecordsInBlocks(t *testing.T) {
	limit := map[uint16]string{extLimit: "\x40\x01"}
	for _, c := range []struct {
		name    string
		client  map[uint16]string
		suite   uint16
		packets string
		want    string
		reason  string
	}{
		{"one-way", nil, 0, mbedAsksNot + "C 64 | C 96 | S 192", "tls not_requested established", "padded_to_16"},
		{"one-way, SHA-384", nil, 0x1302, "S 32 528 112 80 | C 80 | C 96 | S 192", "tls not_requested established", "padded_to_16"},
		{"one-way, CCM_8", nil, 0x1305, "S 24 520 104 56 | C 56 | C 88 | S 184", "tls not_requested established", "padded_to_16"},
		{"one-way, from a server that does not pad", nil, 0, goAsksNot + "C 64 | C 96 | S 139", "tls not_requested established", "padded_to_16"},
		{"declined", nil, 0, mbedAsks + "C 32 64 | C 96 | S 192", "tls declined established", "empty_certificate_flight"},
		{"mutual", nil, 0, mbedAsks + "C 528 112 64 | C 96 | S 192", "mtls presented established", "certificate_flight_split"},
		{"mutual with an RSA key", nil, 0, mbedAsks + "C 736 288 64 | C 96 | S 192", "mtls presented established", "certificate_flight_split"},
		{"mutual, to a server that does not pad", nil, 0, goAsks + "C 528 112 64 | C 96 | S 139", "mtls presented established", "certificate_flight_split"},
		{"mutual, from a client that does not pad", nil, 0, mbedAsks + "C 517 97 53 | C 120 | S 192", "mtls presented established", "server_flight_with_request"},
		{"the client refuses", nil, 0, goAsks + "C 32 | C fin", "failed unknown aborted", "alert_sized_record"},

		// an alert is as large as a response of up to 15 bytes
		{"refused, or a small response", nil, 0, mbedAsks + "C 528 112 64 | C 96 | S 32 | S fin", "tls presented incomplete", "unclear_answer"},
		{"the same, declined", nil, 0, mbedAsks + "C 25 53 | S 32 | S fin", "tls declined incomplete", "unclear_answer"},
		{"small responses", nil, 0, mbedAsks + "C 517 97 53 | C 40 | S 32 | C 40 | S 32 | C 40 | S 32 | C 40 | S 32", "mtls presented established", ""},
		{"refused by a server that pads to 32 in one record", nil, 0, envoy + "C 632 | S 48 | S fin", "tls presented incomplete", "unclear_answer"},
		{"refused by a server that pads to 32, whose Finished is as large as that of Mbed TLS", nil, 0x1302, "S 48 144 560 112 80 | C 517 97 69 | C 120 | S 48 | S fin", "tls presented incomplete", "unclear_answer"},
		{"a client's close_notify, answered", nil, 0, goAsks + "C 528 112 64 | C 32 | S 19 | S fin", "tls presented incomplete", "alert_sized_record"},

		// the client sends no certificate, and one of the ends may deceive
		{"a server that requests none", nil, 0, mbedAsksNot + "C 528 112 64 | C 96 | S 192", "tls unknown established", "server_flight_without_request"},
		{"the same, from a client that does not pad", nil, 0, mbedAsksNot + "C 632 | C 120 | S 192", "tls unknown established", "server_flight_without_request"},
		{"a server that fragments its flight", nil, 0, "S 32 528 528 80 288 64 | C 528 112 64 | C 96 | S 192", "tls unknown established", "server_flight_fragmented"},
		{"a context of 255 bytes", nil, 0, mbedAsks + "C 288 64 | C 96 | S 192", "tls unknown established", "unrecognized_client_flight"},
		{"a context as long as a Finished", nil, 0, mbedAsks + "C 64 64 | C 96 | S 192", "tls unknown established", "unrecognized_client_flight"},
		{"a context as long as a padded Finished", nil, 0, goAsks + "C 64 53 | C 96 | S 192", "tls unknown established", "unrecognized_client_flight"},
		{"a Certificate in fragments of 64 bytes", limit, 0x1302, envoy + "C 80 80 80 | C 96 | S 200", "tls unknown established", "unrecognized_client_flight"},
	} {
		w := newPlayer(t, hello{extensions: c.client}, hello{suite: c.suite}).play(c.packets)
		got := w.judge(verdict.New(verdict.Config{}), 1, true)
		if is := string(got.Verdict) + " " + got.TLS.ClientAuth + " " + got.TLS.Outcome; is != c.want {
			t.Errorf("%s: %s, want %s", c.name, said(got), c.want)
		} else if c.reason != "" && !slices.Contains(got.Reasons, c.reason) {
			t.Errorf("%s: %s, want the reason %s", c.name, said(got), c.reason)
		}
	}
}
