package flow_test

import (
	"net/netip"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// arrive adds steps as packets with the origins that f returns.
func arrive(table *flow.Table, from, to netip.AddrPort, f func(step) flow.Origin, steps ...step) {
	for i, s := range steps {
		p := s.packet(from, to)
		p.Time = start.UnixNano() + int64(i)
		p.Origin = f(s)
		table.Add(&p)
	}
}

// origins returns a function that returns the origin of a step: ofClient for the client's packets, ofServer for the
// server's.
func origins(ofClient, ofServer flow.Origin) func(step) flow.Origin {
	return func(s step) flow.Origin {
		if s.server {
			return ofServer
		}
		return ofClient
	}
}

const (
	none = flow.OriginUnknown
	out  = flow.OriginSent
	in   = flow.OriginArrived
	past = flow.OriginElsewhere
	many = flow.OriginGroup
)

// TestOrigins: in a live capture a packet counts if its local end matches its origin. All other packets are counted and
// have no other effect.
func TestOrigins(t *testing.T) {
	own, other, third := client, server, netip.MustParseAddrPort("10.99.0.78:8443")
	talk := after(step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "de"})
	only := func(a netip.Addr) bool { return a == own.Addr() }
	nobody := func(netip.Addr) bool { return false }
	everybody := func(netip.Addr) bool { return true }
	yes := func() bool { return true }
	for _, c := range []struct {
		name             string
		from, to         netip.AddrPort
		local            func(netip.Addr) bool
		forwarded        func() bool
		origin           func(step) flow.Origin
		want             string
		refused, foreign uint64
	}{
		{"the pod asks", own, other, only, nil, origins(out, in), "[c0 abc s0 de]", 0, 0},
		{"the pod is asked", other, own, only, nil, origins(in, out), "[c0 abc s0 de]", 0, 0},
		{"both sides arrive", own, other, only, nil, origins(in, in), "[s0 de]", 3, 0},
		{"both sides arrive at the pod's server", other, own, only, nil, origins(in, in), "[c0 abc]", 2, 0},
		{"both sides arrive, forwarded or not", own, other, only, yes, origins(in, in), "[s0 de]", 3, 0},
		{"from the pod to itself", own, withPort(own, 8443), only, nil, origins(in, in), "[]", 5, 0},
		{"from the pod to itself, forwarded or not", own, withPort(own, 8443), only, yes, origins(in, in), "[]", 5, 0},
		{"between others", other, third, only, nil, origins(in, in), "[]", 0, 5},
		{"between others, to another host", other, third, only, nil, origins(past, past), "[]", 0, 5},
		{"between others, forwarded", other, third, only, yes, origins(in, out), "[c0 abc s0 de]", 0, 0},
		{"between others, bridged", other, third, only, yes, origins(past, out), "[c0 abc s0 de]", 0, 0},
		{"between others, leaving only", other, third, only, nil, origins(out, out), "[]", 0, 5},
		{"the pod's address, to another host", other, own, only, nil, origins(past, out), "[s0 de]", 0, 3},
		{"the pod is asked, in frames for all", other, own, only, nil, origins(many, out), "[s0 de]", 3, 0},
		{"the pod is asked, in frames for all, forwarded", other, own, only, yes, origins(many, out), "[c0 abc s0 de]", 0, 0},
		{"the pod has no address", own, other, nobody, nil, origins(out, in), "[]", 0, 5},
		{"unknown origins", own, other, only, nil, origins(none, none), "[c0 abc s0 de]", 0, 0},
		{"unknown addresses", own, other, nil, nil, origins(in, in), "[c0 abc s0 de]", 0, 0},
		{"every address is the pod's", own, other, everybody, nil, origins(out, in), "[c0 abc]", 2, 0},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{Local: c.local, Forwarded: c.forwarded}, g)
		arrive(table, c.from, c.to, c.origin, talk...)
		if s := table.Stats(); sprint(g.log) != c.want || s.Refused != c.refused || s.Foreign != c.foreign || s.Packets != uint64(len(talk)) {
			t.Errorf("%s: %v, %d refused, %d foreign", c.name, g.log, s.Refused, s.Foreign)
		}
	}
}

