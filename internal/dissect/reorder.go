package dissect

// A message of DTLS, and the CRYPTO stream of QUIC, come in pieces that may be out of
// order. What is in order is handed on at once; what came too early is kept, within
// bounds.

const (
	maxPieces     = 64
	maxPieceBytes = 12 << 10
)

// chunk is a run of bytes of a stream, from at to end. data may hold more than them.
type chunk struct {
	at, end uint64
	data    []byte
}

// reorderBuffer are those that came too early.
type reorderBuffer struct {
	list []chunk
	size int
}

// add keeps a piece; what does not fit is lost.
func (p *reorderBuffer) add(s *Session, at, end uint64, data []byte) (kept bool) {
	if len(p.list) >= maxPieces || p.size+len(data) > maxPieceBytes {
		return false
	}
	buf, whole := s.bufferBytes(nil, data, len(data))
	if !whole {
		s.release(&buf)
		return false
	}
	before := cap(p.list)
	p.list = append(p.list, chunk{at, end, buf})
	s.accountOther((cap(p.list) - before) * pieceBytes)
	p.size += len(data)
	return true
}

// next removes and returns a piece that holds the byte at next, and drops those that
// end before it.
func (p *reorderBuffer) next(s *Session, next uint64) (found chunk, ok bool) {
	kept := p.list[:0]
	for _, x := range p.list {
		switch {
		case x.end <= next:
			p.size -= len(x.data)
			s.release(&x.data)
		case x.at <= next && !ok:
			found, ok = x, true
			p.size -= len(x.data)
			s.release(&x.data)
		default:
			kept = append(kept, x)
		}
	}
	clear(p.list[len(kept):])
	p.list = kept
	return found, ok
}
