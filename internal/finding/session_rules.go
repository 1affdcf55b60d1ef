package finding

import (
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// breach describes in words how a connection breaks a rule: "CLIENT verb what to SERVER", and the
// clause, which begins with its punctuation.
type breach struct{ verb, what, clause string }

// versionOf returns the negotiated version in words, such as "TLS 1.2", "DTLS 1.0" or "SSL 3.0". It returns "TLS" if
// the version is unknown.
func versionOf(t *verdict.TLSInfo) string {
	name := "TLS"
	switch t.VersionProtocol {
	case "ssl":
		name = "SSL"
	case "dtls":
		name = "DTLS"
	}
	if t.Version == "" {
		return name
	}
	return name + " " + t.Version
}

// weakVersion reports whether a session has a version that RFC 6176 (SSL 2.0), RFC 7568 (SSL 3.0) or RFC 8996 (TLS 1.0
// and 1.1, DTLS 1.0) deprecates. The version is the one that the server chose, not one that the client offered.
func weakVersion(j *verdict.Judged) bool {
	return choseVersion(j) && (j.TLS.VersionProtocol == "ssl" || j.TLS.Version == "1.0" || j.TLS.Version == "1.1")
}

func versionWords(j *verdict.Judged) breach {
	document := "RFC 8996"
	switch {
	case j.TLS.VersionProtocol != "ssl":
	case j.TLS.Version == "2.0":
		document = "RFC 6176"
	default:
		document = "RFC 7568"
	}
	return breach{"spoke", versionOf(j.TLS), ", a version that is deprecated (" + document + ")"}
}

// weakCiphers are parts of the names of weak cipher suites, with the reason. Suites without encryption are missing: their
// connections are plaintext.
var weakCiphers = []struct{ part, why string }{
	{"_EXPORT", "a suite whose keys were made to be broken (RFC 9325, section 4.1)"},
	{"_anon_", "a suite that authenticates neither end (RFC 9325, section 4.1)"},
	{"RC4_", "a suite whose keystream is biased (RFC 7465)"},
	{"RC2_", "a suite with an obsolete cipher (RFC 9325, section 4.1)"},
	{"_3DES_", "a suite whose cipher has blocks of 64 bits (Sweet32)"},
	{"DES", "a suite whose cipher has keys of 56 bits or fewer (RFC 5469)"},
	{"_IDEA_", "a suite whose cipher has blocks of 64 bits (RFC 5469)"},
}

// weaknessOf returns the reason why a cipher suite is weak, empty if it is not.
func weaknessOf(cipher string) string {
	for _, w := range weakCiphers {
		if strings.Contains(cipher, w.part) {
			return w.why
		}
	}
	return ""
}

// weakCipher reports whether the server chose a weak cipher suite.
func weakCipher(j *verdict.Judged) bool { return hasSession(j) && weaknessOf(j.TLS.Cipher) != "" }

func cipherWords(j *verdict.Judged) breach {
	return breach{"spoke", versionOf(j.TLS) + " with " + j.TLS.Cipher, ", " + weaknessOf(j.TLS.Cipher)}
}
