package report

import (
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// words maps the reason codes (meshtls.reasons) to plain words, which are those of the table in schema/README.md. A
// code that is not here is printed with spaces for underscores.
var words = map[string]string{
	// plaintext
	"http_request_line":         "a plaintext HTTP request was seen",
	"http_response_line":        "a plaintext HTTP response was seen",
	"http2_preface":             "the HTTP/2 connection preface was seen in plaintext",
	"text_like":                 "it carried readable text of no known protocol",
	"structured_plaintext":      "its bytes are structured like plaintext, unlike ciphertext",
	"own_encryption":            "its protocol negotiated its own encryption, and the bytes that followed were encrypted",
	"refused_or_closed":         "the server ended it right after the client's flight: it refused the client, or had nothing more to send",
	"cleartext_answer_to_hello": "one side spoke TLS and the other plaintext",
	"plaintext_after_tls":       "TLS ended and the connection continued in plaintext",
	"other_data_after_tls":      "TLS ended and the connection continued with bytes that are not TLS",
	"second_handshake":          "a second TLS handshake began in the same connection; the weaker one counts",

	// invalid names
	"host_not_a_name":            "the request's host is neither a name nor an address, and is left out",
	"sni_not_a_name":             "the server name that the client sent is not a host name, and is left out",
	"alpn_not_a_name":            "an ALPN name is not a protocol name, and is left out",
	"certificate_names_left_out": "a certificate has alternative names of an invalid form, which are left out",

	// TLS 1.2 and older, in plaintext
	"client_certificate_seen":   "the client's certificate was seen in plaintext",
	"client_certificate_empty":  "the server requested a client certificate and the client sent none",
	"certificate_requested":     "the server requested a client certificate",
	"certificate_not_requested": "the server did not request a client certificate",
	"certificate_broken":        "a certificate could not be parsed",
	"tls12_finished":            "the handshake was completed",

	// TLS 1.3, by the sizes of encrypted records
	"certificate_flight_split":      "the sizes of the client's encrypted records are those of a certificate, its proof and the last handshake message",
	"certificate_flight_coalesced":  "the client's first encrypted record is large enough for a certificate and its proof, and too large for the other messages allowed there",
	"finished_only_flight":          "the client's first encrypted record has the size of the last handshake message: no certificate was sent",
	"empty_certificate_flight":      "the sizes of the client's encrypted records are those of an empty certificate: the client declined",
	"server_flight_with_request":    "the sizes of the server's encrypted records show a request for a client certificate",
	"server_flight_without_request": "the sizes of the server's encrypted records leave no space for a certificate request",
	"server_flight_fragmented":      "the server fragments or pads its encrypted records, which hides whether it requested a certificate: the client's records may only look like a certificate",
	"padded_16":                     "each record has 16 bytes of padding, as from Java",
	"padded_to_16":                  "records are padded to multiples of 16 bytes, as by Mbed TLS",
	"padded_records":                "the client pads its records, which hides their meaning",
	"unrecognized_client_flight":    "the sizes of the client's encrypted records match no known messages",
	"unacknowledged_flight":         "the client's encrypted records cannot be distinguished from those before the server's hello",
	"no_client_flight":              "the client's reaction to the server's hello was not seen",
	"post_handshake_auth_offered":   "the client offers to authenticate later, which record sizes would not show",
	"early_data_rejected":           "early data that the server rejected could look like a certificate",
	"hello_retry_request":           "the server asked for a second hello",

	// resumption
	"session_resumed":               "an earlier session was resumed",
	"psk_selected":                  "a pre-shared key or an earlier session was resumed",
	"inherited_from_full_handshake": "all full handshakes that this client may have resumed agree",
	"no_earlier_handshake":          "the handshake that it resumed was not seen",
	"ticket_or_session_id":          "the client offered a ticket and a session id, and it is not known which of the two the server resumed",
	"disagreeing_handshakes":        "the handshakes that it may have resumed disagree",

	// how the connection ended
	"application_data_seen":    "data followed the handshake",
	"application_data_missing": "no data followed the handshake",
	"alert_received":           "it was rejected by an alert",
	"alert_sized_record":       "a record of an alert's size was seen, then the end",
	"reset":                    "it was reset",
	"closed_by_client":         "the client closed it during the handshake",
	"closed_by_server":         "the server closed it during the handshake",

	// TLS inside other protocols, other transports
	"starttls":           "TLS began after plaintext of another protocol",
	"quic_long_header":   "QUIC packets were seen",
	"mid_stream_records": "consecutive TLS records were seen in the middle of a stream",

	// limits of a verdict
	"missed_start":              "its start was not seen",
	"missed_bytes":              "bytes of it were not seen",
	"conflicting_bytes":         "retransmissions carried different bytes than before",
	"urgent_data":               "urgent data was seen, which receivers take out of the stream",
	"multipath_tcp":             "it is part of a Multipath TCP connection, whose data may be read in another order",
	"one_direction_only":        "only one direction was seen",
	"no_client_hello":           "the client's hello was not seen",
	"no_server_hello":           "the server's hello was not seen",
	"too_little_data":           "too few bytes were seen",
	"unrecognized_data":         "its bytes match no known protocol",
	"tls_may_follow":            "bytes were lost where TLS may have followed the plaintext",
	"dissector_failed":          "the tap's own parser failed on it",
	"unfamiliar_suite":          "its cipher suite is unknown, and so is whether it encrypts",
	"unexpected_record":         "an unencrypted record was seen where the client's encrypted ones should begin",
	"unconfirmed_record":        "the size of the record that decides may have been misread",
	"extended_client_flight":    "the client may have sent other messages in the place of a certificate",
	"half_rtt_data":             "the server sent data before it had the client's flight, so the data does not show acceptance",
	"unclear_answer":            "the server's last records may be a refusal",
	"certificate_compressed":    "a certificate was sent compressed",
	"no_certificate_verify":     "the client sent a certificate without proof that it has the key",
	"renegotiated":              "another handshake followed, which was encrypted",
	"ech_offered":               "an encrypted hello was offered: the visible one may not be the real one",
	"external_psk":              "it may have resumed from a key that no handshake issued",
	"unfamiliar_ticket":         "no ticket of this size was issued, or it is too short to hold a certificate",
	"open_handshake":            "another full handshake of this client is still undecided",
	"hello_verify_request":      "DTLS: the server asked for a second hello",
	"dtls13_handshake":          "a DTLS 1.3 handshake, encrypted except for its hellos",
	"quic_retry":                "QUIC: the server asked for a second hello",
	"ssl2_hello":                "the hello was one of SSL 2.0",
	"http2_frames":              "HTTP/2 frames were seen in plaintext",
	"cipher_without_encryption": "TLS or SSH without encryption: its content can be read",
	"text_in_records":           "TLS records that should be ciphertext contain readable text",
	"one_end_only":              "only one end spoke this protocol: the other may speak another one",
	"never_answered":            "segments arrived, and the pod sent nothing at all: its kernel has not accepted them",
	"answered_by_resets":        "the other end sent nothing but resets: the packets belonged to no connection, and nobody read them",
	"evicted":                   "the tap ended its record of the connection to make room for another",
}

// explain returns the reasons for a verdict in plain words.
func explain(s *finding.Seen) string {
	if s.Last == nil {
		return "no reason is known"
	}
	var out []string
	for _, code := range s.Last.Reasons {
		out = append(out, word(code))
	}
	if t := s.Last.TLS; t != nil && t.Alert != "" {
		out = append(out, "alert "+clean(t.Alert))
	}
	reasons := strings.Join(out, "; ")
	if s.Verdict == "tls" && authUnknown(s) {
		reasons = "not shown to be mutual: " + reasons
	}
	return reasons
}

func word(code string) string {
	if w := words[code]; w != "" {
		return w
	}
	if protocol, ok := strings.CutSuffix(code, "_message"); ok {
		return "a message of " + finding.ProtocolName(clean(protocol)) + " was seen in plaintext"
	}
	if protocol, ok := strings.CutSuffix(code, "_banner"); ok {
		return "the banner of " + finding.ProtocolName(clean(protocol)) + ", which encrypts, was seen"
	}
	return clean(strings.ReplaceAll(code, "_", " "))
}
