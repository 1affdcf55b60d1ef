package flow_test

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestOneSided: RSTs of an end do not count as an answer, and Changed is called for the end's first packet that is not
// a RST. If a RST came before this packet, gather logs the call of Changed and does not count it in answered.
func TestOneSided(t *testing.T) {
	text := step{flags: "PA", seq: 1, ack: 1, data: "text"}
	rst := step{server: true, flags: "R", seq: 1}
	ackd := step{server: true, flags: "A", seq: 1, ack: 5}
	for name, c := range map[string]struct {
		steps           []step
		packets, resets uint64
		alone           bool
		answered        int
	}{
		"one segment":             {[]step{text}, 1, 0, true, 0},
		"and a RST":               {[]step{text, rst}, 1, 1, true, 0},
		"no ACK bit, and a RST":   {[]step{{flags: "P", seq: 1, data: "text"}, {server: true, flags: "RA", ack: 5}}, 1, 1, true, 0},
		"each has a RST":          {[]step{text, rst, {flags: "PA", seq: 5, ack: 1, data: "text"}, rst}, 2, 2, true, 0},
		"the RST first":           {[]step{rst, text}, 1, 1, true, 0},
		"an acknowledgement":      {[]step{text, ackd}, 0, 0, false, 1},
		"a RST, acknowledged":     {[]step{text, rst, ackd}, 0, 0, false, 0},
		"acknowledged, and a RST": {[]step{text, ackd, {server: true, flags: "R", seq: 1}}, 0, 0, false, 1},
		"an answer":               {[]step{text, {server: true, flags: "PA", seq: 1, ack: 5, data: "yes"}}, 0, 0, false, 0},
		"a SYN and a RST":         {[]step{{flags: "S", data: "early"}, {server: true, flags: "RA", ack: 6}}, 1, 1, true, 0},
		"an opened connection":    {after(text, rst), 0, 0, false, 0},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, c.steps...)
		table.Each(func(x *flow.Conn) {
			if packets, resets, alone := x.OneSided(); packets != c.packets || resets != c.resets || alone != c.alone {
				t.Errorf("%s: %d packets, %d RSTs, alone %t", name, packets, resets, alone)
			}
		})
		if g.answered != c.answered || table.Len() != 1 {
			t.Errorf("%s: told %d times, %d connections", name, g.answered, table.Len())
		}
	}
}
