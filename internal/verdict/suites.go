package verdict

import (
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/iana"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// ciphering is the effect of a cipher suite on the content of records.
type ciphering int

const (
	unfamiliar ciphering = iota // no suite with this number is known, or it is a signal and not a suite (RFC 5746, 7507, 8701)
	encrypts
	leavesPlain // the suite authenticates at most
)

// cipherNames are the ciphers in the names of registered suites, the most frequent first. A suite counts as
// encrypting if its name contains one of these. So a suite with a new kind of cipher is unfamiliar.
var cipherNames = [...]string{"AES_", "CHACHA20", "3DES", "RC4_", "CAMELLIA", "ARIA", "_DES", "RC2_", "IDEA", "SEED", "SM4", "AEGIS", "KUZNYECHIK", "MAGMA", "_28147_"}

// privateSuites are suites of TLS stacks that are not in the registry, or whose registered name does not show what
// they do.
var privateSuites = func() map[uint16]ciphering {
	m := map[uint16]ciphering{
		0x001c: leavesPlain,                // SSL_FORTEZZA_KEA_WITH_NULL_SHA (RFC 6101 appendix A.6)
		0x0082: leavesPlain,                // TLS_GOSTR341094_WITH_NULL_GOSTR3411 (draft-chudov-cryptopro-cptls)
		0x0083: leavesPlain,                // TLS_GOSTR341001_WITH_NULL_GOSTR3411
		0x00fe: leavesPlain,                // wolfSSL's WDM_WITH_NULL_SHA256
		0xff87: leavesPlain,                // OpenSSL's GOST2012-NULL-GOST12
		0xc0b4: leavesPlain,                // TLS_SHA256_SHA256 (RFC 9150), whose name has no NULL
		0xc0b5: leavesPlain,                // TLS_SHA384_SHA384
		0x001d: encrypts,                   // SSL_FORTEZZA_KEA_WITH_FORTEZZA_CBC_SHA
		0x0080: encrypts, 0x0081: encrypts, // TLS_GOSTR341094_WITH_28147_CNT_IMIT and TLS_GOSTR341001's
		0xc0ff: encrypts,                                     // TLS_ECJPAKE_WITH_AES_128_CCM_8 (Mbed TLS, Thread)
		0xff85: encrypts,                                     // OpenSSL's GOST2012-GOST8912-GOST8912
		0xfefe: encrypts, 0xfeff: encrypts, 0xffe0: encrypts, // NSS's SSL_RSA_FIPS_WITH_DES_CBC_SHA and 3DES
		0xffe1: encrypts,
		0xcc13: encrypts, 0xcc14: encrypts, 0xcc15: encrypts, // ChaCha20-Poly1305 (draft-agl-tls-chacha20poly1305)
		0xe011: encrypts, 0xe013: encrypts, 0xe051: encrypts, 0xe052: encrypts, 0xe053: encrypts, // SM4 in TLS 1.2 (GB/T 38636, Tongsuo, wolfSSL)
	}
	for _, r := range [...][2]uint16{
		{0x0060, 0x0066}, // EXPORT1024 (draft-ietf-tls-56-bit-ciphersuites)
		{0x00e5, 0x00e8}, // wolfSSL's NTRU
		{0x00f8, 0x00fd}, // wolfSSL's BLAKE2b, HC-128 and Rabbit
		{0xe410, 0xe41f}, // Salsa20 (draft-josefsson-salsa20-tls)
	} {
		for suite := r[0]; suite <= r[1]; suite++ {
			m[suite] = encrypts
		}
	}
	return m
}()

// cipheringOf returns what a suite does, regardless of the version: drafts of TLS 1.3 use suites of TLS 1.2.
func cipheringOf(suite uint16) ciphering {
	if c, known := privateSuites[suite]; known {
		return c
	}
	name := iana.CipherSuiteName(suite)
	if strings.Contains(name, "_WITH_NULL_") {
		return leavesPlain
	}
	for _, cipher := range cipherNames {
		if strings.Contains(name, cipher) {
			return encrypts
		}
	}
	return unfamiliar
}

// chosenCiphering returns what the server's suite does. If the ServerHello was not captured, it returns
// leavesPlain if the client offered only suites that do not encrypt, and encrypts otherwise.
func chosenCiphering(t *dissect.TLS) ciphering {
	switch {
	case t.Server == nil && offersPlainOnly(t):
		return leavesPlain
	case t.Server == nil, t.Server.V2: // SSL 2.0 has its own suites, with other numbers
		return encrypts
	}
	return cipheringOf(t.Server.CipherSuite)
}

// offersPlainOnly reports whether a client offers only suites that do not encrypt, apart from numbers that are not
// suites.
func offersPlainOnly(t *dissect.TLS) bool {
	if t.Hello == nil || t.Hello.V2 || t.Over == tlsmsg.OverQUIC {
		return false
	}
	some := false
	for _, suite := range t.Hello.CipherSuites {
		switch {
		case noSuite(suite):
		case cipheringOf(suite) == leavesPlain:
			some = true
		default:
			return false
		}
	}
	return some
}

// noSuite reports whether a number is not a suite, so that a server must not choose it. Such numbers are signals
// (RFC 5746, section 3.3, RFC 7507) and the values that RFC 8701 reserves.
func noSuite(suite uint16) bool {
	return suite == 0x00ff || suite == 0x5600 || suite&0x0f0f == 0x0a0a && suite>>8 == suite&0xff
}
