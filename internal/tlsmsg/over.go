package tlsmsg

// Over is the layer that carries a TLS handshake.
type Over uint8

// Layers that carry handshakes.
const (
	OverTCP  Over = iota // TLS records (RFC 8446 section 5)
	OverDTLS             // DTLS records (RFC 6347, 9147)
	OverQUIC             // CRYPTO frames (RFC 9001)
)
