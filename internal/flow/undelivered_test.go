package flow_test

import (
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestUndelivered: if bytes of a side are missing, Undelivered becomes true with the first packet, of any kind,
// that shows the loss. It remains true until the gap is reported, also after both ends have closed.
func TestUndelivered(t *testing.T) {
	ask := step{flags: "PA", seq: 1, ack: 1, data: "GET"}
	answer := step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"}
	for _, c := range []struct {
		name           string
		steps          []step
		client, server bool // expected results of Undelivered
	}{
		{"nothing is missing", after(ask, answer, step{flags: "A", seq: 4, ack: 4}), false, false},
		{"nothing is missing, closed", after(ask, answer, step{flags: "FA", seq: 4, ack: 4}, step{server: true, flags: "FA", seq: 4, ack: 5}, step{flags: "A", seq: 5, ack: 5}), false, false},
		{"a keep-alive probe", after(ask, answer, step{flags: "A", seq: 3, ack: 4}), false, false},
		{"acknowledged and not captured", after(answer), true, false},
		{"the next bytes are there", after(step{flags: "PA", seq: 4, ack: 1, data: "more"}), true, false},
		{"a FIN is there", after(step{flags: "FA", seq: 4, ack: 1}), true, false},
		{"a RST is there", after(ask, step{server: true, flags: "R", seq: 4}), false, true},
		{"the sender continues", after(ask, step{server: true, flags: "A", seq: 4, ack: 4}), false, true},
		{"the answer and its FIN are lost, and their acknowledgement", after(ask, step{flags: "FA", seq: 4, ack: 1}, step{server: true, flags: "A", seq: 5, ack: 5}), false, true},
		{"both have closed", after(answer, step{flags: "FA", seq: 4, ack: 4}, step{server: true, flags: "FA", seq: 4, ack: 5}), true, false},
		{"the FIN is lost", after(ask, answer, step{flags: "A", seq: 4, ack: 5}), false, true},
		{"the bytes arrived late", after(answer, ask), false, false},
		{"the gap was skipped", after(answer, step{flags: "FA", seq: 4, ack: 4}, step{server: true, flags: "A", seq: 4, ack: 5}, step{server: true, flags: "A", seq: 4, ack: 5, wait: 2 * time.Second}), false, false},
		{"a number outside of any window", after(ask, step{flags: "A", seq: 1<<30 + 9, ack: 1}), false, false},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, c.steps...)
		var conns []*flow.Conn
		table.Each(func(c *flow.Conn) { conns = append(conns, c) })
		if len(conns) != 1 {
			t.Fatalf("%s: %d connections", c.name, len(conns))
		}
		if a, b := conns[0].Undelivered(flow.Originator), conns[0].Undelivered(flow.Responder); a != c.client || b != c.server {
			t.Errorf("%s: client %v, server %v, want %v, %v", c.name, a, b, c.client, c.server)
		}
	}
}
