package finding

import (
	"cmp"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
)

// closeWindows closes the window and the posture interval if they are over, the one that ended first in the first
// place. A posture precedes the findings of the same time. The records are emitted after Config.Delay.
func (e *Engine) closeWindows() {
	if len(e.delayed) > 0 && e.now >= e.delayedUntil {
		e.emitDelayed()
	}
	if end := min(e.window.end, e.period.end); e.now >= end {
		e.emitDelayed()
		e.delaying, e.delayedUntil = e.cfg.Delay > 0 && e.now < end+int64(e.cfg.Delay), end+int64(e.cfg.Delay)
		defer func() { e.delaying = false }() // also if a record causes a panic
	}

	first := e.period.end <= e.window.end
	if first {
		e.endPeriod()
	}
	if e.now >= e.window.end {
		e.closeWindow(e.window.end, true)
		e.openWindow(e.now)
	}
	if !first {
		e.endPeriod()
	}
}

// endPeriod closes the posture interval if it is over. If less than half of the first interval was observed, its
// counts go on into the next one, because the tap has just emitted the postures of the new edges. The sketches
// start anew with each interval, as they do at the other ends.
func (e *Engine) endPeriod() {
	if e.now < e.period.end {
		return
	}

	was, total := e.period, e.coverage()
	short := was.end-was.from < int64(e.cfg.Interval)/2 && e.now-was.end < int64(e.cfg.Interval)
	if !short {
		e.closePeriod(was.end, total)
	}

	e.openPeriod(total)
	if short {
		e.period.from, e.period.before = was.from, was.before
	}
}

// openPeriod opens the posture interval that contains the current time, when the coverage is total. If it is another
// one than before, the sketches are emptied.
func (e *Engine) openPeriod(total Coverage) {
	was := e.period.start
	e.period = windowAt(e.now, e.cfg.Interval, total)
	if e.period.start == was {
		return
	}
	for _, g := range e.order {
		g.sketch = sketch{}
	}
}

// closePeriod emits the snapshots of the posture interval up to end, when the coverage is total. The counts of an
// edge without connections remain: they are bytes of connections that had ended before.
func (e *Engine) closePeriod(end int64, total Coverage) {
	cover := e.coverageOfWindow(&e.period, end, total)
	for _, g := range e.order {
		n := g.counts.ofPeriod()
		if allOf(n.connections) == 0 {
			continue
		}
		if e.cfg.Posture {
			e.emitPosture(g, "snapshot", end, &cover, n)
		}
		g.counts.periodEnded, g.counts.periodBytes = [traitCount]uint64{}, [verdicts]uint64{}
		g.profile.reset()
		g.muted = g.openMuted()
	}
}

// emitPostureIfWorse emits the posture of an edge if the edge has no posture yet, or is worse: if the latest connection
// is worse than the latest posture and all connections in this window and the previous one. Beyond the budget, the
// posture waits for the end of the window.
func (e *Engine) emitPostureIfWorse(g *edge, t traits, fresh bool) {
	worse := t.rank() > max(g.peak, g.previousPeak, g.published)
	g.peak = max(g.peak, t.rank())
	if !e.cfg.Posture || !fresh && !worse {
		return
	}

	spent := &e.window.budget.worsened
	if g.published == 0 {
		spent = &e.window.budget.new
	}
	if e.spend(spent, e.cfg.Announcements) {
		e.emitChange(g, e.now)
		return
	}
	if !g.deferred {
		e.totals.deferredPostures++
	}
	g.deferred = true
}

// emitChange emits the posture of an edge that is new or worse.
func (e *Engine) emitChange(g *edge, at int64) {
	action := "worsened"
	if g.published == 0 {
		action = "new"
	}
	cover := e.coverageOfWindow(&e.period, at, e.coverage())
	e.emitPosture(g, action, at, &cover, g.counts.ofPeriod())
}

// deferredFactor limits the postures that wait for the end of a window: a window's end emits as many times
// Config.Announcements of them. A pod with 200 edges so has a posture of each at the end of its first window by default.
const deferredFactor = 10

// emitDeferred emits, at the end of a window, the postures that the budget of the window deferred, and those of edges that
// have none yet, such as an aggregate edge of folded ones. Beyond the limit, the edges with the worst connections come first,
// and the others wait for the end of the next window, or for their snapshot.
func (e *Engine) emitDeferred(end int64) {
	if !e.cfg.Posture {
		return
	}
	var waiting []*edge
	for _, g := range e.order {
		if (g.deferred || g.published == 0) && allOf(g.counts.period) > 0 {
			waiting = append(waiting, g)
		}
	}

	order.Stable(waiting, func(a, b *edge) int { return cmp.Compare(b.rank(), a.rank()) })
	if limit := deferredFactor * e.cfg.Announcements; limit >= 0 {
		waiting = waiting[:min(len(waiting), limit)]
	}
	for _, g := range waiting {
		e.emitChange(g, end)
	}
}

// emitImproved emits, at the end of a window, the postures of edges with judged connections in this window that were better
// in it and in the previous one than in their latest posture. They cover the window.
func (e *Engine) emitImproved(end int64) {
	if !e.cfg.Posture {
		return
	}
	for _, g := range e.order {
		if g.judged() > 0 && max(g.peak, g.previousPeak) < g.published {
			cover := e.coverageUntil(end)
			e.emitPosture(g, "improved", end, &cover, g.counts.ofWindow())
		}
	}
}

// emit emits a record now or, at the end of a window, after Config.Delay. Postures and findings keep their order,
// so earlier ones that are delayed precede them.
func (e *Engine) emit(r Record) {
	switch {
	case e.delaying:
		e.delayed = append(e.delayed, r)
		return
	case r.Dataset == DatasetPosture, r.Dataset == DatasetFinding:
		e.emitDelayed()
	}
	e.cfg.Emit(r)
}

// emitDelayed emits the delayed records.
func (e *Engine) emitDelayed() {
	for _, r := range e.delayed {
		e.cfg.Emit(r)
	}
	clear(e.delayed)
	e.delayed = e.delayed[:0]
}
