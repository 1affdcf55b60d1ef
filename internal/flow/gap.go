package flow

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

const (
	laterPackets = 16                            // packets of the sender that make an acknowledged hole a lost one ...
	laterTime    = int64(10 * time.Millisecond)  // ... if this much packet time has passed: a capture of several queues reorders more packets than that, but not for long
	lookInterval = int64(250 * time.Millisecond) // how often a hole is looked at while no packet comes
)

// waiting is out-of-order state. It is allocated only while one side of a connection has a gap or suspended segments.
type waiting struct {
	queue         [2]queue
	c             *Conn
	before, after *waiting // in heldUp
	listed        bool
	lookAt        int64 // packet time at which to look again
	suspects      []suspect
	suspected     [2]uint8 // how many of a side
}

// heldUp lists the connections that wait, the next to be looked at in front, and keeps
// some of what they used for the next ones.
type heldUp struct {
	head, tail *waiting
	spare      []*waiting
}

// maxSpare bounds what is kept for later: of these, and of the pieces in the list of one.
const maxSpare = 64

func (h *heldUp) push(w *waiting) {
	w.before, w.after, w.listed = h.tail, nil, true
	if h.tail == nil {
		h.head = w
	} else {
		h.tail.after = w
	}
	h.tail = w
}

func (h *heldUp) remove(w *waiting) {
	if !w.listed {
		return
	}
	if w.before == nil {
		h.head = w.after
	} else {
		w.before.after = w.after
	}
	if w.after == nil {
		h.tail = w.before
	} else {
		w.after.before = w.before
	}
	w.before, w.after, w.listed = nil, nil, false
}

// due returns the connection to be looked at now, nil if there is none.
func (h *heldUp) due(now int64) *Conn {
	if h.head == nil || h.head.lookAt > now {
		return nil
	}
	return h.head.c
}

// wait returns the queue of a side and allocates it if needed.
func (t *Table) wait(c *Conn, side Side) *queue {
	if c.tcp.waiting == nil {
		w := &waiting{}
		if n := len(t.held.spare); n > 0 {
			w, t.held.spare = t.held.spare[n-1], t.held.spare[:n-1]
		}
		w.c = c
		w.queue[Originator].rst, w.queue[Responder].rst = -1, -1
		c.tcp.waiting = w
	}
	return &c.tcp.waiting.queue[side]
}

// queue returns the queue of a side, nil if the connection waits for nothing.
func (c *Conn) queue(side Side) *queue {
	if c.tcp.waiting == nil {
		return nil
	}
	return &c.tcp.waiting.queue[side]
}

// release takes back what c used to wait.
func (t *Table) release(c *Conn) {
	w := c.tcp.waiting
	if w == nil {
		return
	}
	t.held.remove(w)
	c.tcp.waiting = nil
	if len(t.held.spare) < maxSpare {
		a, b := w.queue[Originator].pieces, w.queue[Responder].pieces
		*w = waiting{}
		w.queue[Originator].pieces, w.queue[Responder].pieces = shrink(a[:0]), shrink(b[:0])
		t.held.spare = append(t.held.spare, w)
	}
}

// waits reports whether bytes are buffered until a gap is filled.
func (c *Conn) waits(side Side) bool {
	s, q := &c.tcp.side[side], c.queue(side)
	return s.fin > s.next || q != nil && (len(q.pieces) > 0 || q.rst >= 0)
}

// holeEnd returns where the hole at next ends.
func (c *Conn) holeEnd(side Side) int64 {
	s, q := &c.tcp.side[side], c.queue(side)
	switch {
	case len(q.pieces) > 0:
		return q.pieces[0].off
	case s.fin > s.next:
		return s.fin
	}
	return max(q.rst, s.next)
}

// lost reports whether the gap at next is permanent: the receiver has the bytes, so it
// will not be sent again, and it is no mere reordering of the capture; or its sender
// has reset the connection; or nothing can be said of the receiver. A hole that the
// receiver has not acknowledged will be filled, however long that takes.
func (t *Table) lost(c *Conn, side Side) bool {
	if !c.waits(side) {
		return false
	}
	q, end := c.queue(side), c.holeEnd(side)
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
		return waited >= int64(t.cfg.HoleWait) || waited >= laterTime && q.later >= laterPackets
	case q.rst >= 0:
		return t.now-q.rstAt >= int64(t.cfg.HoleWait)
	case c.unseen(side):
		return t.now-q.pieces[0].at >= int64(t.cfg.UnseenWait)
	}
	return false
}

