package verdict

import (
	"maps"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// suite holds the sizes that a cipher suite gives to the messages of interest, as
// TLSCiphertext.length counts them (RFC 8446 section 5.2).
type suite struct {
	over     int // what every record has besides its content: the content type and the AEAD's tag
	finished int // Finished alone in a record
	empty    int // Certificate without an entry, alone in a record
	alert    int // an alert
	slack    int // over may be up to so much too large: the padding varies from record to record
}

const (
	// A Finished is 4 bytes of header and the hash; an empty Certificate is a header, an
	// empty context and an empty list, 8 bytes; an entry of one takes 5 besides its DER.
	messageHeader    = 4
	emptyCertificate = 8
	entryOver        = 5
	// A CertificateVerify has 4 bytes besides header and signature. The smallest
	// signature in use has 64 (Ed25519).
	verifyOver     = messageHeader + 4
	leastSignature = 64
	// The smallest certificate: X.509 with the shortest of names and an Ed25519 key and
	// signature. What is smaller is a raw public key (RFC 7250), or a message that is
	// compressed (RFC 8879), with 12 bytes of its own and a key and a signature that
	// cannot be. Both are offered in the ClientHello.
	leastX509       = 170
	leastRaw        = 44
	leastCompressed = 12 + 32 + leastSignature
	// jssePadding is what Java's TLS adds to every record.
	jssePadding = 16
	// mbedBlock is the multiple to which Mbed TLS 3 pads the content and the content type of
	// every record by default (MBEDTLS_SSL_CID_TLS1_3_PADDING_GRANULARITY).
	mbedBlock = 16
)

// senders returns the sizes of s, those of a sender that does not pad, and the same sizes of
// Java and of Mbed TLS. They must not be changed.
func (s suite) senders() *[3]suite {
	for i := range sendersOf {
		if sendersOf[i][0] == s {
			return &sendersOf[i]
		}
	}
	return s.computeSenders()
}

// sendersOf are the senders of all suites whose sizes are known, the most frequent first.
var sendersOf = func() (all [][3]suite) {
	for _, cipher := range slices.Sorted(maps.Keys(lengths13)) {
		s, _ := sizes(cipher)
		if !slices.ContainsFunc(all, func(x [3]suite) bool { return x[0] == s }) {
			all = append(all, *s.computeSenders())
		}
	}
	return all
}()

func (s suite) computeSenders() *[3]suite {
	java := suite{over: s.over + jssePadding, finished: s.finished + jssePadding, empty: s.empty + jssePadding, alert: s.alert + jssePadding}
	up := func(n int) int { return n + (mbedBlock-(n-s.over+1)%mbedBlock)%mbedBlock }
	mbed := suite{over: s.over + mbedBlock - 1, finished: up(s.finished), empty: up(s.empty), alert: up(s.alert), slack: mbedBlock - 1}
	return &[3]suite{s, java, mbed}
}

// inBlocks reports whether the first records may be padded as Mbed TLS pads them. over is what
// a record has besides its content if its sender does not pad.
func inBlocks(r []dissect.Record, over int) bool {
	for _, x := range r[:min(len(r), 4)] {
		if (x.Length-over+1)%mbedBlock != 0 {
			return false
		}
	}
	return len(r) > 0
}

// fits reports whether the first records can be of a sender with these sizes.
func (s suite) fits(r []dissect.Record) bool { return s.slack == 0 || inBlocks(r, s.over-s.slack) }

// isAlert reports whether a record of n bytes is as large as an alert of a sender whose
// Finished takes the given number of bytes, -1 where that is not known.
func (s suite) isAlert(n, finished int) bool {
	for i, d := range s.senders() {
		if n == d.alert && (finished == d.finished || finished < 0 && i < 2) {
			return true
		}
	}
	return false
}

// signed reports whether a message may be a CertificateVerify, by its size: n bytes at least,
// and slack more at most.
func signed(n, slack int) bool {
	for i := range slack + 1 {
		if keyHint(n-verifyOver+i) != "" {
			return true
		}
	}
	return false
}

// lengths13 are the lengths of hash and tag of the suites of TLS 1.3 whose sizes are known
// (RFC 8446 appendix B.4, RFC 8998, RFC 9367, draft-irtf-cfrg-aegis-aead; RFC 9150: an HMAC
// is the tag, and nothing is encrypted). Of any other nothing can be read.
var lengths13 = map[uint16][2]int{
	0x1301: {32, 16}, 0x1302: {48, 16}, 0x1303: {32, 16}, 0x1304: {32, 16},
	0x1305: {32, 8},                    // TLS_AES_128_CCM_8_SHA256
	0x1306: {64, 16}, 0x1307: {32, 16}, // TLS_AEGIS_256_SHA512, TLS_AEGIS_128L_SHA256
	0x00c6: {32, 16}, 0x00c7: {32, 16}, // TLS_SM4_GCM_SM3, TLS_SM4_CCM_SM3
	0xc0b4: {32, 32}, 0xc0b5: {48, 48}, // TLS_SHA256_SHA256, TLS_SHA384_SHA384
	0xc103: {32, 16}, 0xc104: {32, 8}, 0xc105: {32, 16}, 0xc106: {32, 8}, // Kuznyechik and Magma, MGM
}

// sizes returns those of a suite; where they are not known, larger ones than any has, so
// that no alert is taken for data.
func sizes(cipher uint16) (s suite, known bool) {
	n, known := lengths13[cipher]
	if !known {
		n = [2]int{64, 64}
	}
	over := 1 + n[1]
	return suite{over: over, finished: messageHeader + n[0] + over, empty: emptyCertificate + over, alert: 2 + over}, known
}

// keyHint names the key that makes signatures of n bytes, empty if none is known.
func keyHint(n int) string {
	switch {
	case n == 64:
		return "ed25519"
	case n == 114:
		return "ed448"
	case n >= 68 && n <= 72:
		return "ecdsa-p256"
	case n >= 100 && n <= 104:
		return "ecdsa-p384"
	case n >= 136 && n <= 139:
		return "ecdsa-p521"
	case n == 128:
		return "rsa-1024"
	case n == 256:
		return "rsa-2048"
	case n == 384:
		return "rsa-3072"
	case n == 512:
		return "rsa-4096"
	case n == 2420:
		return "ml-dsa-44"
	case n == 3309:
		return "ml-dsa-65"
	case n == 4627:
		return "ml-dsa-87"
	}
	return ""
}

// block returns the block that a sender pads its records to (RFC 8446 section 5.4): the
// largest number that divides all of the first ones, 0 if there is none of note.
func (s suite) block(lengths []int) int {
	all := s.unit(lengths)
	if all >= leastBlock && (len(lengths) > 1 || all%leastBlock == 0) {
		return all
	}
	return 0
}

// unit returns the largest number that divides the content, the content type and the padding
// of all of the first records.
func (s suite) unit(lengths []int) int {
	tag := s.over - 1
	all := 0
	for _, n := range lengths[:min(len(lengths), 4)] {
		for a, b := all, n-tag; ; a, b = b, a%b {
			if b == 0 {
				all = a
				break
			}
		}
	}
	return all
}

// leastBlock is the smallest block that is told from chance.
const leastBlock = 64
