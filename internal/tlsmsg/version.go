package tlsmsg

// grease reports whether a value is reserved by RFC 8701.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// Version numbers of DTLS.
const (
	versionDTLS10    = 0xfeff // RFC 4347
	versionDTLS12    = 0xfefd // RFC 6347
	versionDTLS13    = 0xfefc // RFC 9147
	versionOldDTLS10 = 0x0100 // OpenSSL before 0.9.8f
)

// IsTLS13 reports whether a version is TLS 1.3, DTLS 1.3 or a draft of TLS 1.3: 0x7f00 + n, or an experiment of Facebook or Chrome.
func IsTLS13(v uint16) bool {
	return v == 0x0304 || v == versionDTLS13 || isDraft(v)
}

// isDraft reports whether a version is a draft of TLS 1.3 or such an experiment.
func isDraft(v uint16) bool { return v>>8 == 0x7f || v>>8 == 0xfb || v>>8 == 0x7e }

// IsDTLS reports whether a version is one of DTLS.
func IsDTLS(v uint16) bool {
	return v == versionDTLS10 || v == versionDTLS12 || v == versionDTLS13 || v == versionOldDTLS10
}

// PlausibleVersion reports whether a version can be in a hello over TCP or QUIC: SSL 3.0 to TLS 1.3, and drafts.
func PlausibleVersion(v uint16) bool { return v>>8 == 3 && v&0xff <= 4 || IsTLS13(v) && !IsDTLS(v) }
