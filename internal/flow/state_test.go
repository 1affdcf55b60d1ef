package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// The states are the same as Zeek's for the examples in Zeek's documentation.
func TestStates(t *testing.T) {
	syn, synack, ack := handshake[0], handshake[1], handshake[2]
	for _, c := range []struct {
		want  flow.State
		steps []step
	}{
		{flow.S0, []step{syn}},
		{flow.S0, []step{syn, {server: true, flags: "A", ack: 1}}}, // some stacks acknowledge a SYN before they send their own
		{flow.S0, []step{ack, syn}},
		{flow.S1, []step{syn, synack}},
		{flow.S1, []step{syn, synack, ack}},
		{flow.S1, []step{synack, ack}}, // the SYN was not captured
		{flow.S1, []step{syn, {server: true, flags: "S"}}},
		{flow.REJ, []step{syn, {server: true, flags: "RA", ack: 1}}},
		{flow.REJ, []step{syn, {server: true, flags: "RA", ack: 1}, {flags: "R", seq: 1}}},
		{flow.SF, after(step{flags: "FA", seq: 1, ack: 1}, step{server: true, flags: "FA", seq: 1, ack: 2})},
		{flow.SF, after(step{flags: "FA", seq: 1, ack: 1}, step{flags: "R", seq: 2}, step{server: true, flags: "FA", seq: 1, ack: 2})},
		{flow.SF, after(step{flags: "FA", seq: 1, ack: 1}, step{server: true, flags: "FA", seq: 1, ack: 2}, step{server: true, flags: "R", seq: 2})},
		{flow.S2, after(step{flags: "FA", seq: 1, ack: 1})},
		{flow.S3, after(step{server: true, flags: "FA", seq: 1, ack: 1})},
		{flow.RSTO, after(step{flags: "R", seq: 1})},
		{flow.RSTR, after(step{server: true, flags: "R", seq: 1})},
		{flow.RSTR, after(step{flags: "R", seq: 1}, step{flags: "PA", seq: 1, ack: 1, data: "x"}, step{server: true, flags: "R", seq: 1})},
		{flow.RSTO, after(step{flags: "R", seq: 1}, step{flags: "FA", seq: 1, ack: 1})},
		{flow.RSTOS0, []step{syn, {flags: "R", seq: 1}}},
		{flow.RSTRH, []step{synack, {server: true, flags: "R", seq: 1}}},
		{flow.SH, []step{syn, {flags: "F", seq: 1}}},
		{flow.SHR, []step{synack, {server: true, flags: "FA", seq: 1, ack: 1}}},
		{flow.OTH, []step{{flags: "A", seq: 1, ack: 1, data: "x"}}},
		{flow.OTH, []step{{flags: "A", seq: 1, ack: 1, data: "x"}, {server: true, flags: "A", seq: 1, ack: 2, data: "x"}}},
		{flow.OTH, []step{{flags: "A", seq: 1, ack: 1, data: "x"}, {flags: "R", seq: 2}}},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, c.steps...)
		table.Flush()
		if len(g.ended) != 1 {
			t.Errorf("%v: %d connections", c.want, len(g.ended))
		}
		if e := g.ended[0]; e.State != c.want || e.Orig.Port != 40000 {
			t.Errorf("%v: state %v, the originator has port %d", c.want, e.State, e.Orig.Port)
		}
	}
}

func TestDatagrams(t *testing.T) {
	query := headers{src: client, dst: server, udp: true, payload: []byte("query")}
	answer := headers{src: server, dst: client, udp: true, payload: []byte("answer")}
	empty := headers{src: client, dst: server, udp: true}
	for _, c := range []struct {
		want flow.State
		hs   []headers
		data string
	}{
		{flow.S0, []headers{query}, "[c0 query end S0]"},
		{flow.S0, []headers{empty}, "[end S0]"},
		{flow.SF, []headers{query, answer, query}, "[c0 query s0 answer c5 query end SF]"},
		{flow.SHR, []headers{answer}, "[s0 answer end SHR]"},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		for _, h := range c.hs {
			p := packetOf(wire.LinkEthernet, h)
			p.Time = start.UnixNano()
			table.Add(&p)
		}
		table.Flush()
		if e := g.ended[0].String(); e != "10.0.0.1:40000 > 10.0.0.2:80" {
			t.Errorf("%v: %s", c.want, e)
		}
		if got := sprint(g.log); got != c.data || g.ended[0].State != c.want || g.ended[0].MissedStart {
			t.Errorf("%v: %s, %+v", c.want, got, g.ended[0])
		}
	}
}

