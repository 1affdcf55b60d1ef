package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"

// Pool is what sessions have in common: certificates that were read before, since a
// pod sees the same few on each of its connections, and what sessions need for the time
// of a handshake. The zero value is ready for use. It and the sessions that it makes are
// not safe for concurrent use.
type Pool struct {
	leaves     map[[32]byte]*knownLeaf // by the SHA-256 of the DER
	bytesInUse int                     // BytesInUse

	fingerprints tlsmsg.FingerprintCache
	late         unanswered
	now          int64 // packet time (Clock)

	parsers []*parser // that sessions have left, as all of these
	facts   []*TLS
	https   []*HTTP
	old     []*Session // that were dropped
	readers []*httpReader
	buffers [][]byte // of firstRoom bytes
}

// maxSpare bounds what is kept of each kind for sessions to come.
const maxSpare = 64

// maxLeaves bounds the certificates that are remembered: some 1 KiB each, as much as a
// certificate has at most.
const maxLeaves = 128

// knownLeaf is what was read of a certificate.
type knownLeaf struct {
	leaf            *tlsmsg.Leaf // nil: it could not be read
	subject, issuer string
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

// putSession takes a session that nobody will use any more.
func (m *Pool) putSession(s *Session) {
	if m != nil && len(m.old) < maxSpare {
		*s = Session{}
		m.old = append(m.old, s)
	}
}

// leaf returns what was read of a certificate, nil if it is not remembered.
func (m *Pool) leaf(sum *[32]byte) *knownLeaf {
	if m == nil {
		return nil
	}
	return m.leaves[*sum]
}

// storeLeaf remembers a certificate. When there is no room all are forgotten.
func (m *Pool) storeLeaf(sum *[32]byte, l *knownLeaf) {
	if m == nil {
		return
	}
	if m.leaves == nil || len(m.leaves) >= maxLeaves {
		m.leaves = map[[32]byte]*knownLeaf{}
	}
	m.leaves[*sum] = l
}

// cache returns the fingerprints of earlier hellos, nil if m is nil.
func (m *Pool) cache() *tlsmsg.FingerprintCache {
	if m == nil {
		return nil
	}
	return &m.fingerprints
}

// recycle takes what a session leaves when it is finished. Facts that nobody has drawn a
// conclusion from stay.
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

// parser returns an empty parser, http an empty HTTP, and tls an empty TLS.
func (m *Pool) parser() *parser {
	if m == nil {
		return &parser{}
	}
	return reuse(&m.parsers)
}

func (m *Pool) http() *HTTP {
	if m == nil {
		return &HTTP{}
	}
	return reuse(&m.https)
}

func (m *Pool) tls() *TLS {
	if m == nil {
		return &TLS{}
	}
	return reuse(&m.facts)
}

// lineReader returns a reader of a header of HTTP/1; again says that it is not the side's first
// one. unused takes a reader that is not in use any more.
func (m *Pool) lineReader(again bool) *httpReader {
	if m == nil {
		return &httpReader{again: again}
	}
	r := reuse(&m.readers)
	*r = httpReader{again: again}
	return r
}

func (m *Pool) putLineReader(r *httpReader) {
	if m != nil && len(m.readers) < maxSpare {
		m.readers = append(m.readers, r)
	}
}

// reuse takes the last of what is spare.
func reuse[T any](spare *[]*T) *T {
	last := len(*spare) - 1
	if last < 0 {
		return new(T)
	}
	x := (*spare)[last]
	*spare = (*spare)[:last]
	return x
}

// buffer returns a buffer for n bytes; free takes one that is not in use any more.
func (m *Pool) buffer(n int) []byte {
	if m == nil || n != firstRoom || len(m.buffers) == 0 {
		return make([]byte, 0, n)
	}
	last := len(m.buffers) - 1
	b := m.buffers[last]
	m.buffers = m.buffers[:last]
	return b
}

func (m *Pool) putBuffer(b []byte) {
	if m != nil && cap(b) == firstRoom && len(m.buffers) < maxSpare {
		m.buffers = append(m.buffers, b[:0])
	}
}
