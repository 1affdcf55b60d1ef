package flow

import (
	"bytes"
	"slices"
	"time"
)

const (
	// A hole that the other side has acknowledged was lost to the capture, not to the
	// connection. It is given up when this much time has passed: an acknowledgement may
	// stand before its data in a capture.
	holeTime = int64(300 * time.Millisecond)
	// A hole that nobody acknowledged is given up after this time.
	holeLast = int64(10 * time.Second)
	// maxHeld bounds the pieces that are out of order in a direction.
	maxHeld = 256
)

// data takes a segment's payload, which begins at offset at.
func (t *Table) data(e *entry, side Side, at int64, d *Decoded, ack int64, now int64) {
	dir := &e.tcp.side[side]
	if e.Excluded || dir.finSeen && at >= dir.fin || at+int64(d.Length) < -1<<31 {
		return
	}
	gone := int64(d.Length - len(d.Payload))
	if at > dir.next {
		t.hold(e, side, at, d.Payload, gone, ack, now)
		return
	}
	t.deliver(e, side, at, d.Payload, gone, ack, now, 0)
	if len(dir.held) > 0 {
		t.release(e, side, now)
	}
}

// deliver hands on a piece that begins at or before the next byte expected. gone bytes
// behind it were cut off by the snap length.
func (t *Table) deliver(e *entry, side Side, at int64, data []byte, gone, ack, now, gap int64) {
	dir := &e.tcp.side[side]
	if old := dir.next - at; old > 0 {
		if dir.proof.differs(at, data) {
			e.Conflict = true
		}
		if old >= int64(len(data)) {
			old -= int64(len(data))
			data = nil
			if gone -= old; gone <= 0 {
				return
			}
		} else {
			data = data[old:]
		}
	}
	if len(data) > 0 || gap > 0 {
		dir.proof.keep(dir.next, data)
		offset := dir.next
		dir.next += int64(len(data))
		if len(data) > 0 {
			t.h.Data(&e.Conn, Segment{Side: side, Offset: offset, Data: data, Ack: ack, Gap: gap, Time: now})
		}
	}
	if gone > 0 {
		dir.next += gone
		e.endpoint(side).Missed += uint64(gone)
		t.h.Data(&e.Conn, Segment{Side: side, Offset: dir.next, Ack: ack, Gap: gone, Time: now})
	}
}

// hold keeps a piece that is out of order.
func (t *Table) hold(e *entry, side Side, at int64, data []byte, gone, ack, now int64) {
	dir := &e.tcp.side[side]
	i, found := slices.BinarySearchFunc(dir.held, at, func(h held, at int64) int { return int(h.offset - at) })
	if found && len(dir.held[i].data) >= len(data) {
		if !bytes.Equal(dir.held[i].data[:len(data)], data) {
			e.Conflict = true
		}
		return
	}
	if len(dir.held) == 0 {
		dir.since = now
	}
	dir.held = slices.Insert(dir.held, i, held{at, bytes.Clone(data), gone, ack})
	dir.size += len(data)
	t.stats.Buffered += len(data)
	if !e.tcp.waiting {
		e.tcp.waiting = true
		t.doomed = append(t.doomed, e)
	}
	t.giveUp(e, side, dir.size > t.cfg.MaxBufferedPerSide || len(dir.held) > maxHeld || t.stats.Buffered > t.cfg.MaxBuffered)
}

// giveUp closes the hole in front of what is held, if it is time to, or if forced.
func (t *Table) giveUp(e *entry, side Side, forced bool) {
	dir := &e.tcp.side[side]
	for len(dir.held) > 0 {
		lost := dir.acked >= dir.held[0].offset && t.now-dir.since > holeTime
		old := t.now-dir.since > holeLast
		if !forced && !lost && !old {
			return
		}
		if forced {
			t.stats.CutShort++
			forced = dir.size > t.cfg.MaxBufferedPerSide/2
		}
		t.skip(e, side)
	}
}

// skip gives up the hole in front of what is held and hands on what follows it.
func (t *Table) skip(e *entry, side Side) {
	dir := &e.tcp.side[side]
	h := dir.pop()
	t.stats.Buffered -= len(h.data)
	gap := h.offset - dir.next
	if gap > 0 {
		e.endpoint(side).Missed += uint64(gap)
		dir.next = h.offset
	}
	t.deliver(e, side, h.offset, h.data, h.gone, h.ack, t.now, gap)
	t.release(e, side, t.now)
}

// release hands on what is in order now.
func (t *Table) release(e *entry, side Side, now int64) {
	dir := &e.tcp.side[side]
	for len(dir.held) > 0 && dir.held[0].offset <= dir.next {
		h := dir.pop()
		t.stats.Buffered -= len(h.data)
		t.deliver(e, side, h.offset, h.data, h.gone, h.ack, now, 0)
	}
	dir.since = now
	t.tellFIN(e, side)
}

func (d *direction) pop() held {
	h := d.held[0]
	d.held = slices.Delete(d.held, 0, 1)
	if len(d.held) == 0 {
		d.held = nil
	}
	d.size -= len(h.data)
	return h
}

// giveUpOld looks for holes that have stood too long.
func (t *Table) giveUpOld() {
	t.doomed = slices.DeleteFunc(t.doomed, func(e *entry) bool {
		if e.queue != nil {
			t.giveUp(e, Originator, false)
			t.giveUp(e, Responder, false)
		}
		e.tcp.waiting = e.queue != nil && len(e.tcp.side[0].held)+len(e.tcp.side[1].held) > 0
		return !e.tcp.waiting
	})
}

// drain hands on all that is held, with its holes.
func (t *Table) drain(e *entry) {
	t.drainSide(e, Originator)
	t.drainSide(e, Responder)
}

func (t *Table) drainSide(e *entry, side Side) {
	for dir := &e.tcp.side[side]; len(dir.held) > 0; {
		t.skip(e, side)
	}
	dir := &e.tcp.side[side]
	if dir.finSeen && !dir.finTold {
		if dir.fin > dir.next {
			e.endpoint(side).Missed += uint64(dir.fin - dir.next)
			if !e.Excluded {
				t.h.Data(&e.Conn, Segment{Side: side, Offset: dir.fin, Ack: -1, Gap: dir.fin - dir.next, Time: t.now})
			}
			dir.next = dir.fin
		}
		t.tellFIN(e, side)
	}
}

// window remembers hashes of a direction's first segments, so that a retransmission
// with other bytes is noticed as long as it has the same bounds.
type window struct {
	parts [8]struct {
		at   int64
		size int
		sum  uint64
	}
	n int
}

// maxProof bounds a segment that is hashed, in bytes.
const maxProof = 4 << 10

func (w *window) keep(at int64, data []byte) {
	if len(data) > 0 && len(data) <= maxProof && w.n < len(w.parts) {
		w.parts[w.n].at, w.parts[w.n].size, w.parts[w.n].sum = at, len(data), fnv(data)
		w.n++
	}
}

func (w *window) differs(at int64, data []byte) bool {
	for _, p := range w.parts[:w.n] {
		if p.at >= at && p.at+int64(p.size) <= at+int64(len(data)) {
			piece := data[p.at-at:][:p.size]
			if fnv(piece) != p.sum {
				return true
			}
		}
	}
	return false
}

// fnv is FNV-1a.
func fnv(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