func TestTruncatedDatagrams(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	for range 2 {
		p := packetOf(wire.LinkEthernet, headers{src: client, dst: server, udp: true, payload: []byte("a long query")})
		p.Data = p.Data[:len(p.Data)-10]
		table.Add(&p)
	}
	table.Flush()
	if e := g.ended[0]; sprint(g.log) != "[c0 a  c12 truncated 10 a  end S0]" || e.Orig.Missed != 0 || e.Orig.Truncated != 20 || e.Orig.Bytes != 24 {
		t.Errorf("%v, %+v", g.log, e.Orig)
	}
}

func TestTupleReuse(t *testing.T) {
	closed := after(step{flags: "PA", seq: 1, ack: 1, data: "a"}, step{flags: "FA", seq: 2, ack: 1}, step{server: true, flags: "FA", seq: 1, ack: 3})
	open := after(step{flags: "PA", seq: 1, ack: 1, data: "a"})
	for _, c := range []struct {
		name  string
		first []step
		again step
		want  int // number of connections
	}{
		{"the same SYN again", open, step{flags: "S"}, 1},
		{"the same SYN again after the end", closed, step{flags: "S"}, 1},
		{"the same SYN-ACK again", open, step{server: true, flags: "SA", ack: 1}, 1},
		{"a SYN after the end", closed, step{flags: "S", seq: 5000}, 2},
		{"a SYN-ACK after the end", closed, step{server: true, flags: "SA", seq: 5000, ack: 5000}, 2},
		{"a SYN-ACK after the end to the same SYN", closed, step{server: true, flags: "SA", seq: 5000, ack: 1}, 1},
		{"a SYN without an end, further on", open, step{flags: "S", seq: 5000}, 1}, // a receiver answers it with an ACK (RFC 5961, section 4)
		{"a SYN without an end, further on, and its answer", append(open[:4:4], step{flags: "S", seq: 5000}), step{server: true, flags: "SA", seq: 5000, ack: 5001}, 2},
		{"a SYN without an end, after a while", open, step{flags: "S", seq: ^uint32(500), wait: 2 * time.Second}, 1},
		{"a SYN without an end, after a while, and its answer", append(open[:4:4], step{flags: "S", seq: ^uint32(500), wait: 2 * time.Second}), step{server: true, flags: "SA", seq: 5000, ack: ^uint32(499)}, 2},
		{"an old SYN", open, step{flags: "S", seq: ^uint32(500)}, 1},
		{"a SYN with other numbers that was not answered", handshake[:1], step{flags: "S", seq: ^uint32(77)}, 2},
		{"a SYN from the other side", open, step{server: true, flags: "S", seq: 9000}, 1},
		{"a SYN from the other side, and its answer", append(open[:4:4], step{server: true, flags: "S", seq: 9000}), step{flags: "SA", seq: 5000, ack: 9001}, 2},
		{"a SYN from the other side after the end", closed, step{server: true, flags: "S", seq: 9000}, 2},
		{"a SYN that looks old, and its answer", open, step{server: true, flags: "SA", seq: 5000, ack: ^uint32(499)}, 2},
		{"an old SYN-ACK", open, step{server: true, flags: "SA", seq: 9000, ack: 77}, 1},
		{"a SYN in mid-stream", []step{{flags: "PA", seq: 9, ack: 9, data: "x"}}, step{flags: "S", seq: 9000}, 2},
		{"a SYN-ACK in mid-stream", []step{{flags: "PA", seq: 9, ack: 9, data: "x"}}, step{server: true, flags: "SA", seq: 9000, ack: 77}, 2},
		{"a SYN-ACK in mid-stream, from the apparent originator", []step{{flags: "PA", seq: 9, ack: 9, data: "x"}}, step{flags: "SA", seq: 9000, ack: 77}, 2},
		{"the SYN after its data", []step{{flags: "PA", seq: 1, ack: 1, data: "x"}}, step{flags: "S"}, 1},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		at := run(table, 0, start, client, server, c.first...)
		if strings.HasPrefix(c.name, "a SYN that looks old") {
			at = run(table, 0, at, client, server, step{flags: "S", seq: ^uint32(500)})
		}
		run(table, 0, at, client, server, c.again)
		table.Flush()
		if len(g.ended) != c.want {
			t.Errorf("%s: %d connections, want %d", c.name, len(g.ended), c.want)
		}
		first := g.ended[0]
		if first.OrigISNSeen && first.OrigISN != clientISN || first.MissedStart == first.OrigISNSeen {
			t.Errorf("%s: ISN %d, missed start %v", c.name, first.OrigISN, first.MissedStart)
		}
		if reused := c.want == 2; reused && (g.why[0] != flow.EndReused || table.Stats().Reused != 1) {
			t.Errorf("%s: ended by %v, %+v", c.name, g.why[0], table.Stats())
		}
	}
}