// unseen reports whether a side holds bytes and no packet of the receiver is seen.
func (c *Conn) unseen(side Side) bool {
	return c.end(side.Other()).Packets == 0 && len(c.queue(side).pieces) > 0
}

// timed reports whether a gap of a side ends by a timeout.
func (c *Conn) timed(side Side) bool {
	return c.waits(side) && (c.tcp.side[side].acked >= c.holeEnd(side) || c.queue(side).rst >= 0 || c.unseen(side))
}

// giveUp skips the first hole of a side.
func (t *Table) giveUp(c *Conn, side Side) {
	t.skipTo(c, side, c.holeEnd(side))
	t.drain(c, side)
}

// skipTo gives up the bytes before off, or counts them as sent where a filter left them
// out.
func (t *Table) skipTo(c *Conn, side Side, off int64) {
	s := &c.tcp.side[side]
	switch {
	case off <= s.next:
		return
	case c.Thinned:
		t.leftOut(c, side, off)
	default:
		t.rememberHole(s, off)
		t.lose(c, side, off-s.next)
	}
	s.next = off
}

// passOver skips the bytes before off that a filter left out, and delivers the pieces held among them.
func (t *Table) passOver(c *Conn, side Side, off int64) {
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

// settle gives up what is lost and tells of the FIN and the RST that are next.
func (t *Table) settle(c *Conn, side Side) {
	s := &c.tcp.side[side]
	if c.tcp.waiting != nil {
		for t.lost(c, side) && !c.tellable(side) {
			t.giveUp(c, side)
		}
	}
	if s.fin >= 0 && s.next >= s.fin && !c.end(side).FIN {
		c.end(side).FIN = true
		t.tell(c, side, closed)
	}
	if q := c.queue(side); q != nil && q.rst >= 0 && c.tellable(side) {
		q.rst = -1
		c.end(side).RST = true
		t.tell(c, side, aborted)
	}
}

// tellable reports whether nothing is missing before a RST.
func (c *Conn) tellable(side Side) bool {
	q := c.queue(side)
	return q.rst >= 0 && c.tcp.side[side].next >= q.rst && len(q.pieces) == 0
}

// tell reports that a side has closed, and before that what its stream lacks at the end.
func (t *Table) tell(c *Conn, side Side, to endState) {
	t.tail(c, side)
	t.unthin(c)
	c.close(side, to)
	if !c.Excluded {
		t.h.Changed(c)
	}
}

// tail hands on a gap that no data follow.
func (t *Table) tail(c *Conn, side Side) {
	s := &c.tcp.side[side]
	if gap := s.next - s.told; gap > 0 && c.Transport == wire.ProtoTCP {
		s.told = s.next
		t.emit(c, side, s.next, nil, -1, gap, c.Last, false)
	}
}

// watch lists c among those that are looked at from time to time while it waits for
// something that time decides.
func (t *Table) watch(c *Conn) {
	w := c.tcp.waiting
	switch {
	case w == nil:
	case !c.waits(Originator) && !c.waits(Responder) && len(w.suspects) == 0:
		t.release(c)
	case !c.timed(Originator) && !c.timed(Responder):
		t.held.remove(w)
	case !w.listed:
		w.lookAt = t.now + lookInterval
		t.held.push(w)
		t.due = min(t.due, w.lookAt)
	}
}

// look settles both sides of a waiting connection.
func (t *Table) look(c *Conn) {
	t.held.remove(c.tcp.waiting)
	for side := range Side(2) {
		t.settle(c, side)
	}
	t.watch(c)
}

// finish hands on all that a side holds: nothing more is to come.
func (t *Table) finish(c *Conn, side Side) {
	for c.tcp.waiting != nil && c.waits(side) && !c.tellable(side) {
		t.giveUp(c, side)
	}
	if s := &c.tcp.side[side]; s.sure && max(s.acked, s.sent) > s.next+1 && c.end(side).Packets > 0 {
		// The receiver has it, or its sender went on behind it, and nothing of it came.
		// One byte may be a FIN.
		t.skipTo(c, side, max(s.acked, s.sent))
	}
	t.settle(c, side)
	t.tail(c, side)
}
