package pipeline_test

import (
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// busy creates traffic on an excluded connection, which is thinned at once.
func busy(p *pipeline.Pipeline) {
	ack := []byte{
		0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
	}
	for i := range 100 {
		p.Add(flow.Packet{Time: int64(i), Data: ack, Length: len(ack), Link: wire.LinkRaw})
	}
}

// TestThinClockSetBack: when the clock is set back no connection stays chosen, and the next choice is due
// after the usual interval.
func TestThinClockSetBack(t *testing.T) {
	p := pipeline.New(pipeline.Config{Table: flow.Config{Exclude: func(*flow.Conn) bool { return true }}})
	thinner := pipeline.Thinner{Most: pipeline.MaxThinned}
	choose := func(now time.Time) (changed bool, chosen int) {
		p.Do(func(l *pipeline.Locked) {
			changed = thinner.Choose(l, now.UnixNano())
			chosen = len(l.Thinned(0))
		})
		return changed, chosen
	}

	now := time.Unix(100000, 0)
	choose(now)
	busy(p)
	if changed, n := choose(now.Add(pipeline.ThinEvery)); !changed || n != 1 {
		t.Fatalf("%d chosen, want 1", n)
	}

	back := now.Add(-time.Hour)
	if changed, n := choose(back); !changed || n != 0 {
		t.Errorf("%d chosen once the clock was set back, want none", n)
	}
	busy(p)
	if changed, n := choose(back.Add(pipeline.ThinEvery)); !changed || n != 1 {
		t.Errorf("%d chosen at the next choice, want 1", n)
	}
}
