package flow_test

import (
	"net/netip"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// arrive feeds steps of which the packets of one side or of both arrived from outside.
func arrive(table *flow.Table, from, to netip.AddrPort, arrived func(step) bool, steps ...step) {
	for i, s := range steps {
		p := s.packet(from, to)
		p.Time = start.UnixNano() + int64(i)
		p.Arrived = arrived(s)
		table.Add(&p)
	}
}

func always(step) bool     { return true }
func never(step) bool      { return false }
func ofServer(s step) bool { return s.server }

// What arrives and claims to come from the host itself is refused, and changes nothing; all else goes through.
func TestForged(t *testing.T) {
	own, other := client, server
	talk := after(step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "de"})
	local := func(a netip.Addr) bool { return a == own.Addr() }
	for _, c := range []struct {
		name     string
		from, to netip.AddrPort
		local    func(netip.Addr) bool
		arrived  func(step) bool
		want     string
		refused  uint64
	}{
		{"what leaves leaves, what arrives arrives", own, other, local, ofServer, "[c0 abc s0 de]", 0},
		{"both sides arrive", own, other, local, always, "[s0 de]", 3},
		{"both sides arrive at the host's server", other, own, local, always, "[c0 abc]", 2},
		{"nothing is known", own, other, local, never, "[c0 abc s0 de]", 0},
		{"the host's addresses are not known", own, other, nil, always, "[c0 abc s0 de]", 0},
		{"a hairpin, between its own addresses", own, other, func(netip.Addr) bool { return true }, always, "[c0 abc s0 de]", 0},
		{"between others", own, other, func(netip.Addr) bool { return false }, always, "[c0 abc s0 de]", 0},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{Local: c.local}, g)
		arrive(table, c.from, c.to, c.arrived, talk...)
		if s := table.Stats(); sprint(g.log) != c.want || s.Refused != c.refused || s.Packets != uint64(len(talk)) {
			t.Errorf("%s: %v, %d refused", c.name, g.log, s.Refused)
		}
	}
}

// A forged SYN, RST or segment of a connection that is there leaves it as it is.
func TestForgedWithin(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{Local: func(a netip.Addr) bool { return a == client.Addr() }}, g)
	arrive(table, client, server, ofServer, after(step{flags: "PA", seq: 1, ack: 1, data: "abc"})...)
	arrive(table, client, server, always, step{flags: "S", seq: 5000}, step{flags: "R", seq: 4}, step{flags: "PA", seq: 4, ack: 1, data: "evil"})
	arrive(table, client, server, ofServer, step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{server: true, flags: "PA", seq: 1, ack: 7, data: "g"})
	if s := table.Stats(); sprint(g.log) != "[c0 abc c3 def s0 g]" || s.Refused != 3 || s.Created != 1 || s.Conflicts != 0 {
		t.Errorf("%v, %+v", g.log, s)
	}
}
