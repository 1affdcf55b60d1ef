package flow_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// exchange returns the conversation of a tenant.
func exchange(tenant string) []step {
	return after(step{flags: "PA", seq: 1, ack: 1, data: "ask " + tenant}, step{server: true, flags: "PA", seq: 1, ack: 6, data: "say " + tenant},
		step{flags: "PA", seq: 6, ack: 6, data: "and " + tenant}, step{flags: "FA", seq: 11, ack: 6}, step{server: true, flags: "FA", seq: 6, ack: 12})
}

// TestZones: the same addresses, ports and numbers in two networks are two connections, no matter which end sends
// first. A connection that is seen completely in each of two networks counts as two. A connection whose directions
// are in different networks counts as one.
func TestZones(t *testing.T) {
	for name, wrapped := range zones {
		t.Run(name, func(t *testing.T) {
			both := func(table *flow.Table, a, b []step) {
				for i := range a {
					for n, s := range []step{a[i], b[i]} {
						p := s.in(wrapped, byte(n+1))
						table.Add(&p)
					}
				}
			}
			g, table := tabled(t)
			both(table, exchange("a"), exchange("b"))
			checkZones(t, g, table, "ask aand a|say a", "ask band b|say b")
			g, table = tabled(t)
			both(table, exchange("a"), exchange("a"))
			checkZones(t, g, table, "ask aand a|say a", "ask aand a|say a")
			for _, steps := range [][]step{exchange("a"), exchange("a")[2:], exchange("a")[1:], exchange("a")[4:]} {
				for client := range byte(2) {
					g, table = tabled(t)
					for _, s := range steps {
						n := 1 + client
						if s.server {
							n = 2 - client
						}
						p := s.in(wrapped, n)
						table.Add(&p)
					}
					if table.Len() != 1 {
						t.Fatalf("%d connections instead of one with directions in two zones, from step %d", table.Len(), len(exchange("a"))-len(steps))
					}
					checkZones(t, g, table, map[bool]string{true: "and a|say a", false: "ask aand a|say a"}[len(steps) < 5])
				}
			}
		})
	}
}

func tabled(t *testing.T) (*gather, *flow.Table) {
	g := newGather(t)
	return g, flow.NewTable(flow.Config{}, g)
}

// checkZones ends the connections and compares the calls of each, in the order of their creation.
func checkZones(t *testing.T, g *gather, table *flow.Table, want ...string) {
	t.Helper()
	table.Flush()
	if s := table.Stats(); len(g.ended) != len(want) || s.Conflicts+s.Unacceptable+s.Reused != 0 || g.missed != 0 || table.Len() != 0 {
		t.Fatalf("%d connections, want %d: %q, %+v", len(g.ended), len(want), g.log, s)
	}
	for i, e := range g.ended {
		streams := g.streams[e.ID]
		if got := fmt.Sprintf("%s|%s", streams[0], streams[1]); got != want[i] || e.Conflict || e.Orig.Packets == 0 || e.Resp.Packets == 0 {
			t.Errorf("%q, want %q: %+v", got, want[i], e)
		}
	}
}

// TestNoZone: a tag that carries only a priority is not a VLAN. The bits of the priority do not change the zone of a
// VLAN.
func TestNoZone(t *testing.T) {
	g, table := tabled(t)
	for i, s := range exchange("a") {
		data := s.packet(client, server).Data
		p := framed(ether(0x8100, join([]byte{byte(i) << 4, 0, 8, 0}, data[14:])))
		if i%2 == 1 {
			p = framed(data)
			p.Zone = flow.Zone(0).VLAN(0x8100, uint16(i)<<12)
		}
		table.Add(&p)
	}
	checkZones(t, g, table, "ask aand a|say a")
	if flow.Zone(0).VLAN(0x8100, 0x7005) != flow.Zone(0).VLAN(0x8100, 5) || flow.Zone(0).VLAN(0x8100, 5) == 0 {
		t.Error("the priority changes the zone")
	}
}

