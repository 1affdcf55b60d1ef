package names

import (
	"net/netip"
	"strings"
)

const (
	// MaxHostname bounds a host name in text form without a trailing dot, and maxLabel each of its labels, in bytes (RFC 1035
	// section 2.3.4).
	MaxHostname = 253
	maxLabel    = 63
	// maxAuthority bounds uri-host and port in bytes: a name, a colon and five digits.
	maxAuthority = MaxHostname + len(":65535")
)

// Hostname returns a host name in lower case and without a trailing dot, and reports whether name is valid (RFC 952, RFC 1123 section
// 2.1). A valid name consists of labels of letters, digits, "-" and "_" (which real names contain). A label has at most 63 bytes, and
// neither begins nor ends with "-". The name has at most 253 bytes. Its last label must not be a number, because such a name could be
// taken for an address.
func Hostname(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > MaxHostname {
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

// Authority returns the host of `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2). ok reports whether v is valid: a
// Hostname, an IPv4 address, or an IPv6 address in brackets without a zone. Anything else is rejected, such as user
// information, a path, a list or a percent-encoded byte. Addresses are returned as net/netip writes them, without brackets.
// port reports whether v has a port.
func Authority(v string) (host string, port, ok bool) {
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
		return name, port, true // an IPv4 address has only one spelling
	}
	host, ok = Hostname(name)
	return host, port, ok
}

// parseIPv4 parses an IPv4 address. It rejects names by their characters first, because netip.ParseAddr allocates for an error.
func parseIPv4(s string) (netip.Addr, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

// isPort reports whether s is a port number or empty (RFC 3986 section 3.2.3).
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
