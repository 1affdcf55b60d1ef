package tlsmsg

// Types of handshake messages (RFC 8446 section 4, RFC 5246 section 7.4, RFC 6347).
const (
	TypeClientHello           = 1
	TypeServerHello           = 2
	TypeHelloVerifyRequest    = 3
	TypeNewSessionTicket      = 4
	TypeHelloRetryRequest     = 6 // TLS 1.3 drafts up to 21
	TypeCertificate           = 11
	TypeServerKeyExchange     = 12
	TypeCertificateRequest    = 13
	TypeServerHelloDone       = 14
	TypeCertificateVerify     = 15
	TypeClientKeyExchange     = 16
	TypeCompressedCertificate = 25 // RFC 8879
)
