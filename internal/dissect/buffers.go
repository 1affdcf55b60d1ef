package dissect

// bufferBytes appends b to buf. It appends only the first part of b if buf would otherwise exceed limit bytes, or if the session
// would exceed its bound. whole reports whether all of b was appended.
func (s *memory) bufferBytes(buf, b []byte, limit int) (out []byte, whole bool) {
	n := min(len(b), limit-len(buf))
	if need := len(buf) + n; need > cap(buf) {
		size := min(max(need, 2*cap(buf)), limit)
		if s.buffered+size-cap(buf) > maxBuffered {
			size = maxBuffered - s.buffered + cap(buf)
			n = min(n, size-len(buf))
		}
		if size > cap(buf) {
			s.account(size - cap(buf))
			bigger := make([]byte, len(buf), size)
			copy(bigger, buf)
			buf = bigger
		}
	}
	if n <= 0 {
		return buf, len(b) == 0
	}
	return append(buf, b[:n]...), n == len(b)
}

// reserve returns an empty buffer for n bytes, or for fewer if the bound of the session requires it.
func (s *memory) reserve(n int) []byte {
	n = min(n, maxBuffered-s.buffered)
	s.account(n)
	return s.pool.buffer(n)
}

// stopReading releases the readers of plaintext.
func (s *memory) stopReading(p *parser) {
	if p.http != nil {
		s.release(&p.http.line)
	}
	if p.http2 != nil {
		s.release(&p.http2.block)
	}
	if p.after.next != nil {
		s.release(&p.after.next.line)
	}
	p.http, p.http2, p.after.next = nil, nil, nil
}

// release frees a buffer that bufferBytes returned, and sets it to nil.
func (s *memory) release(buf *[]byte) {
	s.account(-cap(*buf))
	*buf = nil
}
