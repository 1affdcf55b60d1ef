package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/liveview"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// gathering is what taps have reported so far. It is safe for concurrent use.
type gathering struct {
	mu       sync.Mutex
	graph    *topology.Graph
	taps     []gathered
	warnings []string
	until    time.Time // when the last tap ends by itself
	ended    string    // why no record will follow; empty: records may follow
}

// gathered is the state of one tap.
type gathered struct {
	view    liveview.Tap
	before  liveview.Phase // before the stream was lost
	missing uint64         // records that are missing in its log
}

func newGathering(inventory topology.Inventory, plan *attach.Plan) *gathering {
	g := &gathering{graph: topology.New(inventory)}
	for i := range plan.Pods {
		if x := &plan.Pods[i]; x.Refusal == "" {
			g.taps = append(g.taps, gathered{view: liveview.Tap{Pod: x.Pod.Namespace + "/" + x.Pod.Name}})
		}
	}
	return g
}

// add adds an event.
func (g *gathering) add(e *attach.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.IndexFunc(g.taps, func(x gathered) bool { return x.view.Pod == e.Tap.String() })
	if at < 0 {
		return
	}
	t := &g.taps[at]
	if e.Tap.Ends.After(g.until) {
		g.until = e.Tap.Ends
	}
	switch {
	case e.Starts != "":
		t.view.Reason = e.Starts
	case e.Record != nil:
		t.view.Phase, t.view.Reason = liveview.Running, ""
		g.graph.AddFrom(&topology.Source{Namespace: e.Tap.Namespace, Pod: e.Tap.Pod, UID: e.Tap.UID}, &e.Record.Record)
		t.count(&e.Record.Record)
	case e.Stream != nil && e.Stream.Err != nil:
		if t.view.Phase != liveview.Lost {
			t.before = t.view.Phase
		}
		t.view.Phase, t.view.Reason = liveview.Lost, e.Stream.Err.Error()
	case e.Stream != nil:
		t.view.Phase, t.view.Reason = t.before, ""
	case e.Ended != nil:
		t.view.Phase, t.view.Reason = liveview.Ended, e.Ended.Reason
		if e.Ended.Failed {
			t.view.Phase = liveview.Failed
		}
	case e.Lost > 0:
		if t.missing += e.Lost; t.missing < e.Lost { // more than there can be
			t.missing = math.MaxUint64
		}
	default:
		g.warn(e)
	}
}

// count updates the losses of a tap. Only the tap's own records have those of the whole run.
func (t *gathered) count(r *record.Record) {
	if c := r.Meshtls.Coverage; r.Event.Dataset == record.DatasetTap && c != nil && c.Watched != nil {
		t.view.Dropped, t.view.Older = c.Watched.Dropped, c.Watched.Older
	}
}

// end records that no tap will report anything any more.
func (g *gathering) end(stopped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = "all taps have ended"
	if stopped {
		g.ended = "stopped by the user"
	}
	n := 0
	for i := range g.taps {
		if p := g.taps[i].view.Phase; p != liveview.Ended && p != liveview.Failed {
			n++
		}
	}
	switch {
	case n > 0 && stopped:
		g.ended += fmt.Sprintf("; taps that ran before and continue: %d", n)
	case n > 0:
		g.ended = fmt.Sprintf("the time is up; taps that ran before and continue: %d", n)
	}
}

// part returns why the records are not those of all selected pods for the whole time, or nil. refused is the number of pods without a tap.
func (g *gathering) part(refused int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	missing := 0
	for i := range g.taps {
		if g.taps[i].missing > 0 {
			missing++
		}
	}
	switch {
	case refused > 0:
		return fmt.Errorf("nothing is proven for %s that could not be tapped", plural(refused, "pod"))
	case missing > 0:
		return fmt.Errorf("nothing is proven, because records of %s were lost", plural(missing, "tap"))
	}
	return nil
}

// state returns a copy of the gathering.
func (g *gathering) state() liveview.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := liveview.State{
		Answer: g.graph.Answer(), Edges: slices.Clone(g.graph.Edges()), Findings: slices.Clone(g.graph.Findings()), Unknown: slices.Clone(g.graph.Unknown()),
		Until: g.until, Ended: g.ended,
	}
	for i := range g.taps {
		s.Taps = append(s.Taps, g.taps[i].view)
	}
	return s
}

// failed returns the number of taps that failed, and the reason of the first.
func failed(s *liveview.State) (n int, reason string) {
	for i := range s.Taps {
		if t := &s.Taps[i]; t.Phase == liveview.Failed {
			n++
			reason = cmp.Or(reason, t.Pod+": "+t.Reason)
		}
	}
	return n, reason
}
