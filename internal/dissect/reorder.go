package dissect

// Messages of DTLS and the CRYPTO stream of QUIC come in chunks that may be out of order. Chunks in order are processed at once. Early
// chunks are buffered, within bounds.

// Bounds of a reorderBuffer.
const (
	maxChunks     = 64
	maxChunkBytes = 12 << 10
)

// chunk is a range of bytes of a stream, from at to end. data may contain more.
type chunk struct {
	at, end uint64
	data    []byte
}

// reorderBuffer holds early chunks.
type reorderBuffer struct {
	list []chunk
	size int
}

// add buffers a chunk. It reports false if the chunk does not fit and is dropped.
func (p *reorderBuffer) add(m *memory, at, end uint64, data []byte) (kept bool) {
	if len(p.list) >= maxChunks || p.size+len(data) > maxChunkBytes {
		return false
	}
	buf, whole := m.bufferBytes(nil, data, len(data))
	if !whole {
		m.release(&buf)
		return false
	}
	before := cap(p.list)
	p.list = append(p.list, chunk{at, end, buf})
	m.accountOther((cap(p.list) - before) * chunkBytes)
	p.size += len(data)
	return true
}

// next removes and returns a chunk that contains the byte at position next, and drops chunks that end before it.
func (p *reorderBuffer) next(m *memory, next uint64) (found chunk, ok bool) {
	kept := p.list[:0]
	for _, x := range p.list {
		switch {
		case x.end <= next:
			p.size -= len(x.data)
			m.release(&x.data)
		case x.at <= next && !ok:
			found, ok = x, true
			p.size -= len(x.data)
			m.release(&x.data)
		default:
			kept = append(kept, x)
		}
	}
	clear(p.list[len(kept):])
	p.list = kept
	return found, ok
}
