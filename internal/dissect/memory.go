package dissect

// Memory is what sessions have in common: certificates that were read before, since a
// pod sees the same few on each of its connections. The zero value is ready for use. It
// and the sessions that it makes are not safe for concurrent use.
type Memory struct {
	leaves map[[32]byte]*knownLeaf // by the SHA-256 of the DER
	held   int                     // Held
}

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
