package liveview

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// follow writes a line for each change: an edge that is new or has another verdict, a finding that opens or ends, a tap that starts or ends.
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
	verdicts map[edgeKey]int
	taps     map[string]string
	findings map[findingKey]string
}

// findingKey identifies a finding across states.
type findingKey struct {
	rule     string
	from, to end
	port     uint16
}

func newChanges() *changes {
	return &changes{verdicts: map[edgeKey]int{}, taps: map[string]string{}, findings: map[findingKey]string{}}
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
		k := kindOf(e)
		before, known := c.verdicts[keyOf(e)]
		if known && before == k {
			continue
		}
		c.verdicts[keyOf(e)] = k
		lines = append(lines, edgeLine(e, k, before, known))
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

func edgeLine(e *topology.Edge, k, before int, known bool) string {
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
	if known {
		s += ", before: " + kinds[before].label
	}
	return s
}
