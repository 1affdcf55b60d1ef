package main

import (
	"cmp"
	"slices"
	"sync"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// gathering is what taps have reported so far. It is safe for concurrent use.
type gathering struct {
	mu    sync.Mutex
	graph *topology.Graph
	taps  []gathered
}

// gathered is the state of one tap.
type gathered struct {
	Pod       string // NAMESPACE/NAME
	Container string
	Reading   bool          // its records arrive
	Broken    string        // why they do not arrive at the moment
	Ended     *attach.Ended // nil: it runs, or has not started
	Dropped   uint64        // packets that it lost
	Older     uint64        // connections older than it
	Missing   uint64        // records that are missing in its log
}

func newGathering(inventory topology.Inventory, plan *attach.Plan) *gathering {
	g := &gathering{graph: topology.New(inventory)}
	for i := range plan.Pods {
		if x := &plan.Pods[i]; x.Refusal == "" {
			g.taps = append(g.taps, gathered{Pod: x.Pod.Namespace + "/" + x.Pod.Name})
		}
	}
	return g
}

// add adds an event.
func (g *gathering) add(e *attach.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.IndexFunc(g.taps, func(x gathered) bool { return x.Pod == e.Tap.String() })
	if at < 0 {
		return
	}
	t := &g.taps[at]
	t.Container = e.Tap.Container
	switch {
	case e.Record != nil:
		t.Reading, t.Broken = true, ""
		g.graph.Add(&e.Record.Record)
		t.count(&e.Record.Record)
	case e.Stream != nil && e.Stream.Err != nil:
		t.Broken = e.Stream.Err.Error()
	case e.Stream != nil:
		t.Broken = ""
	case e.Ended != nil:
		t.Ended = e.Ended
	default:
		t.Missing += e.Lost
	}
}

// count updates the losses of a tap. Only the tap's own records have those of the whole run.
func (t *gathered) count(r *record.Record) {
	if c := r.Meshtls.Coverage; r.Event.Dataset == record.DatasetTap && c != nil && c.Watched != nil {
		t.Dropped, t.Older = c.Watched.Dropped, c.Watched.Older
	}
}

// taken is a copy of a gathering at one moment.
type taken struct {
	edges    []topology.Edge
	findings []topology.Finding
	unknown  []topology.Unknown
	taps     []gathered
	answer   string
}

// take returns a copy.
func (g *gathering) take() taken {
	g.mu.Lock()
	defer g.mu.Unlock()
	return taken{
		edges: slices.Clone(g.graph.Edges()), findings: slices.Clone(g.graph.Findings()), unknown: slices.Clone(g.graph.Unknown()),
		taps: slices.Clone(g.taps), answer: g.graph.Answer(),
	}
}

// failed returns the number of taps that failed, and the reason of the first.
func (t *taken) failed() (n int, reason string) {
	for i := range t.taps {
		if e := t.taps[i].Ended; e != nil && e.Failed {
			n++
			reason = cmp.Or(reason, t.taps[i].Pod+": "+e.Reason)
		}
	}
	return n, reason
}
