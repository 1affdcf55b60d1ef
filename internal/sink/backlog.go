package sink

import (
	"cmp"
	"time"
)

// backlog is what Kafka sends from: the queue alone, or the spool and then the queue.
// Records of one kind leave it in order of arrival. Its methods are for one goroutine,
// besides Put and fill.
type backlog struct {
	*Queue
	spool *spool // nil: none
}

// Put is Queue.Put. With a spool it waits, within bounds, until the record is on the disk;
// see spool.await.
func (b *backlog) Put(m Message) bool {
	p, ok := b.put(m)
	if ok && b.spool != nil {
		b.spool.await(p)
	}
	return ok
}

// woken is told when there may be something new to send.
func (b *backlog) woken() <-chan struct{} {
	if b.spool == nil {
		return b.wake
	}
	return b.spool.wake
}

// take is Queue.take.
func (b *backlog) take(set kindSet, n, bytes int) []item {
	if b.spool != nil {
		if items := b.spool.take(set, n, bytes); len(items) > 0 {
			return items
		}
		set = b.loose(set)
	}
	return b.Queue.take(set, n, bytes)
}

// loose returns the kinds in set that are sent from memory although there is a spool:
// those that it cannot write or is too slow for, once all older records are out of it.
func (b *backlog) loose(set kindSet) (out kindSet) {
	var waits [kinds]time.Time
	for k := range kinds {
		if n, since := b.Queue.waiting(1 << k); n > 0 {
			waits[k] = since
		}
	}
	s := b.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range kinds {
		stuck := s.reason != "" || s.full.has(k) || !waits[k].IsZero() && time.Since(waits[k]) > spoolPatient
		if j := &s.journals[k]; set.has(k) && stuck && j.unread == 0 && len(j.ahead) == 0 {
			out |= 1 << k
		}
	}
	return out
}

// waiting is Queue.waiting, of what take can return now.
func (b *backlog) waiting(set kindSet) (n int, since time.Time) {
	if b.spool == nil {
		return b.Queue.waiting(set)
	}
	n, since = b.Queue.waiting(b.loose(set))
	s := b.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range kinds {
		j := &s.journals[k]
		if !set.has(k) || j.unread+len(j.ahead) == 0 {
			continue
		}
		at := j.since
		if len(j.ahead) > 0 {
			at = time.Time{}
		}
		if n == 0 || at.Before(since) {
			since = at
		}
		n += j.unread + len(j.ahead)
	}
	return n, since
}

// settle counts items as delivered.
func (b *backlog) settle(items []item) {
	queued, spooled := apart(items)
	b.Queue.settle(queued)
	if len(spooled) > 0 {
		b.spool.settle(spooled, func(of []item) { b.delivers(of) })
	}
}

// lose counts items as dropped.
func (b *backlog) lose(items []item, reason string) {
	queued, spooled := apart(items)
	b.Queue.lose(queued, reason)
	if len(spooled) > 0 {
		b.spool.settle(spooled, func(of []item) { b.count(of[0].kind, len(of), reason) })
	}
}

// apart parts the items that are in memory alone from those that came from the spool.
func apart(items []item) (queued, spooled []item) {
	for _, it := range items {
		if it.disk == nil {
			queued = append(queued, it)
		} else {
			spooled = append(spooled, it)
		}
	}
	return queued, spooled
}

// giveBack is Queue.giveBack.
func (b *backlog) giveBack(items []item) {
	queued, spooled := apart(items)
	b.Queue.giveBack(queued)
	if len(spooled) > 0 {
		b.spool.giveBack(spooled)
	}
}

// total returns how many records are queued or being sent, on disk and in memory.
func (b *backlog) total() int {
	var s Status
	b.fill(&s)
	return s.Queued
}

// fill copies the backlog's part of a Status.
func (b *backlog) fill(st *Status) {
	s := b.spool
	if s == nil {
		b.Queue.fill(st)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Queue.fill(st)
	st.Spooled, st.SpoolBytes = s.holds()
	st.Queued += st.Spooled
	st.SpoolReason, st.Recovered, st.SpoolRemovals = cmp.Or(s.reason, s.loose()), s.recovered, s.removals
}