// A forged SYN, RST or segment of an existing connection does not change it.
func TestForgedWithin(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{Local: func(a netip.Addr) bool { return a == client.Addr() }}, g)
	arrive(table, client, server, origins(out, in), after(step{flags: "PA", seq: 1, ack: 1, data: "abc"})...)
	for _, from := range []flow.Origin{in, past} {
		arrive(table, client, server, origins(from, from), step{flags: "S", seq: 5000}, step{flags: "R", seq: 4}, step{flags: "PA", seq: 4, ack: 1, data: "evil"})
	}
	arrive(table, client, server, origins(out, in), step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{server: true, flags: "PA", seq: 1, ack: 7, data: "g"})
	if s := table.Stats(); sprint(g.log) != "[c0 abc c3 def s0 g]" || s.Refused != 3 || s.Foreign != 3 || s.Created != 1 || s.Conflicts != 0 {
		t.Errorf("%v, %+v", g.log, s)
	}
}

// A connection remains the pod's own if the pod's address is removed: its ends keep the results of Local at its start.
func TestLocatedOnce(t *testing.T) {
	local := true
	g := newGather(t)
	table := flow.NewTable(flow.Config{Local: func(a netip.Addr) bool { return local && a == client.Addr() }}, g)
	arrive(table, client, server, origins(out, in), handshake...)
	local = false
	arrive(table, client, server, origins(out, in), step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "de"})
	arrive(table, client, server, origins(in, in), step{flags: "PA", seq: 4, ack: 3, data: "evil"})
	table.Each(func(c *flow.Conn) {
		if !c.Located || !c.OrigLocal || c.RespLocal {
			t.Errorf("%+v", c)
		}
	})
	if s := table.Stats(); sprint(g.log) != "[c0 abc s0 de]" || s.Refused != 1 || s.Foreign != 0 {
		t.Errorf("%v, %+v", g.log, s)
	}
}

// Datagrams to a group count if the pod has joined the group. Nothing is sent from a group, and TCP has no groups.
func TestGroups(t *testing.T) {
	joined, strange := netip.MustParseAddrPort("224.0.0.251:5353"), netip.MustParseAddrPort("224.9.9.9:5353")
	isJoined := func(a netip.Addr) bool { return a == joined.Addr() }
	for _, c := range []struct {
		name    string
		h       headers
		origin  flow.Origin
		group   func(netip.Addr) bool
		foreign uint64
	}{
		{"joined", headers{src: server, dst: joined, udp: true}, in, isJoined, 0},
		{"joined, in a frame for the group", headers{src: server, dst: joined, udp: true}, many, isJoined, 0},
		{"not joined", headers{src: server, dst: strange, udp: true}, in, isJoined, 1},
		{"no groups", headers{src: server, dst: joined, udp: true}, in, nil, 1},
		{"from a group", headers{src: joined, dst: server, udp: true}, in, isJoined, 1},
		{"TCP", headers{src: server, dst: joined, flags: syn}, in, isJoined, 1},
		{"sent by the pod", headers{src: client, dst: strange, udp: true}, out, isJoined, 0},
		{"sent by another", headers{src: server, dst: joined, udp: true}, out, isJoined, 1},
	} {
		table := flow.NewTable(flow.Config{Local: func(a netip.Addr) bool { return a == client.Addr() }, Group: c.group}, newGather(t))
		c.h.payload = []byte("query")
		p := packetOf(wire.LinkEthernet, c.h)
		p.Origin = c.origin
		table.Add(&p)
		if s := table.Stats(); s.Foreign != c.foreign || s.Created != 1-c.foreign {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}
