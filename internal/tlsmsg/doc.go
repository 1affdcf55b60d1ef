// Package tlsmsg parses the handshake messages of TLS, DTLS, QUIC and SSL 2.0: ClientHello, ServerHello, certificates and session tickets.
// It computes JA3, JA3S and JA4. It knows no connection: its functions read the complete body of one message.
//
// Order of use:
//
//   - [ParseClientHello] and [ParseServerHello] parse a hello; [ParseV2ClientHello] and [ParseV2ServerHello] parse those of SSL 2.0. After a
//     HelloRetryRequest, [ClientHello.Join] adds the second hello to the first one.
//   - [FingerprintCache.FingerprintClient] and [FingerprintCache.FingerprintServer] set the fingerprints of a hello. The zero FingerprintCache is ready for use.
//   - [ParseCertificate] reads one certificate, [ParseNewSessionTicket] one ticket.
package tlsmsg
