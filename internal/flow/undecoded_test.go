package flow_test

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestUndecoded: packets without ports are counted by kind, within bounds.
func TestUndecoded(t *testing.T) {
	table := flow.NewTable(flow.Config{}, newGather(t))
	add := func(link wire.LinkType, data []byte, n int) {
		for range n {
			table.Add(&flow.Packet{Data: data, Length: len(data), Link: link, Decapsulate: true})
		}
	}
	add(wire.LinkRaw, outer4(132, make([]byte, 40)), 5)
	add(wire.LinkEthernet, ether(0x0806, make([]byte, 28)), 4)
	add(195, make([]byte, 40), 3)
	add(wire.LinkRaw, outer4(47, []byte{0, 2, 8, 0, 0, 0, 0, 0}), 2)
	add(flow.LinkOther, []byte("x"), 1)
	want := []flow.Undecoded{
		{flow.OtherTransport, 132, 5}, {flow.OtherNetwork, 0x0806, 4}, {flow.UnknownLink, 195, 3}, {flow.OtherTransport, 47, 2}, {flow.OtherNetwork, 0, 1},
	}
	got := table.Undecoded()
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	for typ := range uint16(60000) {
		add(wire.LinkEthernet, ether(typ|0x8000, []byte("data")), 1)
	}
	add(wire.LinkEthernet, ether(0x88e5, []byte("data")), 7) // after all invented EtherTypes
	add(wire.LinkRaw, outer4(50, []byte("data")), 7)
	for _, u := range []flow.Undecoded{{flow.OtherNetwork, 0x88e5, 9}, {flow.OtherTransport, 50, 7}} {
		if !slices.Contains(table.Undecoded(), u) {
			t.Errorf("no %+v", u)
		}
	}
	var sum, all uint64
	for _, u := range table.Undecoded() {
		sum += u.Packets
	}
	for _, n := range table.Stats().Undecoded {
		all += n
	}
	if n := len(table.Undecoded()); n > 90 || sum != all {
		t.Errorf("%d kinds, %d packets of %d", n, sum, all)
	}
}

// TestPaddedAcknowledgements: acknowledgements without payload do not change the streams if their IP length counts the
// padding of the Ethernet frame (https://github.com/ntop/nDPI/issues/1946).
func TestPaddedAcknowledgements(t *testing.T) {
	const padding = "\x00\x00\x00\x00\x00\x00"
	for _, end := range []string{"A", "FA"} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, after(
			step{flags: "A", seq: 1, ack: 1, data: padding},
			step{flags: "PA", seq: 1, ack: 1, data: "GET"},
			step{server: true, flags: "A", seq: 1, ack: 4, data: padding},
			step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"},
			step{flags: end, seq: 4, ack: 4, data: padding},
			step{server: true, flags: "PA", seq: 4, ack: 4, data: "more"},
		)...)

		table.Flush()
		if s := table.Stats(); s.Conflicts != 0 || s.Gaps != 0 || string(g.streams[1][0]) != "GET" || string(g.streams[1][1]) != "200more" {
			t.Errorf("%s: %q, %+v", end, g.log, s)
		}
	}

	// Bytes are data if PSH is set, if there are more bytes than padding may have, or if one byte is not zero.
	for _, s := range []step{
		{flags: "PA", seq: 1, ack: 1, data: padding}, {flags: "A", seq: 1, ack: 1, data: padding + "\x00"}, {flags: "A", seq: 1, ack: 1, data: "\x00a"},
	} {
		g := newGather(t)
		run(flow.NewTable(flow.Config{}, g), 0, start, client, server, after(s)...)
		if g.streams[1] == nil || string(g.streams[1][0]) != s.data {
			t.Errorf("%+v: %q", s, g.log)
		}
	}
}
