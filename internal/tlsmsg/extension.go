package tlsmsg

import "golang.org/x/crypto/cryptobyte"

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
	extKeyShareDraft       = 40 // key_share in drafts of TLS 1.3 before draft 23; extended_random in TLS 1.2
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
	extCookie              = 44
	extPSKModes            = 45 // psk_key_exchange_modes (RFC 8446 section 4.2.9)
	extPostHandshakeAuth   = 49
	extKeyShare            = 51
	extECH                 = 0xfe0d // encrypted_client_hello (RFC 9849)
)

// maxExtensions bounds the number of extensions of a hello, which is not parsed if it has more. IANA's registry has about 70.
const maxExtensions = 256

// readExtensions reads the extensions block of a hello (RFC 8446, section 4.2) at the start of s. It appends each type to types, then
// calls read with the extension. It reports whether the framing is well-formed; on false, the extensions before the error have been read.
func readExtensions(s cryptobyte.String, types *[]uint16, read func(typ uint16, data cryptobyte.String)) bool {
	var block cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&block) {
		return false
	}
	for !block.Empty() {
		var typ uint16
		var data cryptobyte.String
		if !block.ReadUint16(&typ) || !block.ReadUint16LengthPrefixed(&data) || len(*types) == maxExtensions {
			return false
		}
		*types = append(*types, typ)
		read(typ, data)
	}
	return true
}
