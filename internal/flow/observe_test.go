package flow_test

import (
	"fmt"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestObserve: Observe gets each packet of a connection once, with the connection it belongs to, before the packet is counted. A SYN that reuses
// ports belongs to the new connection.
func TestObserve(t *testing.T) {
	steps := after(
		step{flags: "PA", seq: 1, ack: 1, data: "first"},
		step{flags: "PA", seq: 1, ack: 1, data: "first"}, // again
		step{server: true, flags: "PA", seq: 4, ack: 6, data: "late"},
		step{server: true, flags: "PA", seq: 1, ack: 6, data: "ooo"},
		step{server: true, flags: "FA", seq: 8, ack: 6},
		step{flags: "FA", seq: 6, ack: 9},
		step{flags: "S", seq: 100000},
		step{server: true, flags: "SA", seq: 200000, ack: 100001},
	)
	var got []string
	table := flow.NewTable(flow.Config{Observe: func(c *flow.Conn, p *flow.Packet, d *flow.Decoded) {
		got = append(got, fmt.Sprint(c.ID, " ", c.Orig.Packets+c.Resp.Packets, " ", d.PayloadLen))
		if len(p.Data) == 0 {
			t.Error("no packet")
		}
	}}, newGather(t))
	for _, s := range steps {
		p := s.packet(client, server)
		p.Time = start.UnixNano()
		table.Add(&p)
	}
	want := []string{"1 0 0", "1 1 0", "1 2 0", "1 3 5", "1 4 5", "1 5 4", "1 6 3", "1 7 0", "1 8 0", "2 0 0", "2 1 0"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if n := table.Stats().Packets; n != uint64(len(got)) {
		t.Errorf("%d packets, %d observed", n, len(got))
	}
}