// inVLANs adds steps, each in a VLAN; 0: no VLAN.
func inVLANs(table *flow.Table, vlans []byte, steps ...step) {
	for i, s := range steps {
		p := framed(s.packet(client, server).Data)
		p.Zone = flow.Zone(0).VLAN(0x8100, uint16(vlans[i]))
		p.Time += int64(i) * 1e6
		table.Add(&p)
	}
}

// TestZonesThatDoNotFit: packets of another network belong to a connection only if their numbers fit.
func TestZonesThatDoNotFit(t *testing.T) {
	say := step{server: true, flags: "PA", seq: 1, ack: 1, data: "x"}
	for _, c := range []struct {
		name  string
		vlans []byte
		steps []step
		want  int
	}{
		{"the answer to another number", []byte{10, 20}, []step{{flags: "S"}, {server: true, flags: "SA", ack: 2}}, 2},
		{"both ask", []byte{10, 20}, []step{{flags: "S"}, {flags: "S"}}, 2},
		{"both ask each other", []byte{10, 20}, []step{{flags: "S"}, {server: true, flags: "S"}}, 2},
		{"one was answered", []byte{10, 10, 20}, []step{{flags: "S"}, {server: true, flags: "SA", ack: 1}, {server: true, flags: "SA", ack: 1}}, 2},
		{"numbers far off in mid-stream", []byte{10, 20}, []step{{flags: "PA", seq: 1, ack: 1, data: "x"}, {server: true, flags: "PA", seq: 1 << 24, ack: 2, data: "x"}}, 2},
		{"acknowledgements far off in mid-stream", []byte{10, 20}, []step{{flags: "PA", seq: 1, ack: 1, data: "x"}, {server: true, flags: "PA", seq: 1, ack: 1 << 24, data: "x"}}, 2},
		{"no acknowledgement", []byte{10, 20}, []step{{flags: "PA", seq: 1, ack: 1, data: "x"}, {server: true, flags: "P", seq: 1, data: "x"}}, 2},
		{"a refusal", []byte{10, 20}, []step{{flags: "S"}, {server: true, flags: "RA", ack: 1}}, 1},
		{"a refusal of another", []byte{10, 20}, []step{{flags: "S"}, {server: true, flags: "RA", ack: 9}}, 2},
		{"from none to a VLAN", []byte{0, 20}, []step{{flags: "S"}, {server: true, flags: "SA", ack: 1}}, 1},
		{"from a VLAN to none", []byte{20, 0}, []step{{flags: "S"}, {server: true, flags: "SA", ack: 1}}, 1},
		{"the acknowledgement before the SYN-ACK", []byte{10, 10, 20}, []step{{flags: "S"}, {flags: "A", seq: 1, ack: 1}, {server: true, flags: "SA", ack: 1}}, 1},
		{"the SYN-ACK before the SYN", []byte{20, 10}, []step{{server: true, flags: "SA", ack: 1}, {flags: "S"}}, 1},
		{"the SYN-ACK of another before the SYN", []byte{20, 10}, []step{{server: true, flags: "SA", ack: 9}, {flags: "S"}}, 2},
		{"the data before the SYN-ACK", []byte{10, 20, 20}, []step{{flags: "S"}, say, {server: true, flags: "SA", ack: 1}}, 2},
	} {
		_, table := tabled(t)
		inVLANs(table, c.vlans, c.steps...)
		if table.Len() != c.want || table.Stats().Conflicts != 0 {
			t.Errorf("%s: %d connections, want %d; %+v", c.name, table.Len(), c.want, table.Stats())
		}
	}
}

