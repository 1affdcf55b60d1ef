package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/limits"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// run captures until ctx ends, and then delivers the remaining records. It pauses when TAP_UNTIL or the orders demand
// it. If the pod has too little memory left for an attached tap, it only publishes that it stopped.
func (t *tap) run(ctx context.Context) error {
	t.limits.Apply()
	for _, e := range t.settingErrors {
		t.log.Error("a setting is invalid; see tap run --help", "error", e)
	}
	for _, doubt := range t.doubtful {
		t.log.Warn("a setting has no effect; see tap run --help", "setting", doubt)
	}
	t.log.Info("started", "version", version, "interfaces", t.Interfaces, "sink", t.destination(), "older_connections", t.live.Older(), "memory_limit", memoryLimit(t.limits.Group))

	if err := t.checkMemory(os.DirFS("/")); err != nil {
		t.live.Close()
		t.stopped(errMemory.Error())
		return errors.Join(err, t.flush())
	}
	t.evidence.start()
	stopServer := t.serve(ctx)
	t.readOrders()
	published := false // that the tap captures, or why it does not
	for ctx.Err() == nil {
		reason := t.pauseReason(time.Now())
		switch {
		case reason == "":
			t.capture(ctx)
		case published:
			t.idle(ctx, reason)
		default:
			t.stopped(reason)
			t.idle(ctx, reason)
		}
		published = true
	}
	if !published {
		t.stopped(endReason(ctx))
	}

	t.live.Close()
	err := t.flush()
	t.evidence.close()
	stopServer()
	return err
}

// stopped publishes that the tap has stopped before it captured.
func (t *tap) stopped(reason string) {
	t.pipeline.Do(func(p *pipeline.Locked) { p.Engine.Stopped(time.Now().UnixNano(), reason) })
}

// memoryLimit formats a limit in bytes; 0 means no limit.
func memoryLimit(bytes int64) string {
	if bytes == 0 {
		return "none"
	}
	return strconv.FormatInt(bytes, 10)
}

// pauseReason returns the reason for which nothing should be captured now. It returns "" if the tap
// should capture.
func (t *tap) pauseReason(now time.Time) string {
	return t.ending.update(&t.orders, t.until, t.ownUntil, now)
}

// ordersEvery is how often the orders are read. The kubelet takes a minute or two to update a mounted ConfigMap anyway.
const ordersEvery = 5 * time.Second

// readOrders reads the orders and applies changes.
func (t *tap) readOrders() {
	o := t.configMap.read()
	t.pipeline.Do(func(p *pipeline.Locked) { t.apply(p.Engine, o) })
	t.logMutes(time.Now())
}

// apply applies changes of the orders. The caller holds the pipeline's lock.
func (t *tap) apply(engine *finding.Engine, o orders) {
	if mutes := slices.Concat(t.mute, o.mute); !sameMutes(mutes, t.muted) {
		engine.Mute(mutes)
		t.muted = mutes
	}
	if !slices.Equal(o.expect, t.orders.expect) {
		engine.Expect(slices.Concat(t.expect, o.expect)) // the first match applies, so the platform's expectations have precedence
	}
	engine.Namespace(o.expect)
	t.orders = o

	if ignored := t.configMap.ignored(); !slices.Equal(ignored, t.ignored) {
		t.ignored = ignored
		if len(ignored) > 0 {
			engine.Degraded(time.Now().UnixNano(), strings.Join(ignored, "; "))
		}
	}
}

// idle waits, without sockets or rings, until the tap should capture again.
func (t *tap) idle(ctx context.Context, reason string) {
	t.log.Info("not capturing, as configured", "reason", reason)
	t.idling.Store(&reason)

	ticker := time.NewTicker(ordersEvery)
	defer ticker.Stop()
	for t.pauseReason(time.Now()) != "" {
		select {
		case <-ticker.C:
			t.readOrders()
		case <-ctx.Done():
			return
		}
	}
}

// capture captures until ctx ends or an order ends it.
func (t *tap) capture(ctx context.Context) {
	t.live.Start(ctx)
	t.idling.Store(nil) // not earlier: until Start, the interfaces of an earlier capture have no error, so /readyz would be ok
	t.reportStarted(ctx)
	reason := t.tick(ctx)
	t.live.Stop()
	t.endConnections(reason)
}

// tick advances live time and monitors the tap until ctx ends or the tap should no longer capture. It returns the
// reason of the end.
func (t *tap) tick(ctx context.Context) (reason string) {
	next := time.Now().Add(ordersEvery)

	var drops dropMonitor
	var output outputMonitor
	var floods floodMonitor
	var heap limits.Heap
	for t.live.WaitTick(ctx) {
		now := time.Now()
		t.pipeline.Do(func(p *pipeline.Locked) {
			t.live.Tick(p)
			floods.check(t, p, now)
		})
		if now.After(next) {
			next = now.Add(ordersEvery)
			t.readOrders()
			heap.Trim()
		}
		drops.check(t, now)
		output.check(t, now)
		if reason := t.pauseReason(now); reason != "" {
			return reason
		}
	}
	return endReason(ctx)
}

// endConnections ends all connections and closes the open window.
func (t *tap) endConnections(reason string) {
	now := time.Now().UnixNano()
	t.pipeline.Do(func(p *pipeline.Locked) {
		p.Flush()
		p.Engine.Flush(now)
		p.Engine.Stopped(now, reason)
	})
}

// reportStarted tests the tap once each interface was tried, but at the latest after a second, and publishes the result.
func (t *tap) reportStarted(ctx context.Context) {
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	t.live.WaitTried(wait)
	t.testSelf(ctx)
	t.pipeline.Do(func(p *pipeline.Locked) {
		p.Engine.Started(time.Now().UnixNano(), t.selfTest())
		if len(t.settingErrors) > 0 {
			p.Engine.Degraded(time.Now().UnixNano(), strings.Join(t.settingErrors, "; "))
		}
		if r := t.tested.Load(); r != nil && r.err != nil {
			p.Engine.Degraded(time.Now().UnixNano(), "self_test: "+r.String())
		}
	})
}
