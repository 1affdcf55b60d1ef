package live

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
)

// ticking returns a Capture that has ticked once, with its first packet at that time.
func ticking() *Capture {
	p := pipeline.New(pipeline.Config{Table: flow.Config{Exclude: func(*flow.Conn) bool { return true }}, Engine: finding.Config{Window: time.Hour}})
	c := New(Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	c.Attach(p)
	c.nextCheck = time.Now().Add(time.Hour)
	packet(c)
	p.Do(c.Tick)
	return c
}

// packet has c process a block of packets.
func packet(c *Capture) {
	c.pipeline.Do(func(*pipeline.Locked) { c.packetsArrived(time.Now()) })
}

// tick waits for the next tick of c and returns how long that took.
func tick(t *testing.T, c *Capture) time.Duration {
	t.Helper()
	began := time.Now()
	if !c.WaitTick(t.Context()) {
		t.Fatal("no tick is due")
	}
	c.pipeline.Do(c.Tick)
	return time.Since(began)
}

// waitQuiet lets c tick until the longer interval applies.
func waitQuiet(t *testing.T, c *Capture) {
	t.Helper()
	for c.ticks.lastPacket.Add(quietAfter).After(time.Now()) {
		if took := tick(t, c); took != tickEvery {
			t.Fatalf("a tick after %v, although a packet arrived in the last %v", took, quietAfter)
		}
	}
}

// TestTicks: Tick is due every tickEvery, and every quietEvery when no packet has arrived for quietAfter.
func TestTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ticking()
		waitQuiet(t, c)
		for range 3 {
			if took := tick(t, c); took != quietEvery {
				t.Errorf("a tick after %v in a quiet time", took)
			}
		}
	})
}

// TestTickEarly: in a quiet time the first packet, and each announcement of the kernel, makes Tick due before the end of the
// interval. Announcements without end do not make Tick due more often than every soonest.
func TestTickEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ticking()
		waitQuiet(t, c)
		time.AfterFunc(100*time.Millisecond, func() { packet(c) })
		if took := tick(t, c); took != 100*time.Millisecond {
			t.Errorf("a tick after %v, although the first packet arrived after 100 ms", took)
		}
		waitQuiet(t, c)
		time.AfterFunc(300*time.Millisecond, c.tickEarly)
		if took := tick(t, c); took != 300*time.Millisecond {
			t.Errorf("a tick after %v, although a change was announced after 300 ms", took)
		}

		flood := time.NewTicker(time.Millisecond)
		defer flood.Stop()
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case <-flood.C:
					c.tickEarly()
				case <-done:
					return
				}
			}
		}()
		for range 5 {
			if took := tick(t, c); took != soonest {
				t.Errorf("a tick after %v while changes were announced every millisecond", took)
			}
		}
	})
}

// TestTicksWhileThinning: the longer interval does not apply while connections are thinned, so that they are released in time
// although hardly any of their packets arrive.
func TestTicksWhileThinning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ticking()
		c.interfaces = []*Interface{{thinned: make([]tapfilter.Connection, 1)}}
		for range 3 * quietAfter / tickEvery {
			if took := tick(t, c); took != tickEvery {
				t.Fatalf("a tick after %v while a connection was thinned", took)
			}
		}
	})
}

// TestTicksEnd: WaitTick returns when its context ends.
func TestTicksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ticking()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if c.WaitTick(ctx) {
			t.Error("a tick was due")
		}
	})
}
