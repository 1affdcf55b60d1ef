package flow

import "time"

const (
	laterPackets = 16                            // packets of the sender that make an acknowledged hole a lost one ...
	laterTime    = int64(10 * time.Millisecond)  // ... if this much packet time has passed: a capture of several queues reorders more than 16 packets, but not for long
	lookInterval = int64(250 * time.Millisecond) // how often a hole is looked at while no packet comes
)

// waits tells whether something is held back until a hole is filled.
func (s *stream) waits() bool {
	return len(s.bufs) > 0 || s.fin > s.next || s.rst > s.next
}

// holeEnd returns where the hole at next ends.
func (s *stream) holeEnd() int64 {
	switch {
	case len(s.bufs) > 0:
		return s.bufs[0].off
	case s.fin > s.next:
		return s.fin
	}
	return s.rst
}

// acked notes a new highest acknowledgement of s.
func (t *Table) acked(s *stream, ack int64) {
	if ack > s.next {
		end := s.next
		if s.waits() {
			end = s.holeEnd()
		}
		if !s.behind || s.acked < end && ack >= end {
			s.behind, s.since, s.later = true, t.now, 0
		}
	}
	s.acked = ack
}

// lost tells whether the hole at next is to be given up: the receiver has it, so it
// will not be sent again, and it is no mere reordering of the capture; or its sender
// has reset the connection.
func (t *Table) lost(c *Conn, side Side) bool {
	s := &c.tcp.side[side]
	switch {
	case !s.waits():
		return false
	case s.behind && s.acked >= s.holeEnd():
		waited := t.now - s.since
		return waited >= int64(t.cfg.HoleWait) || waited >= laterTime && s.later >= laterPackets
	case s.rst >= 0:
		return t.now-s.rstAt >= int64(t.cfg.HoleWait)
	case c.end(side.Other()).Packets == 0 && len(s.bufs) > 0:
		return t.now-s.bufs[0].time >= int64(t.cfg.UnseenWait)
	}
	return false
}

// giveUp skips the first hole of a side.
func (t *Table) giveUp(c *Conn, side Side) {
	s := &c.tcp.side[side]
	end := s.holeEnd()
	t.skipTo(c, side, end)
	t.drain(c, side)
}

// skipTo gives up the bytes before off.
func (t *Table) skipTo(c *Conn, side Side, off int64) {
	s := &c.tcp.side[side]
	t.lose(c, side, off-s.next)
	s.next = off
	s.behind = s.acked > s.next
	s.since, s.later = t.now, 0
}

// room makes the byte budgets hold p. It reports false if it had to hand something on
// for that, so that p may no longer fit where it was to go.
func (t *Table) room(c *Conn, side Side, p piece) bool {
	s := &c.tcp.side[side]
	cost := p.cost()
	switch {
	case s.held+cost > t.cfg.MaxBufferedPerSide || cost > t.cfg.MaxBuffered:
		t.stats.CutShort++
		if len(s.bufs) == 0 || s.bufs[0].off > p.off {
			t.skipTo(c, side, p.off)
		} else {
			t.giveUp(c, side)
		}
		return false
	case t.stats.Buffered+cost > t.cfg.MaxBuffered:
		t.relieve()
		return false
	}
	return true
}

// relieve gives up holes of the connection that holds bytes for longest.
func (t *Table) relieve() {
	c := t.lists[listHolding].head
	for side := range Side(2) {
		if len(c.tcp.side[side].bufs) > 0 {
			t.stats.CutShort++
			t.giveUp(c, side)
		}
	}
	for side := range Side(2) {
		t.settle(c, side)
	}
}

// settle gives up what is lost and tells of the FIN and the RST that are next.
func (t *Table) settle(c *Conn, side Side) {
	s := &c.tcp.side[side]
	for t.lost(c, side) {
		t.giveUp(c, side)
	}
	ep := c.end(side)
	if s.fin >= 0 && s.next >= s.fin && !ep.FIN {
		ep.FIN = true
		t.tell(c, side, closed)
	}
	if s.rst >= 0 && s.next >= s.rst && len(s.bufs) == 0 && !ep.RST {
		ep.RST = true
		t.tell(c, side, aborted)
	}
}

// tell reports that a side has closed, and before that what its stream lacks at the end.
func (t *Table) tell(c *Conn, side Side, to endState) {
	t.tail(c, side)
	c.close(side, to)
	if !c.Excluded {
		t.h.Changed(c)
	}
}

// tail hands on a gap that no data follow.
func (t *Table) tail(c *Conn, side Side) {
	if s := &c.tcp.side[side]; s.gap > 0 && c.Transport == protoTCP {
		gap := s.gap
		s.gap = 0
		t.emit(c, Segment{Side: side, Offset: s.next, Ack: -1, Gap: gap, Time: c.Last})
	}
}

// watch lists c among those that are looked at from time to time while a side waits.
func (t *Table) watch(c *Conn) {
	waits := c.tcp.side[0].waits() || c.tcp.side[1].waits()
	listed := c.tcp.links[linkWaiting].in != nil
	switch {
	case waits && !listed:
		c.tcp.lookAt = t.now + lookInterval
		t.lists[listWaiting].push(c)
	case !waits && listed:
		t.lists[listWaiting].remove(c)
	}
}

// look settles both sides of a waiting connection.
func (t *Table) look(c *Conn) {
	t.lists[listWaiting].remove(c)
	for side := range Side(2) {
		t.settle(c, side)
	}
	t.watch(c)
}

// finish hands on all that a side holds: nothing more is to come.
func (t *Table) finish(c *Conn, side Side) {
	s := &c.tcp.side[side]
	for s.waits() {
		t.giveUp(c, side)
	}
	t.settle(c, side)
	t.tail(c, side)
}
