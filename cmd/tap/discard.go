package main

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
)

// discard is the sink of a tap whose settings do not determine a destination for records. It drops
// the records and counts them. It is safe for concurrent use.
type discard struct {
	reason string
	since  time.Time

	mu      sync.Mutex
	dropped map[string]uint64 // number of dropped records, by dataset
	total   uint64
}

func newDiscard(reason string) *discard {
	return &discard{reason: reason, since: time.Now(), dropped: map[string]uint64{}}
}

func (d *discard) Put(m buffer.Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropped[m.Dataset]++
	d.total++
	return false
}

func (d *discard) Status() sink.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sink.Status{Reason: d.reason, Since: d.since, Down: true, Stats: buffer.Stats{
		Delivered: map[string]uint64{}, Dropped: maps.Clone(d.dropped), Reasons: map[string]uint64{"no_sink": d.total},
	}}
}

func (d *discard) Close(context.Context) (left int, err error) { return 0, nil }
