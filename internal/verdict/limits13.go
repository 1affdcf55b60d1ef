package verdict

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// mostEmpty is the size in bytes of the largest Certificate message without an entry that a server can provoke. The
// certificate_request_context, of at most 255 bytes, must be empty in the handshake (RFC 8446, section 4.3.2), but some
// clients echo any value. The message may be compressed if the server accepts that (RFC 8879). Compression adds a
// header of 12 bytes, and incompressible content may grow by up to 32 bytes.
const mostEmpty = emptyCertificate + 255 + 12 + 32

// mostHollow is mostEmpty plus a Finished. A record up to this size may be the whole flight of a client without a
// certificate. The next record may then be application data.
const mostHollow = mostEmpty + messageHeader + 64

// compresses reports whether a client may compress its certificate. Either it offers to accept compressed certificates,
// or it is OpenSSL 3.5 or later, which compresses without such an offer. That version is recognized by ML-DSA.
func compresses(hello *tlsmsg.ClientHello) bool {
	const leastMLDSA, mostMLDSA = 0x0904, 0x0906
	return hello.CertificateCompression() || splits(hello) && slices.ContainsFunc(hello.SignatureSchemes, func(s uint16) bool {
		return s >= leastMLDSA && s <= mostMLDSA
	})
}

// maxFragmentLength is an extension that asks for small records (RFC 6066, section 4). The extension record_size_limit
// (RFC 8449) does so too; its value is in the hello.
const maxFragmentLength = 1

// limited reports whether a client's hello allows its server to keep the client's records small.
func limited(hello *tlsmsg.ClientHello) bool {
	return hello == nil || hello.Has(maxFragmentLength) || hello.RecordSizeLimit > 0
}

// encryptThenMAC is the extension of RFC 7366. OpenSSL offers it, and some other stacks do. All these stacks put each
// message of a flight into a record of its own.
const encryptThenMAC = 22

// splits reports whether a client's stack never puts its flight into one record. Such stacks are recognized by
// encryptThenMAC, or by OpenSSL's list of point formats. OpenSSL is also the only stack known to pad handshake records
// to any configured size (RecordPadding; since 3.4 also for the handshake only).
func splits(hello *tlsmsg.ClientHello) bool {
	return hello != nil && (hello.Has(encryptThenMAC) || slices.Equal(hello.PointFormats, []uint8{0, 1, 2}))
}

// padded reports whether a client's first record may be a Finished that is padded to one block, like the records
// after it.
func padded(r []dissect.TLSRecord, s suite, t *dissect.TLS) bool {
	var buffer [4]int
	all := lengths(buffer[:0], t, t.Client, r)
	block := s.block(all)
	return block > 0 && all[0] == block+s.over-1
}

// fillsRecord reports whether a record of the server has the largest size that the client allows. Its message then
// continues in the next record. Some stacks include the content type and padding in that size.
func fillsRecord(n int, s suite, hello *tlsmsg.ClientHello) bool {
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
	size := content + content&1 // RFC 6066 allows 2^9 to 2^12, wolfSSL more sizes
	return size >= 1<<8 && size < 1<<14 && size&(size-1) == 0 && hello.Has(maxFragmentLength)
}