// TestZonesInConflict: a connection that was combined from two networks is in conflict if one of these networks shows
// both ends after all. Later packets in that network are not hidden. A connection is also in conflict if an answer to
// it may belong to another connection.
func TestZonesInConflict(t *testing.T) {
	steps := exchange("a")
	for name, vlans := range map[string][]byte{
		"the client":           {10, 20, 20, 20, 20, 20, 20, 20},
		"the client, later":    {10, 20, 10, 10, 20, 20, 20, 20},
		"the server":           {10, 20, 10, 10, 10, 10, 10, 10},
		"the client, untagged": {10, 0, 0, 0, 0, 0, 0, 0},
		"the server, untagged": {0, 20, 0, 0, 0, 0, 0, 0},
	} {
		g, table := tabled(t)
		inVLANs(table, vlans, steps...)
		if table.Len() != 2 {
			t.Errorf("%s: %d connections", name, table.Len())
		}
		table.Flush()
		var all string
		for i := range g.ended {
			if s := g.streams[g.ended[i].ID]; s != nil {
				all += string(s[0]) + string(s[1])
			}
		}
		if !g.ended[0].Conflict || g.ended[1].Conflict || len(all) != 15 || table.Stats().Conflicts != 1 {
			t.Errorf("%s: %+v, %q", name, g.ended, all)
		}
	}

	for name, asks := range map[string][]byte{"two VLANs": {10, 30}, "none and a VLAN": {0, 30}} {
		g, table := tabled(t)
		inVLANs(table, append(asks, 20), steps[0], steps[0], steps[1])
		table.Flush()
		if len(g.ended) != 2 || g.ended[0].Conflict == g.ended[1].Conflict {
			t.Errorf("%s: %+v", name, g.ended)
		}
	}
}

// TestZonesOverUDP: UDP has no numbers, so an answer belongs to the connection that waits for one.
func TestZonesOverUDP(t *testing.T) {
	send := func(table *flow.Table, vlan uint16, fromServer bool) {
		h := headers{src: client, dst: server, udp: true, payload: []byte("ask")}
		if fromServer {
			h = headers{src: server, dst: client, udp: true, payload: []byte("say")}
		}
		p := packetOf(wire.LinkEthernet, h)
		p.Time, p.Zone = start.UnixNano(), flow.Zone(0).VLAN(0x8100, vlan)
		table.Add(&p)
	}

	g, table := tabled(t)
	send(table, 10, false)
	send(table, 20, true)
	send(table, 10, false)
	if table.Flush(); len(g.ended) != 1 || g.ended[0].State != flow.SF || g.ended[0].Conflict {
		t.Errorf("%+v", g.ended)
	}
	g, table = tabled(t)
	send(table, 10, false)
	send(table, 20, false)
	send(table, 20, true)
	send(table, 10, true)
	if table.Flush(); len(g.ended) != 2 || g.ended[0].State != flow.SF || g.ended[1].State != flow.SF || table.Stats().Conflicts != 0 {
		t.Errorf("%+v", g.ended)
	}
	g, table = tabled(t)
	send(table, 10, false)
	send(table, 20, false)
	send(table, 30, true)
	if table.Flush(); len(g.ended) != 2 || !g.ended[1].Conflict {
		t.Errorf("%+v", g.ended)
	}
}

// TestZonesAreBounded: the entries of lone connections are removed with them, and a full table still combines
// directions.
func TestZonesAreBounded(t *testing.T) {
	g := newGather(t)
	const most = 8
	table := flow.NewTable(flow.Config{MaxConns: most}, g)
	for i := range 200 {
		from := withPort(client, uint16(30000+i))
		for k, s := range exchange("a") {
			p := framed(s.packet(from, server).Data)
			p.Zone = flow.Zone(0).VLAN(0x8100, 10)
			if s.server {
				p.Zone = flow.Zone(0).VLAN(0x8100, 20)
			}
			p.Time += int64(i*10+k) * 1e6
			table.Add(&p)
			if table.Len() > most {
				t.Fatalf("%d connections", table.Len())
			}
		}
	}

	for vlan := range uint16(500) { // one connection in each VLAN, all with the same ports
		p := framed((&step{flags: "S"}).packet(client, server).Data)
		p.Zone = flow.Zone(0).VLAN(0x8100, vlan)
		p.Time += 3e9
		table.Add(&p)
	}
	table.Flush()
	if s := table.Stats(); s.Created != 700 || len(g.ended) != 700 || table.Lone() != 0 || s.Conflicts != 0 {
		t.Errorf("%+v, %d ended, %d lone", s, len(g.ended), table.Lone())
	}
}

