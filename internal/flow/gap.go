package flow

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

const (
	lossPackets   = 16                            // an acknowledged gap is permanent after this number of packets from the sender ...
	lossTime      = int64(10 * time.Millisecond)  // ... if this much packet time has passed: a capture with several queues reorders more packets than that, but not for long
	checkInterval = int64(250 * time.Millisecond) // how often a gap is checked while no packet arrives
)

// reassembly is out-of-order state. It is allocated only while one side of a connection has a gap or suspended
// segments.
type reassembly struct {
	queue      [2]queue
	c          *Conn
	prev, next *reassembly // links of gappedList
	listed     bool
	checkAt    int64 // packet time of the next check
	suspects   []suspect
	suspected  [2]uint8 // number of suspects of each side
}

// gappedList lists connections with a gap that a timeout can end, in the order of their next check. spare keeps
// released state for reuse.
type gappedList struct {
	head, tail *reassembly
	spare      []*reassembly
}

// maxSpare bounds the length of gappedList.spare, and the capacity of the piece lists in it.
const maxSpare = 64

func (h *gappedList) push(w *reassembly) {
	w.prev, w.next, w.listed = h.tail, nil, true
	if h.tail == nil {
		h.head = w
	} else {
		h.tail.next = w
	}
	h.tail = w
}

