package flow

import (
	"bytes"
	"encoding/binary"
)

// recentLimit bounds the part of each side's stream whose bytes are remembered: long enough for a handshake with its
// certificates.
const recentLimit = 32 << 10

// recent remembers the bytes that were delivered last, of all connections together, so that a retransmission with
// other bytes is noticed. It is a ring that is overwritten from its start when full. The runs of one stream are
// linked, newest first. The position of a run is the number of bytes written before the run, plus one; 0 means no
// run.
type recent struct {
	max  int
	buf  []byte
	head uint64 // number of bytes written so far, including bytes skipped at the ring's end: the next run starts here
}

const (
	recentMin     = 64 << 10 // initial size of the ring in bytes
	recentHeader  = 24       // bytes of a run's header: position of the previous run, offset, length with the recentSkipped bit
	recentSkipped = 1 << 31  // bit in the length: the bytes were skipped before the receiver had them
)

// recentRun is one run of bytes of a stream.
type recentRun struct {
	prev uint64
	off  int64
	n    int64
	data []byte // nil: the bytes were skipped
}

// add appends a run and returns its position.
func (r *recent) add(prev uint64, off, n int64, data []byte) uint64 {
	size := recentHeader + len(data)
	r.grow(size)
	at := int(r.head % uint64(len(r.buf)))
	if left := len(r.buf) - at; left < size {
		r.head, at = r.head+uint64(left), 0
	}
	b := r.buf[at:]
	binary.LittleEndian.PutUint64(b, prev)
	binary.LittleEndian.PutUint64(b[8:], uint64(off))
	mark := uint32(n)
	if data == nil {
		mark |= recentSkipped
	}
	binary.LittleEndian.PutUint32(b[16:], mark)
	copy(b[recentHeader:], data)
	pos := r.head + 1
	r.head += uint64(size)
	return pos
}

// grow doubles the ring, up to its maximum size, unless a part of it was already overwritten.
func (r *recent) grow(size int) {
	for r.head+uint64(size) > uint64(len(r.buf)) && len(r.buf) < max(r.max, recentMin) {
		b := make([]byte, min(max(2*len(r.buf), recentMin), max(r.max, recentMin)))
		copy(b, r.buf)
		r.buf = b
	}
}

// at returns the run at a position, and false if it was overwritten.
func (r *recent) at(pos uint64) (recentRun, bool) {
	pos--
	if pos+uint64(len(r.buf)) < r.head {
		return recentRun{}, false
	}
	b := r.buf[pos%uint64(len(r.buf)):]
	mark := binary.LittleEndian.Uint32(b[16:])
	rec := recentRun{prev: binary.LittleEndian.Uint64(b), off: int64(binary.LittleEndian.Uint64(b[8:])), n: int64(mark &^ recentSkipped)}
	if mark&recentSkipped == 0 {
		rec.data = b[recentHeader : recentHeader+rec.n]
	}
	return rec, true
}

// remember stores data that are being delivered at an offset, up to recentLimit.
func (t *Table) remember(s *stream, off int64, data []byte) {
	if n := min(int64(len(data)), recentLimit-off); n > 0 {
		s.recent = t.recent.add(s.recent, off, n, data[:n])
	}
}

// rememberSkipped notes that the bytes up to off are skipped and that the receiver has not acknowledged them.
func (t *Table) rememberSkipped(s *stream, off int64) {
	from := max(s.next, s.acked)
	if n := min(off, recentLimit) - from; n > 0 {
		s.recent = t.recent.add(s.recent, from, n, nil)
	}
}

// verify compares p with earlier copies of its bytes, both delivered and buffered copies. Acknowledged bytes are
// compared too, because a capture may have put the acknowledgement before the data. verify ignores a keep-alive probe,
// which repeats one acknowledged byte and may carry garbage (RFC 9293, section 3.8.4).
func (t *Table) verify(c *Conn, side Side, p piece) {
	s := &c.tcp.side[side]
	if p.n == 1 && p.off == s.acked-1 {
		return
	}
	conflict := p.off < s.next && t.differs(c, side, p)
	if q := c.queue(side); q != nil {
		for i := q.find(p.off); i < len(q.pieces) && q.pieces[i].off < p.end() && !conflict; i++ {
			conflict = q.pieces[i].conflicts(p)
		}
	}
	if conflict {
		t.conflict(c)
	}
}

// conflict notes that packets of c contradict each other. If c is done, the Handler is called for the first conflict.
func (t *Table) conflict(c *Conn) {
	t.stats.Conflicts++
	t.doubt(c, &c.Conflict)
}

// doubt sets one of the three flags that Doubtful reads. If c is done, the Handler is called when the flag changes.
func (t *Table) doubt(c *Conn, flag *bool) {
	if *flag {
		return
	}
	if *flag = true; c.tcp.done && !c.Excluded {
		t.h.Changed(c)
	}
}

// Doubtful reports whether the ends of c may have read bytes other than the captured ones: Conflict, Urgent or
// Multipath is set. Once true, the result never becomes false again.
func (c *Conn) Doubtful() bool { return c.Conflict || c.Urgent || c.Multipath }

// maxRecentRuns bounds the runs of a stream that are searched for one segment.
const maxRecentRuns = 256

// differs reports whether p contradicts bytes that were already delivered or skipped. Bytes that can no longer be
// compared, and that the receiver has not acknowledged, count as contradictions, unless c is done.
func (t *Table) differs(c *Conn, side Side, p piece) bool {
	s := &c.tcp.side[side]
	from, to := max(p.off, 0), min(p.off+int64(len(p.data)), s.next, recentLimit)
	if from >= to || s.isKeepAlive(p.off, p.n) && c.endpoint(side.Other()).Packets == 0 {
		return false
	}

	open, compared, pos := max(from, s.acked), to, s.recent // the bytes at open and after it are not acknowledged
	for range maxRecentRuns {
		if pos == 0 {
			return false
		}
		r, ok := t.recent.at(pos)
		if !ok {
			break
		}
		if r.differs(&p, from, open, to) {
			return true
		}
		if r.off <= from {
			return false
		}
		pos, compared = r.prev, min(compared, r.off)
	}

	if c.tcp.done || open >= compared {
		return false
	}
	t.stats.Unverified++
	return true
}

// differs reports whether p and the run differ in a byte at an offset in [from, to). Skipped bytes count as different
// from the offset open on, where the receiver has not acknowledged them.
func (r *recentRun) differs(p *piece, from, open, to int64) bool {
	to = min(to, r.off+r.n)
	if r.data == nil {
		return max(open, r.off) < to
	}
	from = max(from, r.off)
	return from < to && !bytes.Equal(p.data[from-p.off:to-p.off], r.data[from-r.off:to-r.off])
}

// conflicts reports whether two pieces differ in bytes that both have.
func (p *piece) conflicts(q piece) bool {
	from := max(p.off, q.off)
	to := min(p.off+int64(len(p.data)), q.off+int64(len(q.data)))
	return from < to && !bytes.Equal(p.data[from-p.off:to-p.off], q.data[from-q.off:to-q.off])
}
