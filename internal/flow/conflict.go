package flow

import "bytes"

const (
	blockSize  = 16
	prefixSize = 2048 // bytes of each direction
)

// prefix remembers the first bytes of a direction as hashes of aligned blocks, so that
// a later copy with other bytes is known as such. It is exact about what differs and
// misses what differs in a block that a copy brings in part only (the last one, as far
// as it has come, aside), in one that a gap touches, and in one of 65536 others. Beyond the prefix only bytes that are still
// held are compared.
type prefix struct {
	blocks [prefixSize / blockSize]uint16 // 0: unknown
	at     int64                          // bytes taken in
	sum    uint32                         // of the block that at is in
	part   bool                           // that block has a gap
}

const fnvOffset, fnvPrime = 2166136261, 16777619

func fold(sum uint32) uint16 { return uint16(sum>>16^sum) | 1 }

// remember takes in the bytes of p, which are handed on now.
func (s *stream) remember(p piece) {
	if p.off >= prefixSize {
		return
	}
	if s.begin == nil {
		s.begin = &prefix{sum: fnvOffset}
	}
	b := s.begin
	if p.off != b.at {
		b.at, b.sum, b.part = p.off, fnvOffset, p.off%blockSize != 0
	}
	for _, x := range p.data[:min(int64(len(p.data)), prefixSize-p.off)] {
		b.sum = (b.sum ^ uint32(x)) * fnvPrime
		if b.at++; b.at%blockSize == 0 {
			if !b.part {
				b.blocks[b.at/blockSize-1] = fold(b.sum)
			}
			b.sum, b.part = fnvOffset, false
		}
	}
}

// differs tells whether p brings other bytes than those handed on.
func (b *prefix) differs(p piece) bool {
	end := min(p.off+int64(len(p.data)), b.at, prefixSize)
	for at := (max(p.off, 0) + blockSize - 1) / blockSize * blockSize; at+blockSize <= end; at += blockSize {
		want := b.blocks[at/blockSize]
		sum := uint32(fnvOffset)
		for _, x := range p.data[at-p.off : at-p.off+blockSize] {
			sum = (sum ^ uint32(x)) * fnvPrime
		}
		if want != 0 && want != fold(sum) {
			return true
		}
	}
	return b.tailDiffers(p)
}

// tailDiffers compares the block that is not full yet, if p brings all that is there.
func (b *prefix) tailDiffers(p piece) bool {
	from := b.at / blockSize * blockSize
	if b.part || from == b.at || p.off > from || p.off+int64(len(p.data)) < b.at {
		return false
	}
	sum := uint32(fnvOffset)
	for _, x := range p.data[from-p.off : b.at-p.off] {
		sum = (sum ^ uint32(x)) * fnvPrime
	}
	return sum != b.sum
}

// verify compares p with the bytes that came before it.
func (t *Table) verify(c *Conn, s *stream, p piece) {
	conflict := p.off < s.next && s.begin != nil && s.begin.differs(p)
	for i := s.find(p.off); i < len(s.bufs) && s.bufs[i].off < p.end(); i++ {
		conflict = conflict || s.bufs[i].conflicts(p)
	}
	if conflict {
		c.Conflict = true
		t.stats.Conflicts++
	}
}

// conflicts compares two pieces where both have bytes.
func (p *piece) conflicts(q piece) bool {
	from := max(p.off, q.off)
	to := min(p.off+int64(len(p.data)), q.off+int64(len(q.data)))
	return from < to && !bytes.Equal(p.data[from-p.off:to-p.off], q.data[from-q.off:to-q.off])
}
