package cbom

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/iana"
)

// algorithm is one algorithm. Unknown values are empty, 0 or, for quantum, nil.
type algorithm struct {
	name      string // also identifies it
	primitive string // of CycloneDX's list
	parameter string // parameterSetIdentifier: a key size or the name of a parameter set
	curve     string
	mode      string
	classical int  // security level in bits against classical attacks
	quantum   *int // category of NIST's post-quantum evaluation criteria (1 to 5); 0: none of them is reached
	parts     []algorithm
}

// Values of quantum. As variables the tables below need no code.
var none, category1, category2, category3, category4, category5 = 0, 1, 2, 3, 4, 5

// groups has the named groups whose security is generally agreed. The levels are those of NIST SP 800-57 part 1, table 2, and of FIPS 203,
// section 8. A hybrid group has the category of its ML-KEM.
var groups = []algorithm{
	{name: "secp256r1", primitive: "key-agree", curve: "P-256", classical: 128, quantum: &none},
	{name: "secp384r1", primitive: "key-agree", curve: "P-384", classical: 192, quantum: &none},
	{name: "secp521r1", primitive: "key-agree", curve: "P-521", classical: 256, quantum: &none},
	{name: "x25519", primitive: "key-agree", curve: "Curve25519", classical: 128, quantum: &none},
	{name: "x448", primitive: "key-agree", curve: "Curve448", classical: 224, quantum: &none},
	{name: "ffdhe2048", primitive: "key-agree", parameter: "2048", classical: 112, quantum: &none},
	{name: "ffdhe3072", primitive: "key-agree", parameter: "3072", classical: 128, quantum: &none},
	{name: "MLKEM512", primitive: "kem", parameter: "512", classical: 128, quantum: &category1},
	{name: "MLKEM768", primitive: "kem", parameter: "768", classical: 192, quantum: &category3},
	{name: "MLKEM1024", primitive: "kem", parameter: "1024", classical: 256, quantum: &category5},
}

// hybrids has the parts of hybrid groups.
var hybrids = map[string][2]string{
	"X25519MLKEM768": {"x25519", "MLKEM768"}, "SecP256r1MLKEM768": {"secp256r1", "MLKEM768"}, "SecP384r1MLKEM1024": {"secp384r1", "MLKEM1024"},
}

// groupAlgorithm returns the algorithm of a named group.
func groupAlgorithm(name string) algorithm {
	if parts, ok := hybrids[name]; ok {
		a := algorithm{name: name, primitive: "combiner", parts: []algorithm{groupAlgorithm(parts[0]), groupAlgorithm(parts[1])}}
		a.quantum = a.parts[1].quantum
		return a
	}
	i := slices.IndexFunc(groups, func(a algorithm) bool { return a.name == name })
	var a algorithm
	switch {
	case i >= 0:
		a = groups[i]
	case iana.IsPostQuantum(name):
		a.primitive = "combiner" // with a draft of ML-KEM, or a curve without agreed levels
	case !iana.IsRegistered(name):
		a.primitive = "unknown"
	default:
		a.primitive, a.quantum = "key-agree", new(0) // every other registered group is a curve or a finite field
	}
	a.name = name
	return a
}

// suiteAlgorithms returns the algorithms that a cipher suite names: key exchange and authentication (before TLS 1.3), cipher, hash.
func suiteAlgorithms(name string) (out []algorithm) {
	rest, ok := strings.CutPrefix(name, "TLS_")
	if !ok {
		return nil
	}
	if exchange, cipher, older := strings.Cut(rest, "_WITH_"); older {
		out, rest = exchangeAlgorithms(exchange), cipher
	}
	words := strings.Split(rest, "_")
	if a, ok := cipherAlgorithm(words); ok {
		out = append(out, a)
	}
	if a, ok := hashAlgorithm(words[len(words)-1]); ok {
		out = append(out, a)
	}
	return out
}

// exchangeAlgorithms returns the algorithms of the first part of a suite's name, such as "ECDHE_RSA". All of them are breakable by a
// quantum computer. A pre-shared key is not an algorithm.
func exchangeAlgorithms(text string) (out []algorithm) {
	words := strings.Split(text, "_")
	switch words[0] {
	case "ECDHE", "ECDH", "DHE", "DH":
		out = append(out, algorithm{name: words[0], primitive: "key-agree", quantum: new(0)})
	case "RSA":
		out = append(out, algorithm{name: "RSA key transport", primitive: "pke", quantum: new(0)})
	}
	if len(words) == 1 {
		return out
	}
	switch words[1] {
	case "RSA":
		out = append(out, algorithm{name: "RSA", primitive: "signature", quantum: new(0)})
	case "DSS":
		out = append(out, algorithm{name: "DSA", primitive: "signature", quantum: new(0)})
	case "ECDSA": // RFC 8422, section 5.10: such a suite is also used with EdDSA
		out = append(out, algorithm{name: "ECDSA or EdDSA", primitive: "signature", quantum: new(0)})
	}
	return out
}

