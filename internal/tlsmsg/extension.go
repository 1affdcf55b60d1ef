package tlsmsg

// TLS extension types (IANA "TLS ExtensionType Values").
const (
	extServerName          = 0
	extMaxFragmentLength   = 1
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extPadding             = 21
	extCompressCertificate = 27
	extMasterSecret        = 23 // extended_master_secret (RFC 7627)
	extRecordSizeLimit     = 28
	extSessionTicket       = 35
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
	extCookie              = 44
	extPSKModes            = 45 // psk_key_exchange_modes (RFC 8446 section 4.2.9)
	extPostHandshakeAuth   = 49
	extKeyShare            = 51
	extECH                 = 0xfe0d // encrypted_client_hello (RFC 9849)
)
