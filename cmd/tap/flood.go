package main

import (
	"fmt"
	"time"
)

// floods publishes that more came than is looked at.
type floods struct {
	deferred, unread uint64 // when it was looked last
	next             time.Time
	quiet            time.Time // nothing is published before
}

const (
	// floodFrom is how many packets in a second are called a flood that nobody has answered
	// and that were dropped unread.
	floodFrom = 100
	// floodEvery is how often a flood is published at most.
	floodEvery = 5 * time.Minute
)

// look compares the counts with those of a second before. The pipeline is locked.
func (f *floods) look(t *tap, now time.Time) {
	if now.Before(f.next) {
		return
	}
	deferred, unread := t.pipeline.memory.PutOff()
	came, lost := deferred-f.deferred, unread-f.unread
	f.deferred, f.unread, f.next = deferred, unread, now.Add(time.Second)
	if lost < floodFrom || now.Before(f.quiet) {
		return
	}
	f.quiet = now.Add(floodEvery)
	reason := fmt.Sprintf("flood: %d QUIC packets in a second were not read because nobody had answered them, and %d of them were dropped", came, lost)
	t.log.Warn("more packets came than are looked at", "reason", reason)
	t.pipeline.engine.Degraded(now.UnixNano(), reason)
}
