package flow_test

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestTruncated: the missing bytes of a truncated segment are reported at once, do not count as a gap, and the stream
// continues after them.
func TestTruncated(t *testing.T) {
	const whole = "0123456789"
	for _, c := range []struct {
		name   string
		steps  []step
		keep   map[int]int // captured payload bytes, by step
		want   string
		cut    uint64
		missed uint64
	}{
		{
			"in order", after(step{flags: "PA", seq: 1, ack: 1, data: whole}, step{flags: "PA", seq: 11, ack: 1, data: "next"}),
			map[int]int{3: 4}, "[c0 0123 c10 truncated 6 c10 next end S1]", 6, 0,
		},
		{
			"the last one", after(step{flags: "PA", seq: 1, ack: 1, data: whole}),
			map[int]int{3: 4}, "[c0 0123 c10 truncated 6 end S1]", 6, 0,
		},
		{
			"all of it", after(step{flags: "PA", seq: 1, ack: 1, data: whole}, step{flags: "PA", seq: 11, ack: 1, data: "next"}),
			map[int]int{3: 0}, "[c10 truncated 10 c10 next end S1]", 10, 0,
		},
		{
			"out of order", after(step{flags: "PA", seq: 11, ack: 1, data: whole}, step{flags: "PA", seq: 1, ack: 1, data: whole}, step{flags: "PA", seq: 21, ack: 1, data: "next"}),
			map[int]int{3: 4, 4: 9}, "[c0 012345678 c10 truncated 1 c10 0123 c20 truncated 6 c20 next end S1]", 7, 0,
		},
		{
			"after a gap", after(step{flags: "PA", seq: 6, ack: 1, data: whole}),
			map[int]int{3: 4}, "[c5 gap 5 0123 c15 truncated 6 end S1]", 6, 5,
		},
		{
			"all of it after a gap", after(step{flags: "PA", seq: 6, ack: 1, data: whole}),
			map[int]int{3: 0}, "[c5 gap 5 c15 truncated 10 end S1]", 10, 5,
		},
		{
			"sent again completely", after(step{flags: "PA", seq: 1, ack: 1, data: whole}, step{flags: "PA", seq: 1, ack: 1, data: whole}, step{flags: "PA", seq: 11, ack: 1, data: "next"}),
			map[int]int{3: 4}, "[c0 0123 c10 truncated 6 c10 next end S1]", 6, 0,
		},
		{
			"with a FIN", after(step{flags: "FPA", seq: 1, ack: 1, data: whole}),
			map[int]int{3: 4}, "[c0 0123 c10 truncated 6 changed cFIN end S2]", 6, 0,
		},
		{
			"with a RST after it", after(step{flags: "PA", seq: 1, ack: 1, data: whole}, step{flags: "RA", seq: 11, ack: 1}),
			map[int]int{3: 4}, "[c0 0123 c10 truncated 6 changed cRST end RSTO]", 6, 0,
		},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		at := start
		for i, s := range c.steps {
			p := s.packet(client, server)
			p.Time = at.UnixNano()
			if keep, ok := c.keep[i]; ok {
				p.Data = p.Data[:len(p.Data)-len(s.data)+keep]
			}
			table.Add(&p)
			at = at.Add(1e6)
		}

		table.Flush()
		e, s := g.ended[0].Orig, table.Stats()
		if sprint(g.log) != c.want || e.Truncated != c.cut || e.Missed != c.missed || s.TruncatedBytes != c.cut || s.GapBytes != c.missed {
			t.Errorf("%s: %v, cut %d (%d), missed %d (%d)\nwant %s, %d, %d", c.name, g.log, e.Truncated, s.TruncatedBytes, e.Missed, s.GapBytes, c.want, c.cut, c.missed)
		}
	}
}
