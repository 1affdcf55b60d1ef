package main

import (
	"fmt"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// floodMonitor publishes a record when more packets or connections arrive than the tap examines.
type floodMonitor struct {
	before [floodKinds]uint64    // the counts at the last check
	quiet  [floodKinds]time.Time // end of the time in which no further flood of a kind is published
	next   time.Time             // time of the next check
}

// The kinds of floods.
const (
	unreadPackets = iota
	tcpPackets
	otherPackets
	evictions
	floodKinds
)

const (
	// floodFrom is the least number of unexamined packets or connections in a second that counts as a flood.
	floodFrom = 100
	// floodEvery is the shortest time between two reports of a flood of the same kind.
	floodEvery = 5 * time.Minute
)

// floodReasons are the published reasons, each with a number.
var floodReasons = [floodKinds]string{
	unreadPackets: "flood: %d QUIC packets in a second were dropped unread because nobody had answered them",
	tcpPackets:    "flood, or too little CPU: %d packets of TCP in a second found no room in the ring and were not seen",
	otherPackets:  "flood, or too little CPU: %d packets of other protocols than TCP in a second found no room in the ring and were not seen",
	evictions:     "flood, or too little memory: %d connections in a second made room for others before they had ended",
}

// check compares the counts with those of one second before. The caller holds the pipeline's lock.
func (f *floodMonitor) check(t *tap, p *pipeline.Locked, now time.Time) {
	if now.Before(f.next) {
		return
	}
	f.next = now.Add(time.Second)
	for _, reason := range f.reasons(t.unexamined(p), now) {
		t.log.Warn("more arrives than is examined", "reason", reason)
		p.Engine.Degraded(now.UnixNano(), reason)
	}
}

// reasons returns a sentence for each flood to publish. counts has the numbers since the start of the tap.
func (f *floodMonitor) reasons(counts [floodKinds]uint64, now time.Time) (reasons []string) {
	for k, n := range counts {
		more := n - min(n, f.before[k])
		if f.before[k] = n; more >= floodFrom && !now.Before(f.quiet[k]) {
			f.quiet[k] = now.Add(floodEvery)
			reasons = append(reasons, fmt.Sprintf(floodReasons[k], more))
		}
	}
	return reasons
}

// unexamined returns how many packets and connections were not examined since the start, by kind of flood.
func (t *tap) unexamined(p *pipeline.Locked) (counts [floodKinds]uint64) {
	s := p.Stats()
	counts[unreadPackets], counts[evictions] = s.Unread, s.Table.Evicted
	for _, i := range t.live.Interfaces() {
		tcp, other := i.RingStats()
		counts[tcpPackets] += tcp.Drops
		counts[otherPackets] += other.Drops
	}
	return counts
}
