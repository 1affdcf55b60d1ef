package flow_test

import (
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// satisfied is a Handler that calls Done for each connection at its first segment.
type satisfied struct {
	*gather
	table *flow.Table
}

func (s *satisfied) Data(c *flow.Conn, d *flow.Segment) {
	s.gather.Data(c, d)
	s.table.Done(c, false)
}

// After Done no bytes are delivered, but all counters have the same values as without Done.
func TestDone(t *testing.T) {
	steps := after(
		step{flags: "PA", seq: 1, ack: 1, data: "first"},
		step{flags: "PA", seq: 6, ack: 1, data: "second"},
		step{server: true, flags: "PA", seq: 4, ack: 12, data: "early"}, // after a gap that is filled later
		step{server: true, flags: "PA", seq: 1, ack: 12, data: "ooo"},
		step{flags: "PA", seq: 6, ack: 9, data: "SECOND"}, // a retransmission that changes the bytes
		step{flags: "PA", seq: 22, ack: 9, data: "after a gap"},
		step{server: true, flags: "FA", seq: 9, ack: 35},
		step{flags: "FA", seq: 35, ack: 10},
	)
	count := func(h flow.Handler, table *flow.Table) flow.Stats {
		at := start
		for i, s := range steps {
			p := s.packet(client, server)
			if i == 4 { // truncated
				p.Data = p.Data[:len(p.Data)-2]
			}
			p.Time = at.UnixNano()
			table.Add(&p)
			at = at.Add(1)
		}
		table.Flush()
		return table.Stats()
	}
	all := newGather(t)
	table := flow.NewTable(flow.Config{}, all)
	want := count(all, table)
	some := &satisfied{gather: newGather(t)}
	some.table = flow.NewTable(flow.Config{}, some)
	got := count(some, some.table)

	if log := sprint(some.log); log != "[c0 first changed sFIN changed cFIN sFIN end SF]" {
		t.Errorf("delivered: %s", log)
	}
	if want.Conflicts != 1 || want.GapBytes == 0 || want.TruncatedBytes == 0 {
		t.Errorf("the packets show too little: %+v", want)
	}
	want.MaxBuffered, got.MaxBuffered, want.Conflicts = 0, 0, 0 // bytes after Done are not remembered
	if got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	a, b := all.ended[0], some.ended[0]
	if a.Orig != b.Orig || a.Resp != b.Resp || a.State != b.State || !strings.Contains(sprint(all.log), "seco") {
		t.Errorf("ended as %+v, want %+v", b, a)
	}
}
