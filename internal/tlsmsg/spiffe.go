package tlsmsg

import "strings"

// maxSPIFFE bounds a SPIFFE ID, and maxTrustDomain its trust domain, in bytes (SPIFFE-ID sections 2.3 and 2.1).
const (
	maxSPIFFE      = 2048
	maxTrustDomain = 255
)

// isSPIFFE reports whether id is a SPIFFE ID (SPIFFE-ID section 2). Its trust domain consists of lower-case letters, digits, ".", "-"
// and "_". The segments of its path consist of letters, digits, ".", "-" and "_", and are not empty, "." or "..". It has no
// user, port, query or fragment.
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
