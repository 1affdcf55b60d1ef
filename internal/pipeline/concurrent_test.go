package pipeline_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// TestConcurrentUse: readers of several rings, the clock and readers of counters use a pipeline at the
// same time, and each connection has one record.
func TestConcurrentUse(t *testing.T) {
	const readers = 4
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	flows := 0
	p := pipeline.New(pipeline.Config{Engine: finding.Config{Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
		schematest.Check(t, r.Value)
		if r.Dataset == finding.DatasetFlow {
			flows++
		}
	}}})

	var group sync.WaitGroup
	for n := range readers {
		group.Go(func() {
			var packets []flow.Packet
			for _, f := range talk.Packets(capturetest.Options{
				Client: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.7"), uint16(40000+n)), Server: netip.MustParseAddrPort("10.1.0.20:8080"), Start: captureStart,
			}) {
				packets = append(packets, packetOf(f))
			}
			for len(packets) > 0 {
				p.Add(packets[0])
				packets = packets[1:]
				p.Do(func(l *pipeline.Locked) { l.Tick(l.Latest()) })
				p.Stats()
			}
		})
	}
	group.Wait()
	p.Flush()
	if flows != readers {
		t.Errorf("%d flow records, want %d", flows, readers)
	}
}
