package flow

// queue is what one side of a connection waits with: bytes that are out of order and a
// RST that is ahead of its data.
type queue struct {
	pieces   []piece // sorted, disjoint, all beyond the stream's next
	buffered int     // cost of pieces
	rst      int64   // offset of a RST that was not told yet, -1: none
	rstAt    int64   // packet time of it
	acked    int64   // an offset that the receiver has acknowledged ...
	since    int64   // ... at this packet time; holes before it are lost in a while
	later    uint16  // packets of this side since then, or since the first hole is there
}

// pieceCost is what a piece that is held takes besides its bytes.
const pieceCost = 128

// maxPieces bounds the pieces that one side holds: putting one in its place moves those
// behind it.
const maxPieces = 512

func (p *piece) cost() int { return len(p.data) + pieceCost }

// find returns the index of the first piece held that ends beyond off.
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

// bufferedPast reports whether bytes beyond off are buffered.
func (q *queue) bufferedPast(off int64) bool { return q.find(off) < len(q.pieces) }

func (t *Table) accountBuffered(q *queue, cost int) {
	q.buffered += cost
	t.stats.Buffered += cost
	t.stats.MaxBuffered = max(t.stats.MaxBuffered, t.stats.Buffered)
}

// insert holds a copy of p at index i.
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

// drain hands on the pieces held that are next now.
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

// shrink gives back most of a list that is nearly empty: what it takes is accounted for
// by its pieces.
func shrink(p []piece) []piece {
	if cap(p) <= maxSpare || len(p) > cap(p)/4 {
		return p
	}
	return append(make([]piece, 0, 2*len(p)), p...)
}

// dropLast forgets the piece that is furthest ahead.
func (t *Table) dropLast(q *queue) {
	last := len(q.pieces) - 1
	t.accountBuffered(q, -q.pieces[last].cost())
	q.pieces[last] = piece{}
	q.pieces = shrink(q.pieces[:last])
}

// The answers of room.
type reservation uint8

const (
	reserved     reservation = iota
	retryReserve             // by handing on or dropping something held
	noCapacity
)

// fits reports whether the budgets allow a side to buffer that much more. A side may take
// half of what is free in the table, so that there is always some left for others.
func (t *Table) fits(q *queue, cost int) bool {
	total := q.buffered + cost
	return total <= t.cfg.MaxBufferedPerSide && total <= (t.cfg.MaxBuffered-t.stats.Buffered)/2 && len(q.pieces) < maxPieces
}

// reserve looks for room for p. Where there is none, the first hole is given up if it will
// not be filled any more. If it may be, what is furthest ahead goes instead: to skip
// bytes that the receiver still waits for would lose track of the stream.
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
