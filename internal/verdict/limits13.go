package verdict

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// mostEmpty is the size of the largest Certificate message without an entry, by what a
// server alone can make of it, in bytes: its certificate_request_context, of 255 bytes at
// most, has to be empty in the handshake (RFC 8446 section 4.3.2), but some clients repeat
// whatever a server sends. It may be compressed, if the server takes that (RFC 8879), with
// 12 bytes of its own and 32 by which incompressible content may grow.
const mostEmpty = emptyCertificate + 255 + 12 + 32

// mostHollow is the same with a Finished after it. A record that is no larger may be the
// whole flight of a client without a certificate, and the next record may be application data.
const mostHollow = mostEmpty + messageHeader + 64

// compresses reports whether a client may send its certificate compressed: it takes
// compressed ones, or it is OpenSSL 3.5 or later, which tells by ML-DSA and compresses
// without offering to take any.
func compresses(hello *dissect.ClientHello) bool {
	const leastMLDSA, mostMLDSA = 0x0904, 0x0906
	return hello.CertificateCompression() || splits(hello) && slices.ContainsFunc(hello.SignatureSchemes, func(s uint16) bool {
		return s >= leastMLDSA && s <= mostMLDSA
	})
}

// Extensions by which an end asks for small records: max_fragment_length (RFC 6066
// section 4). Of record_size_limit (RFC 8449) the value is in the hello.
const maxFragmentLength = 1

// limited reports whether a client lets its server keep the client's records small.
func limited(hello *dissect.ClientHello) bool {
	return hello == nil || hello.Has(maxFragmentLength) || hello.RecordSizeLimit > 0
}

// encryptThenMAC is offered by OpenSSL and by stacks that put each message of a flight
// into a record of its own as OpenSSL does (RFC 7366).
const encryptThenMAC = 22

// splits reports whether a client is of a stack that never puts its flight into one
// record: OpenSSL, which alone is known to pad handshake records to any size by its
// configuration (RecordPadding, since 3.4, also of the handshake alone). Another mark is
// its list of point formats.
func splits(hello *dissect.ClientHello) bool {
	return hello != nil && (hello.Has(encryptThenMAC) || slices.Equal(hello.PointFormats, []uint8{0, 1, 2}))
}

// padded reports whether a client's first record may be a Finished that is padded to a
// block, as the records behind it are: such a Finished takes one block.
func padded(r []dissect.Record, s suite, t *dissect.TLS) bool {
	var buffer [4]int
	all := lengths(buffer[:0], t, t.Client, r)
	block := s.block(all)
	return block > 0 && all[0] == block+s.over-1
}

// fillsRecord reports whether a record of the server's is as long as its client lets it be, so
// that its message goes on in the next one. Some count the content type and padding in.
func fillsRecord(n int, s suite, hello *dissect.ClientHello) bool {
	content := n - s.over
	if content == 1<<14 {
		return true
	}
	if hello == nil {
		return false
	}
	if limit := int(hello.RecordSizeLimit); limit > 0 && content == limit-1 {
		return true
	}
	size := content + content&1 // RFC 6066 has 2^9 to 2^12, wolfSSL more
	return size >= 1<<8 && size < 1<<14 && size&(size-1) == 0 && hello.Has(maxFragmentLength)
}
