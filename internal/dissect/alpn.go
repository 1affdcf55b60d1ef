package dissect

// maxProtocolName is the longest ALPN name that is published, in bytes. The longest that
// IANA has registered is "stun.nat-discovery".
const maxProtocolName = 64

// IsProtocolName reports whether an ALPN name (RFC 7301 section 3.1), which is any bytes, is
// one to publish: letters, digits and "._/+-", as all of IANA's "TLS ALPN Protocol IDs" and
// those of meshes are, or one that RFC 8701 reserves.
func IsProtocolName(name string) bool {
	if name == "" || len(name) > maxProtocolName {
		return false
	}
	if len(name) == 2 && grease(uint16(name[0])<<8|uint16(name[1])) {
		return true
	}
	for _, c := range []byte(name) {
		if !alnum(c) && c != '.' && c != '_' && c != '/' && c != '+' && c != '-' {
			return false
		}
	}
	return true
}