func (h *gappedList) remove(w *reassembly) {
	if !w.listed {
		return
	}
	if w.prev == nil {
		h.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		h.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.listed = nil, nil, false
}

// due returns the first connection whose check is due, or nil.
func (h *gappedList) due(now int64) *Conn {
	if h.head == nil || h.head.checkAt > now {
		return nil
	}
	return h.head.c
}

// allocQueue returns the queue of a side and allocates it if needed.
func (t *Table) allocQueue(c *Conn, side Side) *queue {
	if c.tcp.reassembly == nil {
		w := &reassembly{}
		if n := len(t.gapped.spare); n > 0 {
			w, t.gapped.spare = t.gapped.spare[n-1], t.gapped.spare[:n-1]
		}
		w.c = c
		w.queue[Originator].rst, w.queue[Responder].rst = -1, -1
		c.tcp.reassembly = w
	}
	return &c.tcp.reassembly.queue[side]
}

// queue returns the out-of-order queue of a side, nil if neither side has one.
func (c *Conn) queue(side Side) *queue {
	if c.tcp.reassembly == nil {
		return nil
	}
	return &c.tcp.reassembly.queue[side]
}

// release frees the out-of-order state of c.
func (t *Table) release(c *Conn) {
	w := c.tcp.reassembly
	if w == nil {
		return
	}
	t.gapped.remove(w)
	c.tcp.reassembly = nil
	if len(t.gapped.spare) < maxSpare {
		a, b := w.queue[Originator].pieces, w.queue[Responder].pieces
		*w = reassembly{}
		w.queue[Originator].pieces, w.queue[Responder].pieces = shrink(a[:0]), shrink(b[:0])
		t.gapped.spare = append(t.gapped.spare, w)
	}
}

// gapped reports whether a side has a gap: buffered bytes, a FIN or a RST after missing bytes.
func (c *Conn) gapped(side Side) bool {
	s, q := &c.tcp.side[side], c.queue(side)
	return s.fin > s.next || q != nil && (len(q.pieces) > 0 || q.rst >= 0)
}

// gapEnd returns the offset at which the first gap of a side ends.
func (c *Conn) gapEnd(side Side) int64 {
	s, q := &c.tcp.side[side], c.queue(side)
	switch {
	case len(q.pieces) > 0:
		return q.pieces[0].off
	case s.fin > s.next:
		return s.fin
	}
	return max(q.rst, s.next)
}

// gapLost reports whether the first gap of a side is permanent, in one of three cases. The receiver has acknowledged
// the bytes, so they will not be sent again, and the time for reordering within the capture is over. The sender reset
// the connection GapWait ago. No packet of the receiver was seen, and bytes after the gap have been buffered for
// UnseenWait. Any other gap stays open until it is filled, however long that takes.
func (t *Table) gapLost(c *Conn, side Side) bool {
	if !c.gapped(side) {
		return false
	}
	q, end := c.queue(side), c.gapEnd(side)
	switch acked := c.tcp.side[side].acked; {
	case acked >= end:
		if q.acked < end {
			q.acked, q.since, q.later = acked, t.now, 0
		}
		since := q.since
		if len(q.pieces) > 0 {
			since = max(since, q.pieces[0].at)
		}
		waited := t.now - since
		return waited >= int64(t.cfg.GapWait) || waited >= lossTime && q.later >= lossPackets
	case q.rst >= 0:
		return t.now-q.rstAt >= int64(t.cfg.GapWait)
	case c.receiverUnseen(side):
		return t.now-q.pieces[0].at >= int64(t.cfg.UnseenWait)
	}
	return false
}

// receiverUnseen reports whether a side has buffered bytes and no packet of its receiver was seen.
func (c *Conn) receiverUnseen(side Side) bool {
	return c.endpoint(side.Other()).Packets == 0 && len(c.queue(side).pieces) > 0
}

// gapTimed reports whether a timeout can end the first gap of a side.
func (c *Conn) gapTimed(side Side) bool {
	return c.gapped(side) && (c.tcp.side[side].acked >= c.gapEnd(side) || c.queue(side).rst >= 0 || c.receiverUnseen(side))
}

// skipGap skips the first gap of a side and delivers the buffered bytes after it.
func (t *Table) skipGap(c *Conn, side Side) {
	t.skipTo(c, side, c.gapEnd(side))
	t.drain(c, side)
}

// skipTo advances the stream to off. The bytes before off count as a gap, or as sent if a filter may have left them
// out.
func (t *Table) skipTo(c *Conn, side Side, off int64) {
	s := &c.tcp.side[side]
	switch {
	case off <= s.next:
		return
	case c.Thinned:
		t.addThinned(c, side, off)
	default:
		t.rememberSkipped(s, off)
		t.addGap(c, side, off-s.next)
	}
	s.next = off
}

// skipThinned advances the stream to off. It counts the missing bytes before off as left out by a filter, and
// delivers the buffered pieces before off.
func (t *Table) skipThinned(c *Conn, side Side, off int64) {
	s := &c.tcp.side[side]
	for s.next < off {
		q := c.queue(side)
		if q == nil || len(q.pieces) == 0 {
			t.skipTo(c, side, off)
			return
		}
		t.skipTo(c, side, min(off, q.pieces[0].off))
		t.drain(c, side)
	}
}

// flushGaps skips gaps that are permanent, and reports a FIN or RST that is next in the stream.
func (t *Table) flushGaps(c *Conn, side Side) {
	s := &c.tcp.side[side]
	if c.tcp.reassembly != nil {
		for t.gapLost(c, side) && !c.resetDue(side) {
			t.skipGap(c, side)
		}
	}
	if s.fin >= 0 && s.next >= s.fin && !c.endpoint(side).FIN {
		c.endpoint(side).FIN = true
		t.reportClose(c, side, closed)
	}
	if q := c.queue(side); q != nil && q.rst >= 0 && c.resetDue(side) {
		q.rst = -1
		c.endpoint(side).RST = true
		t.reportClose(c, side, aborted)
	}
}

// resetDue reports whether a RST is pending and no bytes before it are missing.
func (c *Conn) resetDue(side Side) bool {
	q := c.queue(side)
	return q.rst >= 0 && c.tcp.side[side].next >= q.rst && len(q.pieces) == 0
}

// reportClose reports that a side has closed the connection (to is closed) or reset it (to is aborted). A gap at
// the end of the stream is reported first.
func (t *Table) reportClose(c *Conn, side Side, to endState) {
	t.emitLastGap(c, side)
	t.unthin(c)
	c.close(side, to)
	if !c.Excluded {
		t.h.Changed(c)
	}
}

// emitLastGap reports a gap that no data follow.
func (t *Table) emitLastGap(c *Conn, side Side) {
	s := &c.tcp.side[side]
	if gap := s.next - s.delivered; gap > 0 && c.Transport == wire.ProtoTCP {
		s.delivered = s.next
		t.emit(c, side, s.next, nil, -1, gap, c.Last, false)
	}
}

// scheduleCheck adds c to the gapped list if a timeout can end one of its gaps, otherwise it removes c. It releases the
// out-of-order state of c if neither a gap nor a suspended segment is left.
func (t *Table) scheduleCheck(c *Conn) {
	w := c.tcp.reassembly
	switch {
	case w == nil:
	case !c.gapped(Originator) && !c.gapped(Responder) && len(w.suspects) == 0:
		t.release(c)
	case !c.gapTimed(Originator) && !c.gapTimed(Responder):
		t.gapped.remove(w)
	case !w.listed:
		w.checkAt = t.now + checkInterval
		t.gapped.push(w)
		t.due = min(t.due, w.checkAt)
	}
}

// check flushes permanent gaps of both sides of c.
func (t *Table) check(c *Conn) {
	t.gapped.remove(c.tcp.reassembly)
	for side := range Side(2) {
		t.flushGaps(c, side)
	}
	t.scheduleCheck(c)
}

// finish skips all gaps of a side and delivers its buffered bytes, because no more packets will arrive.
func (t *Table) finish(c *Conn, side Side) {
	for c.tcp.reassembly != nil && c.gapped(side) && !c.resetDue(side) {
		t.skipGap(c, side)
	}
	if s := &c.tcp.side[side]; s.sure && max(s.acked, s.sent) > s.next+1 && c.endpoint(side).Packets > 0 {
		// Bytes at the end of the stream may not be in the capture. They were sent if the receiver has acknowledged them, or if
		// the sender's later sequence numbers are past them. A single byte may be a FIN.
		t.skipTo(c, side, max(s.acked, s.sent))
	}
	t.flushGaps(c, side)
	t.emitLastGap(c, side)
}
