package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// Pool stores objects that sessions share: parsed certificates (a pod sees the same few on all its connections), fingerprints of hellos,
// and spare buffers and parsers. The zero value is ready for use. A Pool and its sessions are not safe for concurrent use.
type Pool struct {
	leaves     map[[32]byte]*knownLeaf // by the SHA-256 of the DER
	same       [sameLeaves]sameLeaf    // see sameLeaf
	bytesInUse int                     // see BytesInUse

	fingerprints tlsmsg.FingerprintCache
	late         unanswered
	now          int64 // packet time, see Clock

	// spare objects of finished and dropped sessions
	parsers []*parser
	facts   []*TLS
	https   []*HTTP
	old     []*Session
	readers []*httpReader
	logins  []*loginReader
	buffers [][]byte // of firstRoom bytes each
}

// maxSpare bounds the spare objects of each kind.
const maxSpare = 64

// maxLeaves bounds the parsed certificates that are stored, of up to about 1 KiB each.
const maxLeaves = 128

// knownLeaf holds the result of parsing a leaf certificate.
type knownLeaf struct {
	leaf            *tlsmsg.Leaf // nil if the certificate is malformed
	subject, issuer string
}

// sameLeaves bounds the certificates that are recognized without a hash, of at most maxSameLeaf bytes of DER each. Most pods see a few
// certificates on all connections, and a comparison takes a small part of the time of a SHA-256.
const (
	sameLeaves  = 16
	maxSameLeaf = 2048
)

// sameLeaf holds a recent certificate and the result of parsing it.
type sameLeaf struct {
	der   []byte
	sum   [32]byte // SHA-256 of der
	known *knownLeaf
}

// New returns an empty session.
func (m *Pool) New() *Session {
	if m == nil {
		return New()
	}
	s := reuse(&m.old)
	s.pool = m
	return accountNew(s)
}

// putSession stores a session that is not used any more, to be used again by New.
func (m *Pool) putSession(s *Session) {
	if m != nil && len(m.old) < maxSpare {
		*s = Session{}
		m.old = append(m.old, s)
	}
}

// leaf returns a parsed certificate by the SHA-256 of its DER, or nil if it is not stored.
func (m *Pool) leaf(sum *[32]byte) *knownLeaf {
	if m == nil {
		return nil
	}
	return m.leaves[*sum]
}

// storeLeaf stores a parsed certificate. If there is no room, all others are removed first.
func (m *Pool) storeLeaf(sum *[32]byte, l *knownLeaf) {
	if m == nil {
		return
	}
	if m.leaves == nil || len(m.leaves) >= maxLeaves {
		m.leaves = map[[32]byte]*knownLeaf{}
	}
	m.leaves[*sum] = l
}

// sameLeaf returns the SHA-256 of a certificate that equals one of the latest, and the result of parsing it. Otherwise known is nil.
func (m *Pool) sameLeaf(der []byte) (sum [32]byte, known *knownLeaf) {
	if m == nil || len(der) == 0 {
		return sum, nil
	}
	if s := &m.same[der[len(der)-1]%sameLeaves]; bytes.Equal(s.der, der) {
		return s.sum, s.known
	}
	return sum, nil
}

// storeSame stores a copy of a certificate for sameLeaf, in place of another one with the same lower bits in its last byte, which is one
// of the signature.
func (m *Pool) storeSame(der []byte, sum [32]byte, known *knownLeaf) {
	if m == nil || len(der) == 0 || len(der) > maxSameLeaf {
		return
	}
	s := &m.same[der[len(der)-1]%sameLeaves]
	s.der, s.sum, s.known = append(s.der[:0], der...), sum, known
}

// cache returns the fingerprints of earlier hellos, nil if m is nil.
func (m *Pool) cache() *tlsmsg.FingerprintCache {
	if m == nil {
		return nil
	}
	return &m.fingerprints
}

// recycle stores the parsers of a finished session to be used again. If the session has a conclusion, recycle stores the objects with
// its facts, too.
func (m *Pool) recycle(s *Session) {
	if m == nil {
		return
	}
	for i := range s.sides {
		if p := s.sides[i].p; p != nil && len(m.parsers) < maxSpare {
			*p = parser{}
			m.parsers = append(m.parsers, p)
		}
	}
	if t := s.tls; t != nil && s.conclusion != nil && len(m.facts) < maxSpare {
		*t = TLS{layers: [2]recordLayer{{list: t.layers[0].list[:0]}, {list: t.layers[1].list[:0]}}}
		m.facts = append(m.facts, t)
	}
	if h := s.http; h != nil && s.conclusion != nil && len(m.https) < maxSpare {
		*h = HTTP{}
		m.https = append(m.https, h)
	}
}

// parser returns an empty parser.
func (m *Pool) parser() *parser {
	if m == nil {
		return &parser{}
	}
	return reuse(&m.parsers)
}

// http returns an empty HTTP.
func (m *Pool) http() *HTTP {
	if m == nil {
		return &HTTP{}
	}
	return reuse(&m.https)
}

// tls returns an empty TLS.
func (m *Pool) tls() *TLS {
	if m == nil {
		return &TLS{}
	}
	return reuse(&m.facts)
}

// lineReader returns a reader of a header of HTTP/1. again reports whether the side has sent a header before.
func (m *Pool) lineReader(again bool) *httpReader {
	if m == nil {
		return &httpReader{again: again}
	}
	r := reuse(&m.readers)
	*r = httpReader{again: again}
	return r
}

// putLineReader stores a reader that is not used any more, to be used again.
func (m *Pool) putLineReader(r *httpReader) {
	if m != nil && len(m.readers) < maxSpare {
		m.readers = append(m.readers, r)
	}
}

// loginReader returns a reader of credentials.
func (m *Pool) loginReader() *loginReader {
	if m == nil {
		return &loginReader{}
	}
	return reuse(&m.logins)
}

// putLoginReader stores a reader that is not used any more, to be used again.
func (m *Pool) putLoginReader(r *loginReader) {
	if m != nil && len(m.logins) < maxSpare {
		m.logins = append(m.logins, r)
	}
}

// reuse removes and returns the last spare object, or returns a new one.
func reuse[T any](spare *[]*T) *T {
	last := len(*spare) - 1
	if last < 0 {
		return new(T)
	}
	x := (*spare)[last]
	*spare = (*spare)[:last]
	return x
}

// buffer returns an empty buffer for n bytes.
func (m *Pool) buffer(n int) []byte {
	if m == nil || n != firstRoom || len(m.buffers) == 0 {
		return make([]byte, 0, n)
	}
	last := len(m.buffers) - 1
	b := m.buffers[last]
	m.buffers = m.buffers[:last]
	return b
}

// putBuffer stores a buffer that is not used any more, to be used again.
func (m *Pool) putBuffer(b []byte) {
	if m != nil && cap(b) == firstRoom && len(m.buffers) < maxSpare {
		m.buffers = append(m.buffers, b[:0])
	}
}
