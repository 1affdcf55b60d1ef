package verdict

import (
	"maps"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// suite holds the record sizes that a cipher suite gives to the messages of interest, in bytes, counted like
// TLSCiphertext.length (RFC 8446, section 5.2).
type suite struct {
	over     int // overhead of every record: the content type and the AEAD's tag
	finished int // a Finished in a record of its own
	empty    int // a Certificate without an entry, in a record of its own
	alert    int // an alert
	slack    int // over may be too large by up to this many bytes: the padding varies
}

const (
	// A Finished is a header of 4 bytes and the hash. An empty Certificate is a header, an empty context and an empty
	// list: 8 bytes. An entry takes 5 bytes in addition to its DER.
	messageHeader    = 4
	emptyCertificate = 8
	entryOver        = 5
	// A CertificateVerify has 4 bytes in addition to header and signature. The smallest signature in use has 64
	// (Ed25519).
	verifyOver     = messageHeader + 4
	leastSignature = 64
	// leastX509 is the size in bytes of the smallest X.509 certificate, with the shortest names and an Ed25519 key and
	// signature. A smaller entry is a raw public key (RFC 7250). A smaller message may be compressed (RFC 8879), with
	// a header of 12 bytes, and a key and a signature that cannot be compressed. Both are possible only if the
	// ClientHello offers them.
	leastX509       = 170
	leastRaw        = 44
	leastCompressed = 12 + 32 + leastSignature
	// jssePadding is the padding that Java's TLS adds to every record.
	jssePadding = 16
	// mbedBlock is the multiple to which Mbed TLS 3 by default pads the content and content type of every record
	// (MBEDTLS_SSL_CID_TLS1_3_PADDING_GRANULARITY).
	mbedBlock = 16
)

// senders returns the sizes for three kinds of sender: a sender that does not pad (s itself), Java, and Mbed TLS. The
// caller must not change them.
func (s suite) senders() *[3]suite {
	for i := range sendersOf {
		if sendersOf[i][0] == s {
			return &sendersOf[i]
		}
	}
	return s.computeSenders()
}

// sendersOf has the sizes of the three kinds of sender, once for all suites with equal sizes. It is sorted by suite
// number, which puts the most frequent sizes first.
var sendersOf = func() (all [][3]suite) {
	for _, cipher := range slices.Sorted(maps.Keys(lengths13)) {
		s, _ := sizes(cipher)
		if !slices.ContainsFunc(all, func(x [3]suite) bool { return x[0] == s }) {
			all = append(all, *s.computeSenders())
		}
	}
	return all
}()

// computeSenders returns the sizes of senders, computed from s.
func (s suite) computeSenders() *[3]suite {
	java := suite{over: s.over + jssePadding, finished: s.finished + jssePadding, empty: s.empty + jssePadding, alert: s.alert + jssePadding}
	up := func(n int) int { return n + (mbedBlock-(n-s.over+1)%mbedBlock)%mbedBlock }
	mbed := suite{over: s.over + mbedBlock - 1, finished: up(s.finished), empty: up(s.empty), alert: up(s.alert), slack: mbedBlock - 1}
	return &[3]suite{s, java, mbed}
}

// inBlocks reports whether the first records may be padded like Mbed TLS's. over is the overhead of a record without
// padding.
func inBlocks(r []dissect.TLSRecord, over int) bool {
	for _, x := range r[:min(len(r), 4)] {
		if (x.Length-over+1)%mbedBlock != 0 {
			return false
		}
	}
	return len(r) > 0
}

// fits reports whether the first records may come from a sender with these sizes.
func (s suite) fits(r []dissect.TLSRecord) bool { return s.slack == 0 || inBlocks(r, s.over-s.slack) }

// isAlert reports whether a record of n bytes has the size of an alert. finished is the size of the sender's Finished,
// which shows the kind of sender, -1 if unknown.
func (s suite) isAlert(n, finished int) bool {
	for i, d := range s.senders() {
		if n == d.alert && (finished == d.finished || finished < 0 && i < 2) {
			return true
		}
	}
	return false
}

// signed reports whether a message of n to n+slack bytes may be a CertificateVerify.
func signed(n, slack int) bool {
	for i := range slack + 1 {
		if keyHint(n-verifyOver+i) != "" {
			return true
		}
	}
	return false
}

// lengths13 are the lengths of hash and tag of the TLS 1.3 suites whose sizes are known (RFC 8446, appendix B.4, RFC
// 8998, RFC 9367, draft-irtf-cfrg-aegis-aead, RFC 9150). In the suites of RFC 9150 the tag is an HMAC, and nothing is
// encrypted. The sizes of other suites' records are not interpreted.
var lengths13 = map[uint16][2]int{
	0x1301: {32, 16}, 0x1302: {48, 16}, 0x1303: {32, 16}, 0x1304: {32, 16},
	0x1305: {32, 8},                    // TLS_AES_128_CCM_8_SHA256
	0x1306: {64, 16}, 0x1307: {32, 16}, // TLS_AEGIS_256_SHA512, TLS_AEGIS_128L_SHA256
	0x00c6: {32, 16}, 0x00c7: {32, 16}, // TLS_SM4_GCM_SM3, TLS_SM4_CCM_SM3
	0xc0b4: {32, 32}, 0xc0b5: {48, 48}, // TLS_SHA256_SHA256, TLS_SHA384_SHA384
	0xc103: {32, 16}, 0xc104: {32, 8}, 0xc105: {32, 16}, 0xc106: {32, 8}, // Kuznyechik and Magma, MGM
}

// sizes returns the record sizes of a suite. For a suite with unknown sizes, it returns larger sizes than those of any
// known suite, so that no alert is mistaken for data.
func sizes(cipher uint16) (s suite, known bool) {
	n, known := lengths13[cipher]
	if !known {
		n = [2]int{64, 64}
	}
	over := 1 + n[1]
	return suite{over: over, finished: messageHeader + n[0] + over, empty: emptyCertificate + over, alert: 2 + over}, known
}

// keyHint returns the kind of key that makes signatures of n bytes, empty if unknown.
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

// block returns the block size to which a sender pads its records (RFC 8446, section 5.4). It is the greatest common
// divisor of the sizes of the first records, 0 if that is too small to be significant.
func (s suite) block(lengths []int) int {
	all := s.unit(lengths)
	if all >= leastBlock && (len(lengths) > 1 || all%leastBlock == 0) {
		return all
	}
	return 0
}

// unit returns the greatest common divisor of the sizes (content, content type and padding) of the first four
// records.
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

// leastBlock is the smallest block size that cannot be a coincidence.
const leastBlock = 64
