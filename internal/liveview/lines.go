package liveview

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// follow writes a line for each change: an edge that is new, has another verdict or a connection with a verdict of its own, a finding that opens or ends, a tap that starts or ends.
func follow(ctx context.Context, source Source, o Options) error {
	c := newChanges()
	for {
		begin := time.Now()
		s := source()
		now := o.clock().UTC().Format(time.TimeOnly)
		for _, line := range c.next(&s) {
			if _, err := fmt.Fprintln(o.Out, now+"  "+line); err != nil {
				return err
			}
		}
		if s.Ended != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause(time.Since(begin))):
		}
	}
}

// changes is what the lines have reported so far.
type changes struct {
	edges    map[edgeKey]reported
	taps     map[string]string
	findings map[findingKey]string
}

// reported is what the last line of an edge said.
type reported struct {
	kind     int
	verdicts uint8 // of the connections: see byVerdict
}

// findingKey identifies a finding across states.
type findingKey struct {
	rule     string
	from, to end
	port     uint16
}

func newChanges() *changes {
	return &changes{edges: map[edgeKey]reported{}, taps: map[string]string{}, findings: map[findingKey]string{}}
}

// next returns the lines for what s has and the states before it did not have.
func (c *changes) next(s *State) []string {
	var lines []string
	for i := range s.Taps {
		t := &s.Taps[i]
		if line := tapState(t); c.taps[t.Pod] != line {
			c.taps[t.Pod] = line
			lines = append(lines, line)
		}
	}
	for i := range s.Edges {
		e := &s.Edges[i]
		_, verdicts := byVerdict(e)
		was, known := c.edges[keyOf(e)]
		is := reported{kindOf(e), was.verdicts | verdicts}
		if known && was == is {
			continue
		}
		c.edges[keyOf(e)] = is
		line := edgeLine(e, is.kind)
		if known && was.kind != is.kind {
			line += ", before: " + kinds[was.kind].label
		}
		lines = append(lines, line)
	}
	for i := range s.Findings {
		f := &s.Findings[i]
		id := findingKey{f.Rule, endOf(&f.From), endOf(&f.To), f.Port}
		state := f.State
		if state == "ongoing" {
			state = "open"
		}
		if c.findings[id] != state {
			c.findings[id] = state
			lines = append(lines, "finding "+report.CleanMessage(state)+": "+findingLine(f))
		}
	}
	return lines
}

func edgeLine(e *topology.Edge, k int) string {
	s := kinds[k].label + ": " + name(&e.From) + " to " + server(e)
	if p := protocol(e); p != "" {
		s += ", " + p
	}
	if e.Basis != "" && e.Basis != "none" {
		s += " (" + report.CleanMessage(e.Basis) + ")"
	}
	switch {
	case e.Scope == "pod":
		s += ", within the pod"
	case !ofWire(e):
		s += ", " + strings.ReplaceAll(report.CleanMessage(e.Class), "_", " ")
	}
	if counts, _ := byVerdict(e); len(counts) > 1 {
		s += "; connections: " + strings.Join(counts, ", ")
	}
	return s
}
