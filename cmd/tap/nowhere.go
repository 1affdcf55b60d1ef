package main

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/sink"
)

// nowhere is the sink of a tap that does not know where its records are to go. It drops
// and counts them. It is safe for concurrent use.
type nowhere struct {
	reason string
	since  time.Time

	mu      sync.Mutex
	dropped map[string]uint64 // by dataset
	total   uint64
}

func newNowhere(reason string) *nowhere {
	return &nowhere{reason: reason, since: time.Now(), dropped: map[string]uint64{}}
}

func (n *nowhere) Put(m sink.Message) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropped[m.Dataset]++
	n.total++
	return false
}

func (n *nowhere) Status() sink.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return sink.Status{
		Reason: n.reason, Since: n.since, Down: true,
		Delivered: map[string]uint64{}, Dropped: maps.Clone(n.dropped), Reasons: map[string]uint64{"no_sink": n.total},
	}
}

func (n *nowhere) Close(context.Context) (left int, err error) { return 0, nil }
