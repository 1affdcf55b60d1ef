package live

import (
	"context"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

const (
	// tickEvery is the interval between calls of Tick, and quietEvery is the interval while no packets arrive. Each call wakes
	// several threads of an idle process.
	tickEvery, quietEvery = 250 * time.Millisecond, time.Second

	// quietAfter is the time without a packet after which the longer interval applies.
	quietAfter = 5 * time.Second

	// soonest is the shortest interval between two calls of Tick. It bounds the CPU time for a flood of announcements.
	soonest = 50 * time.Millisecond
)

// ticks determines when Tick is due. The fields above the empty line belong to the goroutine that calls Tick.
type ticks struct {
	last  time.Time // when Tick was last called
	timer *time.Timer

	early      chan struct{} // has a value if Tick is due before the end of the interval
	lastPacket time.Time     // when the last block of packets was processed; guarded by the pipeline's lock
	quiet      bool          // quietEvery applies; guarded by the pipeline's lock
}

// WaitTick waits until Tick is due, and reports whether it is. It returns false if ctx ends first. The goroutine that calls WaitTick
// must also call Tick. Tick is due early if the kernel announces a change of addresses or interfaces, and when the first packet
// arrives after a quiet time.
func (c *Capture) WaitTick(ctx context.Context) bool {
	t := &c.ticks
	interval := tickEvery
	if c.isQuiet() {
		interval = quietEvery
	}
	due := time.Until(t.last.Add(interval))
	if t.timer == nil {
		t.timer = time.NewTimer(due)
	} else {
		t.timer.Reset(due)
	}

	early := t.early
	for {
		select {
		case <-t.timer.C:
			return true
		case <-early:
			early = nil
			t.timer.Reset(time.Until(t.last.Add(soonest)))
		case <-ctx.Done():
			return false
		}
	}
}

func (c *Capture) isQuiet() (quiet bool) {
	c.pipeline.Do(func(*pipeline.Locked) { quiet = c.ticks.quiet })
	return quiet
}

// tickEarly makes Tick due before the end of the interval. It does not block.
func (c *Capture) tickEarly() {
	select {
	case c.ticks.early <- struct{}{}:
	default: // it is due already
	}
}

// packetsArrived records that a block of packets was processed. The caller holds the pipeline's lock.
func (c *Capture) packetsArrived(now time.Time) {
	c.ticks.lastPacket = now
	if c.ticks.quiet {
		c.ticks.quiet = false
		c.tickEarly()
	}
}

// checkQuiet determines which interval applies until the next call of Tick. The time is not quiet while connections are thinned,
// because Tick must release them in time, and few of their packets arrive. The caller holds the pipeline's lock.
func (c *Capture) checkQuiet(now time.Time) {
	c.ticks.quiet = now.Sub(c.ticks.lastPacket) >= quietAfter && !c.thins()
}

// thins reports whether the kernel thins connections.
func (c *Capture) thins() bool {
	for _, i := range c.Interfaces() {
		if n, _ := i.Thinning(); n > 0 {
			return true
		}
	}
	return false
}
