package dissect

// Estimates of the memory that a session uses apart from its buffers, in bytes.
const (
	pendingBytes  = 2 << 10 // a session that is not finished
	finishedBytes = 768     // a finished session with a conclusion
	helloBytes    = 512     // a ClientHello, in addition to its length
	maxHelloBytes = 8 << 10 // the most that is counted of a ClientHello's length
	chainBytes    = 1 << 10 // a chain of certificates
	chunkBytes    = 40      // a chunk in a reorderBuffer
)

// BytesInUse returns an upper estimate of the memory that the sessions of m use, in bytes. Dropped sessions do not count.
func (m *Pool) BytesInUse() int { return m.bytesInUse }

// Drop returns the session to its Pool. The session must not be used any more.
func (s *Session) Drop() {
	if s.after != nil {
		s.after.Drop()
	}
	s.dropDeferred()
	s.account(-s.buffered)
	s.accountOther(-s.otherBytes)
	s.pool.putSession(s)
}

// accountNew counts the memory of a new session.
func accountNew(s *Session) *Session {
	s.accountOther(pendingBytes)
	return s
}

// lighten reduces the counted memory of a session once a conclusion has replaced its facts.
func (s *memory) lighten() {
	if !s.light {
		s.light = true
		s.accountOther(finishedBytes - pendingBytes)
	}
}

// account adds n bytes to the counted size of the session's buffers.
func (s *memory) account(n int) {
	s.buffered += n
	if s.pool != nil {
		s.pool.bytesInUse += n
	}
}

// accountOther adds n bytes to the counted memory that the session uses apart from its buffers.
func (s *memory) accountOther(n int) {
	if s.pool != nil {
		s.otherBytes += n
		s.pool.bytesInUse += n
	}
}
