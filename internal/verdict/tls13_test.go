package verdict_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Flights of Go and Envoy with suite 0x1301, which has a Finished of 53 bytes and an empty Certificate of 25.
// There are the server's flights with a CertificateRequest and without, in separate records or in one record, and
// the server's tickets.
const (
	goAsks    = "S 27 130 519 97 53 | "
	goAsksNot = "S 27 519 97 53 | "
	envoy     = "S 720 | "
)

// TestFlights checks each row of the rule's table, and each flight that could cause a false mtls: it is judged
// correctly, or its client authentication is unknown.
func TestFlights(t *testing.T) {
	offers := func(ext ...uint16) map[uint16]string {
		m := map[uint16]string{}
		for _, e := range ext {
			m[e] = ""
		}
		return m
	}
	for _, c := range []struct {
		name    string
		client  map[uint16]string // extensions of the ClientHello
		suite   uint16
		packets string
		want    string // verdict, client_auth and outcome
		reason  string // a reason that must be present
	}{
		{"one-way", nil, 0, goAsksNot + "C 53 | C 120 | S 200", "tls not_requested established", "finished_only_flight"},
		{"declined", nil, 0, goAsks + "C 25 53 | C 120 | S 200", "tls declined established", "empty_certificate_flight"},
		{"declined in one record", nil, 0, envoy + "C 61 | C 120 | S 200", "tls declined established", "empty_certificate_flight"},
		{"mutual", nil, 0, goAsks + "C 517 97 53 | C 120 | S 1029", "mtls presented established", "certificate_flight_split"},
		{"mutual in one record", nil, 0, envoy + "C 632 | C 120 | S 1437", "mtls presented established", "certificate_flight_coalesced"},
		{"mutual of Java", nil, 0x1302, "S 65 170 535 111 85 | C 533 111 85 | C 79 | S 1297", "mtls presented established", "padded_16"},
		{"mutual with CCM_8", nil, 0x1305, "S 15 120 511 89 45 | C 509 89 45 | C 120 | S 600", "mtls presented established", "certificate_flight_split"},
		{"a flight of many records", nil, 0, "S 27 130 529 120 97 53 | C 529 529 529 300 97 53 | C 120 | S 1029", "mtls presented established", "certificate_flight_split"},

		// the server has not reacted yet, or refuses
		{"not yet accepted", nil, 0, goAsks + "C 517 97 53", "tls presented incomplete", ""},
		{"refused", nil, 0, goAsks + "C 517 97 53 | S 19 | S fin", "failed presented rejected", "alert_sized_record"},
		{"refused, in one record", nil, 0, envoy + "C 632 | S 19 | S fin | S rst", "failed presented rejected", "alert_sized_record"},
		{"refused by a server that pads", nil, 0, "S 528 528 1040 528 528 | C 517 97 53 | C 120 | S 528 | S fin", "tls presented incomplete", "unclear_answer"},
		{"accepted by a server that pads", nil, 0, "S 528 528 1040 528 528 | C 25 53 | C 120 | S 528 528 528 528", "tls declined established", ""},
		{"refused before the Finished", nil, 0, "S 65 170 535 111 69 | C 41 | S 35 | S fin", "failed declined rejected", "empty_certificate_flight"},
		{"refused before the Finished, without an alert", nil, 0, goAsks + "C 25 | S fin", "failed declined aborted", "empty_certificate_flight"},
		{"an answer of one byte", nil, 0, goAsks + "C 517 97 53 | C 120 | S 18", "tls presented incomplete", "unclear_answer"},
		{"the client refuses", nil, 0, goAsks + "C 19 | C fin", "failed unknown aborted", "alert_sized_record"},

		// the server never sends data: its alert may be a close_notify
		{"a silent server answers close_notify", nil, 0, goAsks + "C 517 97 53 | C 120 | C 19 | S 19 | S fin | C fin", "tls presented incomplete", "alert_sized_record"},
		{"the same of Java", nil, 0x1302, "S 65 170 535 111 85 | C 533 111 85 | C 79 | C 35 | S 35 | S fin | C fin", "tls presented incomplete", "alert_sized_record"},
		{"the same, one-way", nil, 0, goAsksNot + "C 53 | C 120 19 | S 19 | S fin", "tls not_requested incomplete", "alert_sized_record"},
		{"a silent server answers a FIN", nil, 0, goAsks + "C 517 97 53 | C 120 | C fin | S 19 | S fin", "tls presented incomplete", "alert_sized_record"},
		{"a silent server closes after many lines", nil, 0, goAsks + "C 517 97 53 | C 120 120 120 120 120 | C 120 120 120 120 | S 19 | S fin", "tls presented incomplete", ""},
		{"a silent server closes after an upload", nil, 0, goAsks + "C 517 97 53 | C 16401 16401 16401 16401 16401 | S 19 | S fin", "tls presented incomplete", ""},
		{"the same, without an alert", nil, 0, goAsks + "C 517 97 53 | C 16401 16401 16401 16401 16401 | S rst", "tls presented incomplete", "application_data_missing"},
		{"refused after a request", nil, 0, goAsks + "C 517 97 53 | C 120 16401 | S 19 | S rst", "tls presented incomplete", "refused_or_closed"},
		{"refused, and the client closes", nil, 0, goAsks + "C 517 97 53 | S 19 | S fin | C 19 | C fin", "failed presented rejected", "alert_sized_record"},
		{"a flight that is not understood, and no answer", nil, 0, envoy + "C 528 | C 528 | C 528 | C fin | S fin", "tls unknown incomplete", "application_data_missing"},

		// these are not refusals: something indicates that the connection continued
		{"a small answer, then close_notify", nil, 0, goAsks + "C 517 97 53 | C 31 | S 19 | S 19 | S fin", "tls presented incomplete", "alert_sized_record"},
		{"the same, one-way", nil, 0, goAsksNot + "C 53 | C 31 | S 19 | S 19 | S fin", "tls not_requested incomplete", "alert_sized_record"},
		{"two alerts in one packet", nil, 0, goAsks + "C 517 97 53 | S 19 19 | S fin", "failed presented rejected", "alert_sized_record"},
		{"close_notify after a silence", nil, 0, goAsks + "C 517 97 53 | S wait 3000 | S 19 | C 19 | C fin | S rst", "tls presented incomplete", "alert_sized_record"},
		{"the same, with the end of an upload", nil, 0, goAsks + "C 517 97 53 | C 209 209 | S wait 2000 | S 19 | S fin | C fin", "tls presented incomplete", "alert_sized_record"},
		{"a small answer, and the end after a silence", nil, 0, goAsks + "C 517 97 53 | C 31 | S 19 | S wait 2000 | S fin", "tls presented incomplete", "alert_sized_record"},
		{"small answers to two requests", nil, 0, goAsks + "C 517 97 53 | C 117 | S 19 | C 117 | S 19 | C fin | S fin", "tls presented incomplete", "alert_sized_record"},
		{"a small answer, and the client continues", nil, 0, goAsks + "C 517 97 53 | C 117 | S 19 | C 117 | S fin", "tls presented incomplete", "alert_sized_record"},
		{"a refusal that the client has not read yet", nil, 0, goAsks + "C 517 97 53 | S 19 | S fin | C 117 | S rst", "failed presented rejected", "alert_sized_record"},
		{"a small answer, and the connection continues", nil, 0, goAsks + "C 517 97 53 | C 117 | S 19", "tls presented incomplete", "alert_sized_record"},
		{"no certificate to refuse, a small answer", nil, 0, goAsksNot + "C 53 | C 117 | S 19 | S fin", "tls not_requested incomplete", "alert_sized_record"},
		{"the server closes after the handshake", nil, 0, goAsks + "C 517 97 53 | S fin", "tls presented incomplete", "application_data_missing"},
		{"the server resets after the handshake, one-way", nil, 0, goAsksNot + "C 53 | S rst", "tls not_requested incomplete", "application_data_missing"},
		{"the server got no certificate, and closes", nil, 0, goAsks + "C 25 53 | S fin", "tls declined incomplete", "refused_or_closed"},

		// data before the client's flight is verified
		{"0.5-RTT data", nil, 0, goAsks + "S 300 | C 517 97 53 | S 300 | C 120 | S 300", "tls presented incomplete", "half_rtt_data"},
		{"0.5-RTT data, then refused", nil, 0, envoy + "S 300 | C 632 | S 300 | S 19 | S fin", "tls unknown incomplete", "half_rtt_data"},
		{"a ticket before a one-way flight", nil, 0, goAsksNot + "S 139 | C 53 | C 120 | S 200", "tls not_requested established", ""},
		{"the server's flight again, and nothing more", nil, 0, goAsks + "C 517 97 53 | C 120", "tls presented incomplete", ""},

		// acknowledgements count, not the order of packets in the capture
		{"the answer is captured before the flight", nil, 0, goAsksNot + "S 300 | C 53 | C 300 | S 300", "tls not_requested established", ""},
		{"an answer that does not acknowledge the flight", nil, 0, envoy + "C 632 | S- 300", "tls unknown incomplete", "server_flight_fragmented"},

		// early data that was sent late looks like a certificate
		{"early data refused, one-way", offers(extPSK, extEarly), 0, goAsksNot + "C 600 | C 53 | C 120 | S 200", "tls unknown established", "server_flight_without_request"},
		{"early data refused, one-way, in one record", offers(extPSK, extEarly), 0, envoy + "C 600 | C 53 | C 120 | S 200", "tls unknown established", "early_data_rejected"},
		{"early data refused, declined", offers(extPSK, extEarly), 0, goAsks + "C 600 | C 25 53 | C 120 | S 200", "tls unknown established", "early_data_rejected"},
		{"early data refused, declined in one record", offers(extPSK, extEarly), 0, envoy + "C 600 | C 61 | C 97 53 | S 200", "tls unknown established", "early_data_rejected"},
		{"early data like a flight, declined", offers(extPSK, extEarly), 0, goAsks + "C 600 97 | C 25 53 | C 120 | S 200", "tls unknown established", "early_data_rejected"},
		{"early data refused, mutual", offers(extPSK, extEarly), 0, goAsks + "C 600 | C 517 97 53 | C 120 | S 1029", "mtls presented established", ""},

		// other messages in the client's flight
		{"ALPS", offers(extALPS), 0, envoy + "C 400 | C 120 | S 445", "tls unknown established", "extended_client_flight"},
		{"Channel ID", offers(extChannelID), 0, envoy + "C 189 | C 120 | S 445", "tls unknown established", "unrecognized_client_flight"},
		{"Channel ID and a large record", offers(extChannelID), 0, envoy + "C 600 | C 120 | S 445", "tls unknown established", "extended_client_flight"},
		{"too small for a certificate", nil, 0, envoy + "C 300 | C 120 | S 445", "tls unknown established", "unrecognized_client_flight"},
		{"a raw public key, no larger than an empty Certificate can be", offers(extClientType), 0, envoy + "C 200 | C 120 | S 445", "tls unknown established", "unrecognized_client_flight"},
		{"a raw public key in records of its own", offers(extClientType), 0, goAsks + "C 74 97 53 | C 120 | S 445", "mtls presented established", ""},
		{"large enough for a compressed one", offers(extCompress), 0, envoy + "C 450 | C 120 | S 445", "mtls presented established", ""},

		// only the server deceives: it sends a certificate_request_context, which the client echoes
		{"a context of 255 bytes", nil, 0, envoy + "C 280 53 | C 120 | S 200", "tls unknown established", "unrecognized_client_flight"},
		{"a context of 255 bytes, Java", nil, 0x1302, envoy + "C 296 85 | C 79 | S 200", "tls unknown established", "unrecognized_client_flight"},
		{"a context of 255 bytes, all in one record", nil, 0, envoy + "C 360 | C 120 | S 200", "tls unknown established", "unrecognized_client_flight"},
		{"a certificate in one record, larger than that", nil, 0, envoy + "C 361 | C 120 | S 200", "mtls presented established", ""},
		{"a context that is compressed", nil, 0, envoy + "C 312 53 | C 120 | S 200", "tls unknown established", "unrecognized_client_flight"},
		{"a context fragmented by record_size_limit", map[uint16]string{extLimit: "\x40\x01"}, 0, envoy + "C 200 97 53 | C 120 | S 200", "tls unknown established", "unrecognized_client_flight"},
		{"a context as long as a Finished", nil, 0, envoy + "C 53 53 | C 120 | S 200", "tls unknown established", "unrecognized_client_flight"},
		{"a context as long as a padded Finished", nil, 0, envoy + "C 69 53 | C 120 | S 200", "tls unknown established", "unrecognized_client_flight"},
		{"a request as long as a Finished", nil, 0, goAsksNot + "C 53 53 | C 120 | S 200", "tls not_requested established", "finished_only_flight"},

		// only the client deceives: it pads its records, and makes the server fragment the server's flight
		{"max_fragment_length", map[uint16]string{extFragment: "\x01"}, 0, "S 28 529 177 281 53 | C 453 | C 120 | S 209", "tls unknown established", "server_flight_without_request"},
		{"max_fragment_length of Java", map[uint16]string{extFragment: "\x01"}, 0x1302, "S 70 528 394 111 85 | C 469 | C 120 | S 528", "tls unknown established", "server_flight_without_request"},
		{"max_fragment_length, a fragmented signature", map[uint16]string{extFragment: "\x01"}, 0, "S 28 529 529 177 529 25 53 | C 453 | C 120 | S 209", "tls unknown established", "server_flight_without_request"},
		{"max_fragment_length, mutual", map[uint16]string{extFragment: "\x01"}, 0, "S 28 54 529 177 281 53 | C 529 177 97 53 | C 120 | S 209", "mtls presented established", "server_flight_with_request"},
		{"record_size_limit", map[uint16]string{extLimit: "\x02\x00"}, 0, "S 29 528 30 95 53 | S 268 | C 453 | C 120 | S 528", "tls unknown established", "server_flight_without_request"},
		{"both, and the server knows one", map[uint16]string{extLimit: "\x40\x01", extFragment: "\x01"}, 0, "S 28 529 177 281 53 | C 453 | C 120 | S 209", "tls unknown established", "server_flight_without_request"},
		{"a chain of more than a record", nil, 0, "S 27 16401 177 97 53 | C 453 | C 120 | S 209", "tls unknown established", "server_flight_without_request"},

		// only the client deceives, and the server fragments its flight by a limit of its own
		{"max_send_fragment 1024", nil, 0, "S 23 1041 589 281 53 | C 850 281 53 | C 120 | S 209", "tls unknown established", "server_flight_fragmented"},
		{"max_send_fragment 512", nil, 0, "S 23 529 529 529 77 281 53 | C 850 281 53 | C 120 | S 209", "tls unknown established", "server_flight_fragmented"},
		{"the same, the client in one record", nil, 0, "S 23 529 529 529 77 281 53 | C 850 | C 120 | S 209", "tls unknown established", "server_flight_fragmented"},
		{"a chain of as many bytes as records hold", nil, 0, "S 23 529 529 281 53 | C 850 281 53 | C 120 | S 209", "tls unknown established", "server_flight_fragmented"},
		{"a fragmented signature", nil, 0, "S 23 529 529 77 529 25 53 | C 850 281 53 | C 120 | S 209", "tls unknown incomplete", "server_flight_fragmented"},
		{"fragmented EncryptedExtensions", nil, 0, "S 529 25 417 281 53 | C 850 281 53 | C 120 | S 209", "tls unknown established", "server_flight_fragmented"},
		{"a limit of Java", nil, 0x1302, "S 55 1057 605 297 85 | C 866 297 85 | C 79 | S 528", "tls unknown established", "server_flight_fragmented"},
		{"a flight of one record, fragmented", nil, 0, "S 529 529 300 | C 850 281 53 | C 120 | S 209", "tls unknown incomplete", "server_flight_fragmented"},
		{"a server that pads", nil, 0, "S 272 1808 528 272 | C 850 281 53 | C 120 | S 272 272 272 272", "tls unknown incomplete", "server_flight_fragmented"},
		{"a server that pads and fragments", nil, 0, "S 272 1040 784 528 272 | C 850 281 53 | C 120 | S 272 272 272 272", "tls unknown incomplete", "server_flight_fragmented"},
		{"max_send_fragment, mutual", nil, 0, "S 23 110 529 529 77 281 53 | C 529 350 281 53 | C 120 | S 209", "mtls presented established", "certificate_flight_split"},
		{"a request larger than the chain, which may be a part of that", nil, 0, "S 23 1041 589 281 53 | C 517 97 53 | C 120 | S 209", "tls unknown established", "server_flight_fragmented"},
		{"a flight in one record of more than the protocol allows", nil, 0, "S 16401 720 | C 632 | C 120 | S 209", "tls presented incomplete", "half_rtt_data"},

		// nobody deceives: OpenSSL pads only the records of its handshake, to a configured block size
		{"a handshake padded, one-way", offers(extETM), 0, envoy + "C 528 | C 63 | S 82", "tls unknown established", "padded_records"},
		{"a handshake padded, declined", offers(extETM), 0, envoy + "C 528 528 | C 63 | S 82", "tls unknown established", "padded_records"},
		{"a handshake padded to an odd block", offers(extETM), 0, envoy + "C 349 | C 63 | S 82", "tls unknown established", "padded_records"},
		{"a handshake padded, and a request as long as a Finished", offers(extETM), 0, envoy + "C 528 | C 53 | S 82", "tls unknown established", "padded_records"},
		{"a Finished padded to that and an empty Certificate", offers(extETM), 0, envoy + "C 61 | C 63 | S 82", "tls unknown established", ""},
		{"application data padded", offers(extETM), 0, envoy + "C 25 53 | C 528 | S 82", "tls declined established", ""},
		{"a silent server, all padded alike", offers(extETM), 0, envoy + "C 528 | C 63 | C 528 | S 19 | S fin", "tls unknown incomplete", "alert_sized_record"},
		{"a common divisor by chance", nil, 0x1302, envoy + "C 610 | C 82 | S 300", "mtls presented established", "certificate_flight_coalesced"},

		// padded records, of an honest client or not
		{"padded to a block", nil, 0, envoy + "C 528 | C 528 | S 445", "tls unknown established", "padded_records"},
		{"padded to an odd block", nil, 0, envoy + "C 316 | C 616 | S 445", "tls unknown established", "padded_records"},
		{"a padded Finished", nil, 0, goAsksNot + "C 632 | C 120 | S 445", "tls unknown established", "server_flight_without_request"},
		{"a padded Finished like a flight", nil, 0, goAsksNot + "C 517 97 53 | C 120 | S 445", "tls unknown established", "server_flight_without_request"},
		// The rule has a limit. A client can pad its records to any size, so that it seems to have a certificate. A server's
		// flight in one record does not show whether the server requested one.
		{"a padded Finished, and a server that does not tell", nil, 0, envoy + "C 632 | C 120 | S 445", "mtls presented established", "certificate_flight_coalesced"},

		// suites with other sizes, and with unknown ones
		{"Finished of an integrity-only suite", nil, 0xc0b5, envoy + "C 101 | C 100 100 53 | S 300", "plaintext not_requested established", "finished_only_flight"},
		{"the same with the shorter hash, which is no padded one", nil, 0xc0b4, envoy + "C 69 | C 300 | S 300", "plaintext not_requested established", "finished_only_flight"},
		{"mutual of an integrity-only suite", nil, 0xc0b4, envoy + "C 531 111 69 | C 300 | S 300", "plaintext presented established", "certificate_flight_split"},
		{"a tag of eight bytes", nil, 0xc104, envoy + "C 45 | C 400 97 53 | S 300", "tls not_requested established", "finished_only_flight"},
		{"an unknown suite", nil, 0x1399, envoy + "C 85 | C 400 97 53 | S 300", "unknown unknown established", "unfamiliar_suite"},
		{"an unknown suite, refused", nil, 0x1399, envoy + "C 600 | C 400 | S 35 | S fin", "unknown unknown incomplete", "unfamiliar_suite"},

		// a certificate requested after the handshake
		{"later offered, not used", offers(extLater), 0, goAsksNot + "C 53 | C 120 | S 200 | C fin", "tls not_requested established", "post_handshake_auth_offered"},
		{"later offered, and still open", offers(extLater), 0, goAsksNot + "C 53 | C 120 | S 200", "tls unknown established", "post_handshake_auth_offered"},
		{"later offered and perhaps used", offers(extLater), 0, goAsksNot + "C 53 | C 120 | S 148 | C 900 97 53 | S 200 | C fin", "tls unknown established", "post_handshake_auth_offered"},
		{"later offered, and a long request", offers(extLater), 0, goAsksNot + "C 53 | C 900 | S 200 | C fin", "tls not_requested established", "post_handshake_auth_offered"},
		{"later offered, and perhaps used in one record", offers(extLater), 0, goAsksNot + "C 53 | C 120 | S 148 | C 900 53 | S 200 | C fin", "tls unknown established", "post_handshake_auth_offered"},
		{"later offered, and mutual", offers(extLater), 0, goAsks + "C 517 97 53 | C 120 | S 1029", "mtls presented established", ""},

		// lost or unexpected records
		{"the flight is lost", nil, 0, goAsksNot + "C lost 58 | C 300 | C 120 | S 200", "tls unknown incomplete", "missed_bytes"},
		{"its end is lost", nil, 0, goAsks + "C 517 97 | C lost 58 | C 300 | S 1029", "mtls presented established", ""},
		{"a record is lost after the flight", nil, 0, envoy + "C 632 | C lost 58 | C 300 | S 1029", "tls unknown established", "unconfirmed_record"},
		{"a handshake record in the flight", nil, 0, goAsksNot + "C 22:53 | C 300 | S 445", "tls unknown incomplete", "unexpected_record"},
		{"a ChangeCipherSpec in the flight", nil, 0, goAsks + "C 517 97 20:1 53 | C 120 | S 1029", "mtls presented established", ""},
		{"KeyUpdate first", nil, 0, goAsksNot + "C 53 22 | C 600 | S 200", "tls not_requested established", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newPlayer(t, hello{extensions: c.client}, hello{suite: c.suite}).play(c.packets)
			got := w.judge(verdict.New(verdict.Config{}), 1, true)
			if !strings.HasPrefix(said(got), c.want+" ") || c.reason != "" && !slices.Contains(got.Reasons, c.reason) {
				t.Errorf("%s, want %s because of %s", said(got), c.want, c.reason)
			}
		})
	}
}