// ciphers has the ciphers of suites by the first word of their names.
var ciphers = map[string]algorithm{
	"AES": {}, "ARIA": {}, "CAMELLIA": {}, "SM4": {classical: 128}, "SEED": {classical: 128}, "IDEA": {classical: 128},
	"3DES": {classical: 112, quantum: &none}, "DES": {classical: 56, quantum: &none}, "DES40": {classical: 40, quantum: &none},
	"RC2": {quantum: &none}, "RC4": {primitive: "stream-cipher", quantum: &none},
	"CHACHA20": {primitive: "ae", classical: 256},
}

// categories are NIST's categories for an AES key of so many bits.
var categories = map[int]int{128: 1, 192: 3, 256: 5}

// cipherAlgorithm returns the cipher of the second part of a suite's name, such as AES, 128, GCM, SHA256.
func cipherAlgorithm(words []string) (a algorithm, ok bool) {
	family := words[0]
	if a, ok = ciphers[family]; !ok {
		return a, false
	}
	if a.primitive == "" {
		a.primitive = "block-cipher"
	}
	name := []string{family}
	for _, w := range words[1:] {
		bits, err := strconv.Atoi(w)
		switch mode := strings.ToLower(w); {
		case mode == "gcm" || mode == "ccm":
			a.mode, a.primitive = mode, "ae"
		case mode == "cbc":
			a.mode = mode
		case w == "POLY1305" || w == "EDE":
		case err == nil && a.mode != "ccm": // not the 8 of CCM_8
			if a.parameter = w; family != "RC4" { // attacks on its keystream do not depend on the size of its key (RFC 7465)
				a.classical = bits
			}
		case err == nil:
		default:
			w = "" // the hash
		}
		if w != "" {
			name = append(name, w)
		}
	}
	if c, known := categories[a.classical]; known && family == "AES" {
		a.quantum = new(c)
	}
	a.name = strings.Join(name, "-")
	return a, true
}

// hashes has the hashes of suites.
var hashes = map[string]algorithm{
	"MD5": {name: "MD5", quantum: &none}, "SHA": {name: "SHA-1", parameter: "160", quantum: &none}, "SHA1": {name: "SHA-1", parameter: "160", quantum: &none},
	"SHA256": {name: "SHA-256", parameter: "256", classical: 128, quantum: &category2}, "SHA384": {name: "SHA-384", parameter: "384", classical: 192, quantum: &category4},
	"SHA512": {name: "SHA-512", parameter: "512", classical: 256, quantum: &category5}, "SM3": {name: "SM3", parameter: "256", classical: 128},
}

func hashAlgorithm(word string) (a algorithm, ok bool) {
	a, ok = hashes[word]
	a.primitive = "hash"
	return a, ok
}

// keyAlgorithm returns the algorithm of a certificate's key.
func keyAlgorithm(name string, bits uint64) (a algorithm, ok bool) {
	a = algorithm{name: name, primitive: "signature", quantum: new(0)}
	switch name {
	case "RSA":
		a.primitive = "pke"
		a.name, a.parameter = fmt.Sprintf("RSA-%d", bits), strconv.FormatUint(bits, 10)
	case "ECDSA":
		a.name, a.parameter = fmt.Sprintf("ECDSA-%d", bits), strconv.FormatUint(bits, 10)
	case "Ed25519":
		a.curve, a.classical = "Ed25519", 128
	default:
		return a, false
	}
	return a, true
}

// classicalSignatures are the parts of names of the signature algorithms of certificates that a quantum computer breaks.
var classicalSignatures = []string{"RSA", "DSA", "Ed25519"}

// signatureAlgorithm returns the algorithm of a certificate's signature, such as "ECDSA-SHA256".
func signatureAlgorithm(name string) algorithm {
	a := algorithm{name: name, primitive: "signature"}
	for _, c := range classicalSignatures {
		if strings.Contains(name, c) && !strings.Contains(name, "MLDSA") && !strings.Contains(name, "SLHDSA") {
			a.quantum = new(0)
		}
	}
	return a
}

// Whether the keys of a configuration were agreed by a post-quantum algorithm.
const (
	postQuantumYes     = "yes"
	postQuantumNo      = "no"
	postQuantumUnknown = "unknown"
)

// postQuantum reports whether keys were agreed by ML-KEM or its draft, alone or together with a classical group. It is unknown if the
// group is not registered, or if none was seen where TLS 1.3 may have had one.
func (c *config) postQuantum() string {
	switch {
	case iana.IsPostQuantum(c.group):
		return postQuantumYes
	case iana.IsRegistered(c.group):
		return postQuantumNo
	case c.group != "":
		return postQuantumUnknown
	case c.version == "1.3" || c.suite == "" || strings.HasPrefix(c.suite, "0x") || strings.HasPrefix(c.suite, "TLS_PSK_"):
		return postQuantumUnknown
	}
	return postQuantumNo // older versions have no such groups
}
