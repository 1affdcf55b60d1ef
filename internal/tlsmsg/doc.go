// Package tlsmsg parses the handshake messages of TLS, DTLS, QUIC and SSL 2.0: ClientHello, ServerHello, certificates and session tickets.
// It computes JA3, JA3S and JA4. It knows no connection: its functions read the complete body of one message.
package tlsmsg