// TestAcknowledgedFlight checks a client that offers no early data and still sends protected records before the
// ServerHello. The client does not follow the rules, so its flight is not interpreted.
func TestAcknowledgedFlight(t *testing.T) {
	w := &player{t: t}
	*w = *newPlayer(t, hello{}, hello{})
	w.before[1] = 0
	w.play("C- 632 | S 720 | C 120 | S 600")
	if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.TLS.ClientAuth != verdict.AuthUnknown || !slices.Contains(got.Reasons, "unacknowledged_flight") {
		t.Error(said(got))
	}
}

// TestPrefixes checks that no prefix of a conversation is called mutual before the server has reacted to the whole
// flight.
func TestPrefixes(t *testing.T) {
	for _, flight := range []string{goAsks + "C 517 97 53 | C 120 | S 19 | S fin", envoy + "C 632 | C 97 | S 19 | S rst", goAsksNot + "C 53 | C 900 | S 600", envoy + "C 61 | C 97 53 | S 300"} {
		packets := strings.Split(flight, " | ")
		for n := range packets {
			w := newPlayer(t, hello{}, hello{}).play(strings.Join(packets[:n+1], "|"))
			for _, ended := range []bool{false, true} {
				if got := w.judge(verdict.New(verdict.Config{}), 1, ended); got.Verdict == verdict.MTLS {
					t.Errorf("%s: %s", packets[:n+1], said(got))
				}
			}
		}
	}
}