// TestZonesDoNotAllocate: a packet of a connection whose directions are in two zones allocates no memory.
func TestZonesDoNotAllocate(t *testing.T) {
	table := flow.NewTable(flow.Config{}, nothing{})
	inVLANs(table, []byte{10, 20, 10}, handshake...)
	for name, wrapped := range zones {
		p := (&step{flags: "A", seq: 1, ack: 1}).in(wrapped, 1)
		table.Add(&p)
		if n := testing.AllocsPerRun(100, func() { table.Add(&p) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	p := framed((&step{flags: "A", seq: 1, ack: 1}).packet(client, server).Data)
	p.Zone = flow.Zone(0).VLAN(0x8100, 10)
	if n := testing.AllocsPerRun(100, func() { table.Add(&p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFragmentsOfZones: fragments of two networks are not combined.
func TestFragmentsOfZones(t *testing.T) {
	for version, ends := range map[int][2]netip.AddrPort{4: {client, server}, 6: {a6, b6}} {
		bodies := [][]byte{carried(ends[0], ends[1], "0123456789abcdef"), carried(ends[0], ends[1], "fedcba9876543210")}
		add := func(table *flow.Table, vlan uint16, body []byte, c fragment) {
			p := fragmentOf(ends[0], ends[1], 7, 17, body, c)
			p.Zone = flow.Zone(0).VLAN(0x8100, vlan)
			table.Add(&p)
		}
		g, table := tabled(t)
		for _, c := range []fragment{{0, 16, false, false}, {16, 24, true, false}} {
			add(table, 10, bodies[0], c)
			add(table, 20, bodies[1], c)
		}
		table.Flush()
		if got := fmt.Sprint(g.log); got != "[c0 0123456789abcdef c0 fedcba9876543210 end S0 end S0]" {
			t.Errorf("IPv%d: %s", version, got)
		}
		g, table = tabled(t)
		add(table, 10, bodies[0], fragment{0, 16, false, false})
		add(table, 20, bodies[0], fragment{16, 24, true, false})
		if table.Flush(); len(g.log) != 0 || table.Stats().Undecoded[flow.LaterFragment] != 2 {
			t.Errorf("IPv%d: %v, %+v", version, g.log, table.Stats())
		}
	}
}

// FuzzZones: the table stays consistent for any frames in any networks.
func FuzzZones(f *testing.F) {
	f.Add([]byte{0, 1, 9, 2, 16, 1, 24, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		g := newGather(t)
		table := flow.NewTable(flow.Config{MaxConns: 6, MaxBuffered: 8192}, g)
		steps := exchange("a")
		at := start.UnixNano()
		for ; len(b) >= 2; b = b[2:] {
			s := steps[int(b[0]&7)%len(steps)]
			p := s.packet(withPort(client, client.Port()+uint16(b[0]>>7)), server)
			if b[0]&0x40 != 0 {
				p = packetOf(wire.LinkEthernet, headers{src: client, dst: server, udp: true, payload: []byte("x")})
				if b[0]&0x20 != 0 {
					p = packetOf(wire.LinkEthernet, headers{src: server, dst: client, udp: true, payload: []byte("x")})
				}
			}
			at += int64(b[0]>>3&3) * 3e8
			p.Zone, p.Time = flow.Zone(0).VLAN(0x8100, uint16(b[1]&3)), at
			binary.BigEndian.PutUint32(p.Data[14+20+4:], binary.BigEndian.Uint32(p.Data[14+20+4:])+uint32(b[1]>>4))
			table.Add(&p)
			if table.Len() > 6 || table.Lone() > table.Len() {
				t.Fatalf("%d connections, %d lone", table.Len(), table.Lone())
			}
		}

		table.Flush()
		if s := table.Stats(); table.Len() != 0 || table.Lone() != 0 || table.Keys() != 0 || int(s.Created) != len(g.ended) {
			t.Fatalf("something is left: %+v, %d ended, %d keys", s, len(g.ended), table.Keys())
		}
	})
}
