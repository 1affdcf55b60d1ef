package tlsmsg

// maxProtocolName bounds the ALPN names that are published, in bytes. The longest registered one is "stun.nat-discovery".
const maxProtocolName = 64

// IsProtocolName reports whether an ALPN name may be published. ALPN names can be any bytes (RFC 7301 section 3.1); registered names and
// the names that meshes use consist of letters, digits and "._/+-". GREASE values (RFC 8701) are accepted too.
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