// TestWhatRecordsGiveAway checks the inferred size of the chain and kind of key.
func TestWhatRecordsGiveAway(t *testing.T) {
	for _, c := range []struct {
		name    string
		client  map[uint16]string
		packets string
		chain   int
		hint    string
	}{
		{"P-256", nil, goAsks + "C 517 97 53 | S 1029", 487, "ecdsa-p256"},
		{"Ed25519", nil, goAsks + "C 486 89 53 | S 1029", 456, "ed25519"},
		{"RSA", nil, goAsks + "C 729 281 53 | S 1029", 699, "rsa-2048"},
		{"P-384", nil, goAsks + "C 557 128 53 | S 1029", 527, "ecdsa-p384"},
		{"in small records", nil, goAsks + "C 529 505 97 53 | S 1029", 987, "ecdsa-p256"},
		{"in one record", nil, envoy + "C 632 | C 120 | S 1437", 0, ""},
		{"perhaps compressed", map[uint16]string{extCompress: ""}, goAsks + "C 450 97 53 | S 1029", 0, "ecdsa-p256"},
		{"none", nil, goAsks + "C 25 53 | S 1029", 0, ""},
	} {
		got := newPlayer(t, hello{extensions: c.client}, hello{}).play(c.packets).judge(verdict.New(verdict.Config{}), 1, true)
		if got.TLS.ClientChainBytes != c.chain || got.TLS.ClientKeyHint != c.hint {
			t.Errorf("%s: %d bytes, %q, want %d, %q: %s", c.name, got.TLS.ClientChainBytes, got.TLS.ClientKeyHint, c.chain, c.hint, said(got))
		}
	}
}

// TestSecondHello checks that extensions in a client's second hello count too. Otherwise it could make its server
// fragment the flight unnoticed.
func TestSecondHello(t *testing.T) {
	w := &player{t: t, s: dissect.New()}
	w.send(0, hello{}.bytes(true), -1)
	w.send(1, retryRequest(), -1)
	w.send(0, hello{extensions: map[uint16]string{extFragment: "\x01"}}.bytes(true), -1)
	w.send(1, hello{}.bytes(false), -1)
	got := w.play("S 28 529 177 281 53 | C 453 | C 120 | S 209").judge(verdict.New(verdict.Config{}), 1, true)
	if !strings.HasPrefix(said(got), "tls unknown established") || !got.TLS.HelloRetry || !slices.Contains(got.Reasons, "server_flight_without_request") {
		t.Error(said(got))
	}
}

// retryRequest returns a HelloRetryRequest: a ServerHello with a special random (RFC 8446, section 4.1.3).
func retryRequest() string {
	sum := sha256.Sum256([]byte("HelloRetryRequest"))
	return record(22, message(2, u16(0x0303)+string(sum[:])+"\x00"+u16(0x1301)+"\x00"+sized(2, u16(extVersions)+sized(2, u16(0x0304)))))
}
