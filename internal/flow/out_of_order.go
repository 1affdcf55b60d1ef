package flow

// queue is the out-of-order buffer of one side of a connection: bytes after a gap, and a RST that arrived before its
// data.
type queue struct {
	pieces   []piece // sorted, disjoint, all after the stream's next
	buffered int     // sum of the pieces' and suspects' costs in bytes
	rst      int64   // offset of a RST that is not yet reported, -1: none
	rstAt    int64   // packet time of the RST
	acked    int64   // an offset that the receiver has acknowledged ...
	since    int64   // ... at this packet time; a gap before it is permanent after a while
	later    uint16  // packets of this side since that time, or since its first gap began; at most lossPackets
}

// pieceCost is the memory of a buffered piece in addition to its bytes.
const pieceCost = 128

// maxPieces bounds the pieces of one side, because the insertion of a piece moves all pieces after it.
const maxPieces = 512

func (p *piece) cost() int { return len(p.data) + pieceCost }

// find returns the index of the first piece that ends after off, or len(q.pieces).
func (q *queue) find(off int64) int {
	if n := len(q.pieces); n == 0 || q.pieces[n-1].end() <= off {
		return n
	}
	lo, hi := 0, len(q.pieces)
	for lo < hi {
		m := (lo + hi) / 2
		if q.pieces[m].end() <= off {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// bufferedPast reports whether bytes after off are buffered.
func (q *queue) bufferedPast(off int64) bool { return q.find(off) < len(q.pieces) }

func (t *Table) accountBuffered(q *queue, cost int) {
	q.buffered += cost
	t.stats.Buffered += cost
	t.stats.MaxBuffered = max(t.stats.MaxBuffered, t.stats.Buffered)
}

// insert buffers a copy of p at index i.
func (t *Table) insert(q *queue, i int, p piece) {
	p.data = append([]byte(nil), p.data...)
	p.at = t.now
	if i == 0 {
		q.later = 0
	}
	q.pieces = append(q.pieces, piece{})
	copy(q.pieces[i+1:], q.pieces[i:])
	q.pieces[i] = p
	t.accountBuffered(q, p.cost())
}

// drain delivers the buffered pieces that are next in the stream.
func (t *Table) drain(c *Conn, side Side) {
	s, q := &c.tcp.side[side], c.queue(side)
	i := 0
	for ; i < len(q.pieces) && q.pieces[i].off == s.next; i++ {
		t.accountBuffered(q, -q.pieces[i].cost())
		t.deliver(c, side, &q.pieces[i])
	}
	if i > 0 {
		n := copy(q.pieces, q.pieces[i:])
		clear(q.pieces[n:])
		q.pieces = shrink(q.pieces[:n])
	}
}

// shrink returns p with less capacity if p is nearly empty, because the byte budget counts pieces and not unused
// capacity.
func shrink(p []piece) []piece {
	if cap(p) <= maxSpare || len(p) > cap(p)/4 {
		return p
	}
	return append(make([]piece, 0, 2*len(p)), p...)
}

// dropLast drops the piece with the largest offset.
func (t *Table) dropLast(q *queue) {
	last := len(q.pieces) - 1
	t.accountBuffered(q, -q.pieces[last].cost())
	q.pieces[last] = piece{}
	q.pieces = shrink(q.pieces[:last])
}

// The results of reserve.
type reservation uint8

const (
	reserved     reservation = iota
	retryReserve             // capacity may be free now: pieces were delivered or dropped, so try again
	noCapacity
)

// fits reports whether the byte budgets allow a side to buffer cost more bytes. A side may use half of the table's free
// budget, so that some is always left for others.
func (t *Table) fits(q *queue, cost int) bool {
	total := q.buffered + cost
	return total <= t.cfg.MaxBufferedPerSide && total <= (t.cfg.MaxBuffered-t.stats.Buffered)/2 && len(q.pieces) < maxPieces
}

// reserve finds capacity for p. Without capacity it skips the first gap, provided that the gap will not be filled any
// more. Otherwise it drops the last buffered piece, provided that this piece is after p. It never skips bytes that the
// receiver still expects, because the table would lose its position in the stream.
func (t *Table) reserve(c *Conn, side Side, p *piece) reservation {
	q := c.queue(side)
	if t.fits(q, p.cost()) {
		return reserved
	}
	t.stats.BufferFull++
	end := p.off
	if len(q.pieces) > 0 {
		end = min(end, q.pieces[0].off)
	}
	switch {
	case c.tcp.side[side].acked >= end || q.rst >= 0 || c.endpoint(side.Other()).Packets == 0:
		t.skipTo(c, side, end)
		t.drain(c, side)
		return retryReserve
	case len(q.pieces) > 0 && q.pieces[len(q.pieces)-1].off > p.off:
		t.dropLast(q)
		return retryReserve
	}
	return noCapacity
}
