package finding

import (
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// window is a period of packet time. Windows start at multiples of their length since the epoch, so all taps
// have the same windows.
type window struct {
	start, end int64 // ns since the epoch, end excluded
	from       int64 // start of the counts: of the observed part of the window, or earlier (see endPeriod)
	before     Coverage
	budget     budget
	crowded    bool // no edge can be evicted before the window ends: all were active in it
}

// openWindow opens the window that contains the time at. Windows that passed without a call of Add or Tick
// are skipped.
func (e *Engine) openWindow(at int64) {
	e.window = windowAt(at, e.cfg.Window, e.coverage())
}

// windowAt returns the window that contains the time at.
func windowAt(at int64, length time.Duration, before Coverage) window {
	start := floor(at, int64(length))
	return window{start: start, end: start + int64(length), from: start, before: before}
}

// floor returns the largest multiple of n that is at most t.
func floor(t, n int64) int64 {
	r := t % n
	if r < 0 {
		r += n
	}
	return t - r
}

// closeWindow emits the findings of the window up to end, the postures that wait for the end of the window, and those of edges
// that have improved. ended reports whether the window was observed up to its own end. A first window that was not
// observed from its start emits no ongoing findings: they have just opened, and their further hits count in the next record.
func (e *Engine) closeWindow(end int64, ended bool) {
	whole := ended && e.window.from == e.window.start
	if ended {
		e.emitDeferred(end)
	}
	if whole {
		e.emitImproved(end)
	}
	e.reportUnjudged()
	if whole || !ended {
		e.reportOpenFindings(end, whole)
	}
	if whole {
		e.reportBlind()
	}
	for _, g := range e.order {
		g.startWindow()
	}
	e.announced = nil
}

// span is a period of time with its coverage.
type span struct {
	from, to int64
	Coverage
	known bool // the coverage is known
}

// coverageUntil returns the coverage of the open window up to end.
func (e *Engine) coverageUntil(end int64) span {
	return e.coverageOfWindow(&e.window, end, e.coverage())
}

// coverageOfWindow returns the coverage of a window, or of a posture interval, up to end, when the coverage of the
// run is now.
func (e *Engine) coverageOfWindow(w *window, end int64, now Coverage) span {
	was := w.before
	return span{
		from: w.from, to: max(end, w.from), known: e.cfg.Coverage != nil,
		Coverage: Coverage{
			Packets: growth(now.Packets, was.Packets), Dropped: growth(now.Dropped, was.Dropped),
			Evicted: growth(now.Evicted, was.Evicted), CutShort: growth(now.CutShort, was.CutShort), Older: now.Older, Since: now.Since,
			Foreign: growth(now.Foreign, was.Foreign), Uncaptured: now.Uncaptured,
			Undecoded: undecodedGrowth(now.Undecoded, was.Undecoded),
		},
	}
}

// growth returns the growth of a counter. The counter may have restarted from 0.
func growth(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

func (e *Engine) coverage() Coverage {
	if e.cfg.Coverage == nil {
		return Coverage{}
	}
	return e.cfg.Coverage()
}

// coverageOf returns the value of meshtls.coverage. blind lists the rules for which there was no
// evidence.
func (e *Engine) coverageOf(s *span, blind []string) *record.Coverage {
	out := &record.Coverage{
		Window: record.Window{Start: record.Time(s.from), End: record.Time(s.to)}, Since: record.Time(s.Since),
		Filter: e.cfg.Filter, RulesBlind: blind, NodeEncryption: e.cfg.NodeEncryption,
		Muted: e.mutedRules(), Namespace: record.Namespace{Mute: e.namespaceMutes(), Expect: e.overrides.expect},
	}
	if s.known {
		out.Watched = &record.Watched{Packets: s.Packets, Dropped: s.Dropped, Evicted: s.Evicted, CutShort: s.CutShort, Older: s.Older}
		out.ForeignPackets, out.UncapturedInterfaces = s.Foreign, s.Uncaptured
		out.Undecoded, out.Advice = s.undecoded(), s.Advice()
	}
	return out
}

// uncaptured returns a clause with the interfaces that are not captured, such as ", not captured on
// net1". The clause is empty if all are captured.
func (s *span) uncaptured() string {
	if len(s.Uncaptured) == 0 {
		return ""
	}
	return ", not captured on " + strings.Join(s.Uncaptured, ", ")
}

// clock formats a period of time for a sentence: "14:00-14:10", with seconds if it is shorter than a
// minute.
func clock(from, to int64) string {
	layout := "15:04"
	if to-from < int64(time.Minute) {
		layout = "15:04:05"
	}
	return time.Unix(0, from).UTC().Format(layout) + "-" + time.Unix(0, to).UTC().Format(layout)
}
