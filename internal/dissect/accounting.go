package dissect

// What a session takes besides its buffers, in bytes, about: while it is read, with what
// its records showed; once it is finished with a conclusion; for a ClientHello, besides its
// length up to a bound; for a chain of certificates; and for a piece that came too early.
const (
	pendingBytes  = 2 << 10
	finishedBytes = 768
	helloBytes    = 512
	maxHelloBytes = 8 << 10
	chainBytes    = 1 << 10
	pieceBytes    = 40
)

// BytesInUse returns how many bytes the sessions of m take that were not dropped, about, and
// rather more than less.
func (m *Pool) BytesInUse() int { return m.bytesInUse }

// Drop returns the session to its Pool when it is not used any more: another one may take its
// place.
func (s *Session) Drop() {
	if s.after != nil {
		s.after.Drop()
	}
	s.dropDeferred()
	s.account(-s.buffered)
	s.accountOther(-s.otherBytes)
	s.pool.putSession(s)
}

// accountNew counts a session that begins, lighten one whose facts a conclusion has replaced.
func accountNew(s *Session) *Session {
	s.accountOther(pendingBytes)
	return s
}

func (s *Session) lighten() {
	if !s.light {
		s.light = true
		s.accountOther(finishedBytes - pendingBytes)
	}
}

// account counts n bytes more in the buffers, note elsewhere.
func (s *Session) account(n int) {
	s.buffered += n
	if s.pool != nil {
		s.pool.bytesInUse += n
	}
}

func (s *Session) accountOther(n int) {
	if s.pool != nil {
		s.otherBytes += n
		s.pool.bytesInUse += n
	}
}
