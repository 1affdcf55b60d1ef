package dissect

// Memory is what sessions have in common: certificates that were read before, since a
// pod sees the same few on each of its connections, and what sessions need for the time
// of a handshake. The zero value is ready for use. It and the sessions that it makes are
// not safe for concurrent use.
type Memory struct {
	leaves map[[32]byte]*knownLeaf // by the SHA-256 of the DER
	held   int                     // Held

	late unanswered
	now  int64 // packet time (Clock)

	parsers []*parser // that sessions have left, as all of these
	facts   []*TLS
	buffers [][]byte // of firstRoom bytes
}

// maxSpare bounds what is kept of each kind for sessions to come.
const maxSpare = 64

// maxLeaves bounds the certificates that are remembered: some 1 KiB each, as much as a
// certificate has at most.
const maxLeaves = 128

// knownLeaf is what was read of a certificate.
type knownLeaf struct {
	leaf            *Leaf // nil: it could not be read
	subject, issuer string
}

// New returns an empty session.
func (m *Memory) New() *Session { return begun(&Session{memory: m}) }

// leaf returns what was read of a certificate, nil if it is not remembered.
func (m *Memory) leaf(sum *[32]byte) *knownLeaf {
	if m == nil {
		return nil
	}
	return m.leaves[*sum]
}

// keep remembers a certificate. When there is no room all are forgotten.
func (m *Memory) keep(sum *[32]byte, l *knownLeaf) {
	if m == nil {
		return
	}
	if m.leaves == nil || len(m.leaves) >= maxLeaves {
		m.leaves = map[[32]byte]*knownLeaf{}
	}
	m.leaves[*sum] = l
}

// recycle takes what a session leaves when it is finished. Facts that nobody has drawn a
// conclusion from stay.
func (m *Memory) recycle(s *Session) {
	if m == nil {
		return
	}
	for i := range s.sides {
		if p := s.sides[i].p; p != nil && len(m.parsers) < maxSpare {
			*p = parser{}
			m.parsers = append(m.parsers, p)
		}
	}
	if t := s.tls; t != nil && s.kept != nil && len(m.facts) < maxSpare {
		*t = TLS{layers: [2]layer{{list: t.layers[0].list[:0]}, {list: t.layers[1].list[:0]}}}
		m.facts = append(m.facts, t)
	}
}

// parser returns an empty parser, and tls an empty TLS.
func (m *Memory) parser() *parser {
	if m == nil {
		return &parser{}
	}
	return reuse(&m.parsers)
}

func (m *Memory) tls() *TLS {
	if m == nil {
		return &TLS{}
	}
	return reuse(&m.facts)
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

// room returns a buffer for n bytes; free takes one that is not in use any more.
func (m *Memory) room(n int) []byte {
	if m == nil || n != firstRoom || len(m.buffers) == 0 {
		return make([]byte, 0, n)
	}
	last := len(m.buffers) - 1
	b := m.buffers[last]
	m.buffers = m.buffers[:last]
	return b
}

func (m *Memory) free(b []byte) {
	if m != nil && cap(b) == firstRoom && len(m.buffers) < maxSpare {
		m.buffers = append(m.buffers, b[:0])
	}
}
