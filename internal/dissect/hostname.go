package dissect

import (
	"net/netip"
	"strings"
)

const (
	// maxDomain is the longest name in text, in bytes, without a dot at its end (RFC 1035
	// section 2.3.4), maxLabel the longest of its labels.
	maxDomain = 253
	maxLabel  = 63
	// maxAuthority is the longest uri-host and port: a name, a colon and five digits.
	maxAuthority = maxDomain + len(":65535")
)

// Hostname returns a host's name in lower case and without a dot at its end, and reports
// whether name is one: labels of letters, digits, "-" and "_" (which real names have), at
// most 63 bytes each and 253 together, that neither begin nor end with "-" (RFC 952, RFC
// 1123 section 2.1). The last label is not a number: such a name reads as an address.
func Hostname(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxDomain {
		return "", false
	}
	upper, label, digits := false, 0, true
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 || name[i-1] == '-' {
				return "", false
			}
			label, digits = 0, true
			continue
		case c == '-' && label == 0:
			return "", false
		case !isNameByte(c):
			return "", false
		}
		upper = upper || 'A' <= c && c <= 'Z'
		digits = digits && '0' <= c && c <= '9'
		if label++; label > maxLabel {
			return "", false
		}
	}
	if label == 0 || digits || name[len(name)-1] == '-' {
		return "", false
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, true
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// authority returns the host of `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986
// section 3.2.2) and reports whether v is that: a Hostname, an IPv4 address, or an IPv6
// address in brackets and without a zone. Anything else (user information, a path, a list,
// a percent-encoded byte, an address of a future version) is refused. An address is
// returned as net/netip writes it, without brackets. port reports whether there was one.
func authority(v string) (host string, port, ok bool) {
	if len(v) > maxAuthority {
		return "", false, false
	}
	if literal, found := strings.CutPrefix(v, "["); found {
		literal, rest, closed := strings.Cut(literal, "]")
		a, err := netip.ParseAddr(literal)
		if !closed || err != nil || !a.Is6() || a.Zone() != "" {
			return "", false, false
		}
		number, port := strings.CutPrefix(rest, ":")
		return a.String(), port, isPort(number) && (port || rest == "")
	}
	name, number, port := strings.Cut(v, ":")
	if port && !isPort(number) {
		return "", false, false
	}
	if _, ok := parseIPv4(name); ok {
		return name, port, true // there is but one way to write it
	}
	host, ok = Hostname(name)
	return host, port, ok
}

// parseIPv4 reads an IPv4 address. Names are told by their shape: netip.ParseAddr
// allocates for an error.
func parseIPv4(s string) (netip.Addr, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

// isPort reports whether s is the digits of a port, which may be none (RFC 3986 section
// 3.2.3).
func isPort(s string) bool {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = 10*n + int(c-'0')
	}
	return n <= 65535
}

// serverName returns the name of a server_name extension (RFC 6066 section 3), and reports
// whether name is one: a Hostname, which an address is not, or what Kuma's proxies send.
func serverName(name string) (string, bool) {
	if host, ok := Hostname(name); ok {
		return host, true
	}
	return name, isTagged(name)
}

// isTagged reports whether name is SERVICE{KEY=VALUE,...}, which Kuma's proxies have as
// their SNI (kuma pkg/tls/sni.go): it must name the mesh.
func isTagged(name string) bool {
	service, tags, ok := strings.Cut(name, "{")
	tags, closed := strings.CutSuffix(tags, "}")
	if _, host := Hostname(service); !ok || !closed || !host || len(name) > maxDomain {
		return false
	}
	mesh := false
	for tag := range strings.SplitSeq(tags, ",") {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" || strings.Trim(key, tagKey) != "" || strings.Trim(value, tagValue) != "" {
			return false
		}
		mesh = mesh || key == "mesh" || strings.HasPrefix(key, "kuma.io/")
	}
	return mesh
}

const (
	tagValue = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
	tagKey   = tagValue + "/"
)

// maxSPIFFE is the longest SPIFFE ID, in bytes, maxTrustDomain the longest trust domain
// (SPIFFE-ID sections 2.1 and 2.3).
const (
	maxSPIFFE      = 2048
	maxTrustDomain = 255
)

// isSPIFFE reports whether id is a SPIFFE ID (SPIFFE-ID section 2): a trust domain of
// lower-case letters, digits, ".", "-" and "_", and a path of segments of letters, digits,
// ".", "-" and "_" that are neither empty nor "." nor "..". It has no user, port, query or
// fragment.
func isSPIFFE(id string) bool {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok || len(id) > maxSPIFFE {
		return false
	}
	domain, path, found := strings.Cut(rest, "/")
	if domain == "" || len(domain) > maxTrustDomain || strings.Trim(domain, tagValue) != "" {
		return false
	}
	if !found {
		return true
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(strings.ToLower(segment), tagValue) != "" {
			return false
		}
	}
	return true
}
