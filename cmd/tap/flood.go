package main

import (
	"fmt"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// floods publishes that more came than is looked at.
type floods struct {
	before [floodKinds]uint64 // the counts when they were looked at last
	quiet  [floodKinds]time.Time
	next   time.Time
}

// What there may be too much of.
const (
	unreadPackets = iota
	tcpPackets
	otherPackets
	evictions
	floodKinds
)

const (
	// floodFrom is how many packets or connections in a second that are not looked at are
	// called a flood.
	floodFrom = 100
	// floodEvery is how often a flood of a kind is published at most.
	floodEvery = 5 * time.Minute
)

// floodReasons are the reasons that are published, with a number.
var floodReasons = [floodKinds]string{
	unreadPackets: "flood: %d QUIC packets in a second were dropped unread because nobody had answered them",
	tcpPackets:    "flood, or too little CPU: %d packets of TCP in a second found no room in the ring and were not seen",
	otherPackets:  "flood, or too little CPU: %d packets of other protocols than TCP in a second found no room in the ring and were not seen",
	evictions:     "flood, or too little memory: %d connections in a second made room for others before they had ended",
}

// look compares the counts with those of a second before.
func (f *floods) look(t *tap, p *pipeline.Locked, now time.Time) {
	if now.Before(f.next) {
		return
	}
	f.next = now.Add(time.Second)
	for _, reason := range f.rose(t.lost(p), now) {
		t.log.Warn("more came than is looked at", "reason", reason)
		p.Engine.Degraded(now.UnixNano(), reason)
	}
}

// rose returns what is to be published of counts.
func (f *floods) rose(counts [floodKinds]uint64, now time.Time) (reasons []string) {
	for k, n := range counts {
		more := n - min(n, f.before[k])
		if f.before[k] = n; more >= floodFrom && !now.Before(f.quiet[k]) {
			f.quiet[k] = now.Add(floodEvery)
			reasons = append(reasons, fmt.Sprintf(floodReasons[k], more))
		}
	}
	return reasons
}

// lost returns how many packets and connections were not examined so far, by kind of flood.
func (t *tap) lost(p *pipeline.Locked) (counts [floodKinds]uint64) {
	s := p.Stats()
	counts[unreadPackets], counts[evictions] = s.Unread, s.Table.Evicted
	for _, i := range t.captures() {
		tcp, others := i.ringStats()
		counts[tcpPackets] += tcp.Drops
		counts[otherPackets] += others.Drops
	}
	return counts
}
