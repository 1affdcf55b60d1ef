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
func (m *Pool) BytesInUse() int { return m.held }

// Drop returns the session to its Pool when it is not used any more: another one may take its
// place.
func (s *Session) Drop() {
	if s.after != nil {
		s.after.Drop()
	}
	s.forget()
	s.take(-s.held)
	s.note(-s.facts)
	s.pool.dropped(s)
}

// begun counts a session that begins, lighten one whose facts a conclusion has replaced.
func begun(s *Session) *Session {
	s.note(pendingBytes)
	return s
}

func (s *Session) lighten() {
	if !s.light {
		s.light = true
		s.note(finishedBytes - pendingBytes)
	}
}

// take counts n bytes more in the buffers, note elsewhere.
func (s *Session) take(n int) {
	s.held += n
	if s.pool != nil {
		s.pool.held += n
	}
}

func (s *Session) note(n int) {
	if s.pool != nil {
		s.facts += n
		s.pool.held += n
	}
}
