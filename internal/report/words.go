package report

import (
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// words are the reason codes (meshtls.reasons) in plain words. schema/README.md has the
// same table. A code that is not here stands for itself.
var words = map[string]string{
	// cleartext
	"http_request_line":         "an HTTP request was read in the clear",
	"http_response_line":        "an HTTP response was read in the clear",
	"http2_preface":             "the HTTP/2 connection preface was read in the clear",
	"text_like":                 "readable text went over it, of no known protocol",
	"structured_plaintext":      "its bytes have the structure of plaintext and not the look of ciphertext",
	"own_encryption":            "its protocol negotiated encryption of its own, and went on encrypted",
	"refused_or_closed":         "the server ended it right after the client's flight: it refused the client, or wanted no more",
	"cleartext_answer_to_hello": "one side spoke TLS and the other cleartext",
	"plaintext_after_tls":       "TLS ended and the connection went on in plaintext",
	"other_data_after_tls":      "TLS ended and the connection went on with bytes that are not TLS",
	"second_handshake":          "a second TLS handshake began in the same connection; the weaker one counts",

	// names that are none
	"host_not_a_name":            "what the request gave as its host is neither a name nor an address, and is left out",
	"sni_not_a_name":             "what the client gave as the server's name is not one, and is left out",
	"alpn_not_a_name":            "an ALPN name is free text, and is left out",
	"certificate_names_left_out": "a certificate has alternative names that are not names, which are left out",

	// TLS 1.2 and older, in the clear
	"client_certificate_seen":   "the client's certificate was read in the clear",
	"client_certificate_empty":  "the client was asked for a certificate and sent none",
	"certificate_requested":     "the server asked for a client certificate",
	"certificate_not_requested": "the server did not ask for a client certificate",
	"certificate_broken":        "a certificate could not be parsed",
	"tls12_finished":            "the handshake came to its end",

	// TLS 1.3, by the sizes of encrypted records
	"certificate_flight_split":      "the sizes of the client's encrypted records are those of a certificate, its proof and the end of the handshake",
	"certificate_flight_coalesced":  "the client's first encrypted record is large enough for a certificate and its proof, and for nothing else that belongs there",
	"finished_only_flight":          "the size of the client's first encrypted record is that of the end of the handshake alone: no certificate was sent",
	"empty_certificate_flight":      "the sizes of the client's encrypted records are those of an empty certificate: asked for, declined",
	"server_flight_with_request":    "the sizes of the server's encrypted records have room for a request for a client certificate",
	"server_flight_without_request": "the sizes of the server's encrypted records have no room for a request for a client certificate",
	"server_flight_fragmented":      "the server cuts or pads its encrypted records, which hides whether it asked for a certificate: a client could pass for one that sent one",
	"padded_16":                     "each record has 16 bytes more, as Java's have",
	"padded_to_16":                  "records are padded to multiples of 16 bytes, as those of Mbed TLS are",
	"padded_records":                "the client pads its records, which hides their meaning",
	"unrecognized_client_flight":    "the sizes of the client's encrypted records fit no known meaning",
	"unacknowledged_flight":         "the client's encrypted records cannot be told from those before the server's hello",
	"no_client_flight":              "the client's answer to the server's hello was not seen",
	"post_handshake_auth_offered":   "the client offers to authenticate later, which no size would show",
	"early_data_rejected":           "early data that was refused could look like a certificate",
	"hello_retry_request":           "the server asked for a second hello",

	// resumption
	"session_resumed":               "an earlier session was resumed",
	"psk_selected":                  "a pre-shared key or an earlier session was resumed",
	"inherited_from_full_handshake": "the full handshakes of this client that it can have resumed all agree",
	"no_earlier_handshake":          "the handshake that it resumed was not seen",
	"disagreeing_handshakes":        "the handshakes that it can have resumed disagree",

	// how it ended
	"application_data_seen":    "data followed the handshake",
	"application_data_missing": "no data followed the handshake",
	"alert_received":           "it was refused by an alert",
	"alert_sized_record":       "a record as large as an alert came, then the end",
	"reset":                    "it was reset",
	"closed_by_client":         "the client closed it during the handshake",
	"closed_by_server":         "the server closed it during the handshake",

	// TLS within others, other transports
	"starttls":           "TLS began after cleartext of another protocol",
	"quic_long_header":   "QUIC packets were seen",
	"mid_stream_records": "chained TLS records were seen in the middle of a stream",

	// what kept a verdict from saying more
	"missed_start":              "its start was not seen",
	"missed_bytes":              "bytes of it were not seen",
	"conflicting_bytes":         "retransmissions carried other bytes than the first time",
	"urgent_data":               "urgent data were seen, which receivers take out of the stream",
	"multipath_tcp":             "it is a part of a connection over Multipath TCP, whose data need not be read as they came",
	"one_direction_only":        "only one direction was seen",
	"no_client_hello":           "the client's hello was not seen",
	"no_server_hello":           "the server's hello was not seen",
	"too_little_data":           "too little was seen to say more",
	"unrecognized_data":         "its bytes fit nothing known",
	"tls_may_follow":            "bytes were lost where TLS may have begun behind the cleartext",
	"dissector_failed":          "the tap's own parser failed on it",
	"unfamiliar_suite":          "its cipher suite is not known, nor whether it encrypts",
	"unexpected_record":         "a record in the clear stands where the client's encrypted ones begin",
	"unconfirmed_record":        "the size of the telling record may have been misread",
	"extended_client_flight":    "the client offers messages of another kind in the same place",
	"half_rtt_data":             "the server spoke before it had the client's flight, so what it says is no acceptance",
	"unclear_answer":            "what the server answered may be a refusal",
	"certificate_compressed":    "a certificate was sent compressed",
	"no_certificate_verify":     "no proof of the key came with the certificate",
	"renegotiated":              "another handshake followed, encrypted",
	"ech_offered":               "an encrypted hello was offered: the one that was read may not count",
	"external_psk":              "what was resumed may be a key that no handshake gave",
	"unfamiliar_ticket":         "the ticket has a size that was not given out, or is too short to hold a certificate",
	"open_handshake":            "another full handshake of this client is not understood yet",
	"hello_verify_request":      "DTLS: the server asked for a second hello",
	"dtls13_handshake":          "a handshake of DTLS 1.3, encrypted but for its hellos",
	"quic_retry":                "QUIC: the server asked for a second hello",
	"ssl2_hello":                "a hello of SSL 2.0",
	"http2_frames":              "frames of HTTP/2 were read in the clear",
	"cipher_without_encryption": "TLS or SSH without encryption: what it carries can be read",
	"text_in_records":           "readable text stood in records whose content has to be ciphertext",
	"one_end_only":              "only one end spoke it: the other may speak something else",
	"answered_by_resets":        "nothing but resets came back: it belonged to no connection, and nobody read it",
	"evicted":                   "the tap let go of it for want of room",
}

// explain says in plain words what led to a verdict.
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
	if s.Connections > 1 {
		return "of the latest, " + strings.Join(out, "; ")
	}
	return strings.Join(out, "; ")
}

func word(code string) string {
	if w := words[code]; w != "" {
		return w
	}
	if protocol, ok := strings.CutSuffix(code, "_message"); ok {
		return "a " + finding.ProtocolName(clean(protocol)) + " message was read in the clear"
	}
	if protocol, ok := strings.CutSuffix(code, "_banner"); ok {
		return "the banner of " + finding.ProtocolName(clean(protocol)) + ", which encrypts, was read"
	}
	return clean(strings.ReplaceAll(code, "_", " "))
}
