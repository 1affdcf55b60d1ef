package flow_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

func TestInterfacesAreApart(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 1, start, client, server, step{flags: "S"})
	run(table, 2, start, client, server, step{flags: "S"})
	if table.Len() != 2 {
		t.Errorf("%d connections on two interfaces", table.Len())
	}
}

// Both ends have the same address: the ports decide the order in the key.
func TestOneAddress(t *testing.T) {
	for _, port := range []uint16{100, 50000} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, withPort(client, port), after(step{server: true, flags: "PA", seq: 1, ack: 1, data: "x"})...)
		table.Flush()
		if len(g.ended) != 1 || g.ended[0].Orig.Packets != 2 || sprint(g.log) != "[s0 x end S1]" {
			t.Errorf("port %d: %v, %+v", port, g.log, g.ended)
		}
	}
}

func TestTimeGoesBackwards(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := run(table, 0, start, client, server, handshake[:2]...)
	run(table, 0, start.Add(-time.Hour), client, server, handshake[2])
	table.Tick(at.Add(59 * time.Minute).UnixNano())
	table.Flush()
	if e := g.ended[0]; len(g.ended) != 1 || e.First != start.UnixNano() || e.Last != start.Add(time.Millisecond).UnixNano() || g.why[0] != flow.EndFlush {
		t.Errorf("%+v, %v", g.ended, g.why)
	}
}

func TestOriginator(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  uint16
		to    uint16
		h     headers
		first bool // the sender of the packet is the originator
	}{
		{"SYN", 22, 40000, headers{flags: syn}, true},
		{"SYN-ACK", 40000, 22, headers{flags: syn | ack}, false},
		{"to a well-known port", 40000, 443, headers{flags: ack}, true},
		{"from a well-known port", 443, 40000, headers{flags: ack}, false},
		{"to a port below the ephemeral ones", 40000, 8080, headers{flags: ack}, true},
		{"from a port below the ephemeral ones", 8080, 40000, headers{flags: ack}, false},
		{"between ephemeral ports", 40000, 50000, headers{flags: ack}, true},
		{"a query", 40000, 53, headers{udp: true}, true},
		{"an answer", 53, 40000, headers{udp: true}, false},
		{"between other ports", 5000, 40000, headers{udp: true}, true},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		c.h.src, c.h.dst = netip.AddrPortFrom(client.Addr(), c.from), netip.AddrPortFrom(server.Addr(), c.to)
		p := packetOf(wire.LinkEthernet, c.h)
		table.Add(&p)
		table.Flush()
		if e := g.ended[0]; (e.Orig.Port == c.from) != c.first || e.Orig.Packets+e.Resp.Packets != 1 || (e.Orig.Packets == 1) != c.first {
			t.Errorf("%s: %v, %d and %d packets", c.name, e.String(), e.Orig.Packets, e.Resp.Packets)
		}
	}
}

func TestExpiry(t *testing.T) {
	query := func(table *flow.Table) {
		p := packetOf(wire.LinkEthernet, headers{src: client, dst: server, udp: true, payload: []byte("x")})
		p.Time = start.UnixNano()
		table.Add(&p)
	}
	steps := func(s ...step) func(*flow.Table) {
		return func(table *flow.Table) {
			for _, s := range s { // all at the same time
				run(table, 0, start, client, server, s)
			}
		}
	}

	data := step{flags: "PA", seq: 1, ack: 1, data: "x"}
	for _, c := range []struct {
		name string
		feed func(*flow.Table)
		idle time.Duration
		why  flow.EndReason
	}{
		{"attempt", steps(handshake[0]), time.Minute, flow.EndIdle},
		{"established", steps(handshake...), time.Hour, flow.EndIdle},
		{"in mid-stream", steps(data), time.Hour, flow.EndIdle},
		{"mid-stream without payload", steps(step{flags: "A", seq: 1, ack: 1}), time.Minute, flow.EndIdle},
		{"with data", steps(after(data)...), time.Hour, flow.EndIdle},
		{"half closed", steps(after(step{flags: "FA", seq: 1, ack: 1})...), time.Hour, flow.EndIdle},
		{"closed", steps(after(step{flags: "FA", seq: 1, ack: 1}, step{server: true, flags: "FA", seq: 1, ack: 2})...), 5 * time.Second, flow.EndClosed},
		{"refused", steps(handshake[0], step{server: true, flags: "RA", ack: 1}), 5 * time.Second, flow.EndClosed},
		{"datagrams", query, time.Minute, flow.EndIdle},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		c.feed(table)
		table.Tick(start.Add(-time.Hour).UnixNano()) // a time before the latest one has no effect
		table.Tick(start.Add(c.idle - 1).UnixNano())
		if table.Len() != 1 {
			t.Errorf("%s: ended before its time", c.name)
			continue
		}
		table.Tick(start.Add(c.idle).UnixNano())
		if table.Len() != 0 || g.why[0] != c.why {
			t.Errorf("%s: %d connections left, %v", c.name, table.Len(), g.why)
		}
	}
}

// Tick skips the same gaps as later packets would.
func TestTickFlushesGaps(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 0, start, client, server, after(step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{server: true, flags: "A", seq: 1, ack: 7})...)
	for i := range 8 {
		if len(g.log) != 0 {
			t.Fatalf("%v after %d ticks", g.log, i)
		}
		table.Tick(start.Add(time.Duration(i) * 140 * time.Millisecond).UnixNano())
	}
	for i := range 4 {
		table.Tick(start.Add(time.Second + time.Duration(i+1)*140*time.Millisecond).UnixNano())
	}
	if sprint(g.log) != "[c3 gap 3 def]" {
		t.Errorf("%v", g.log)
	}
}

// If only one direction is captured, no acknowledgement of its bytes is ever seen. Tick skips its gaps nevertheless.
func TestTickFlushesGapsOfOneDirection(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 0, start, client, server, step{flags: "S"}, step{flags: "PA", seq: 4, ack: 1, data: "def"})
	for at := time.Duration(0); at <= 3500*time.Millisecond; at += 100 * time.Millisecond {
		if early := at < 3*time.Second; early && len(g.log) > 0 {
			t.Fatalf("%v after %v", g.log, at)
		}
		table.Tick(start.Add(at).UnixNano())
	}
	if sprint(g.log) != "[c3 gap 3 def]" {
		t.Errorf("%v", g.log)
	}
}

func TestExcluded(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{Exclude: func(c *flow.Conn) bool { return c.Orig.Port == client.Port() && c.Resp.Addr == server.Addr() }}, g)
	run(table, 0, start, client, server, after(
		step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{flags: "PA", seq: 1, ack: 1, data: "abc"},
		step{server: true, flags: "FA", seq: 1, ack: 7}, step{flags: "FA", seq: 7, ack: 2})...)
	run(table, 0, start, netip.AddrPortFrom(client.Addr(), 40001), server, handshake...)
	var bytes []uint64
	table.Each(func(c *flow.Conn) { bytes = append(bytes, c.Orig.Bytes) })
	table.Flush()
	if s := table.Stats(); sprint(g.log) != "[end S1]" || s.Excluded != 1 || s.Created != 2 || s.Buffered != 0 || !slices.Equal(bytes, []uint64{6, 0}) {
		t.Errorf("%v, %+v, %v", g.log, s, bytes)
	}
}

func TestEachIsInTheOrderOfCreation(t *testing.T) {
	table := flow.NewTable(flow.Config{}, nothing{})
	for i := range 5 {
		run(table, 0, start, netip.AddrPortFrom(client.Addr(), uint16(40000+i)), server, handshake[:1+i%3]...)
	}
	run(table, 0, start, client, server, handshake...)
	var ids []uint64
	table.Each(func(c *flow.Conn) { ids = append(ids, c.ID) })
	if !slices.Equal(ids, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("%v", ids)
	}
}

// TestEviction checks which connection a full table evicts.
func TestEviction(t *testing.T) {
	port := func(i int) netip.AddrPort { return netip.AddrPortFrom(client.Addr(), uint16(i)) }
	open := func(table *flow.Table, at time.Time, i int) { run(table, 0, at, port(i), server, handshake...) }
	for _, c := range []struct {
		name   string
		feed   func(*flow.Table)
		want   uint16
		closed bool
	}{
		{"the one that was idle longest", func(table *flow.Table) {
			for i := range 8 {
				open(table, start.Add(time.Duration(i)*time.Second), i+1)
			}
			run(table, 0, start.Add(9*time.Second), port(1), server, step{flags: "PA", seq: 1, ack: 1, data: "x"})
		}, 2, false},
		{"a closed one first", func(table *flow.Table) {
			for i := range 8 {
				open(table, start.Add(time.Duration(i)*time.Second), i+1)
			}
			run(table, 0, start.Add(9*time.Second), port(5), server, step{flags: "R", seq: 1})
		}, 5, true},
		{"then one that was never established", func(table *flow.Table) {
			for i := range 7 {
				open(table, start.Add(time.Duration(i)*time.Second), i+1)
			}
			run(table, 0, start.Add(8*time.Second), port(8), server, step{flags: "S"})
		}, 8, false},
		{"of TCP and UDP alike", func(table *flow.Table) {
			p := packetOf(wire.LinkEthernet, headers{src: port(4), dst: server, udp: true})
			p.Time = start.UnixNano()
			table.Add(&p)
			for i := range 7 {
				open(table, start.Add(time.Duration(i+1)*time.Second), 10+i)
			}
		}, 4, false},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{MaxConns: 8}, g)
		c.feed(table)
		open(table, start.Add(10*time.Second), 99)
		why, evicted := flow.EndEvicted, uint64(1)
		if c.closed {
			why, evicted = flow.EndClosed, 0
		}
		if len(g.ended) != 1 || g.ended[0].Orig.Port != c.want || g.why[0] != why || table.Stats().Evicted != evicted {
			t.Errorf("%s: %v, %+v", c.name, g.log, table.Stats())
		}
	}
}

// A flood of SYNs or datagrams evicts its own connections, not established ones.
func TestFloodEvictsItself(t *testing.T) {
	for _, udp := range []bool{false, true} {
		table := flow.NewTable(flow.Config{MaxConns: 400}, nothing{})
		for i := range 200 {
			run(table, 0, start, netip.AddrPortFrom(client.Addr(), uint16(1+i)), server, handshake...)
		}
		at := start.Add(10 * time.Second)
		for i := range 10000 {
			p := packetOf(wire.LinkEthernet, headers{src: netip.AddrPortFrom(client.Addr(), uint16(10000+i)), dst: server, flags: syn, udp: udp})
			p.Time = at.Add(time.Duration(i) * time.Microsecond).UnixNano()
			table.Add(&p)
		}
		left := 0
		table.Each(func(c *flow.Conn) {
			if c.State == flow.S1 {
				left++
			}
		})
		if left != 200 || table.Len() != 400 {
			t.Errorf("UDP %v: %d of 200 left, %d in the table", udp, left, table.Len())
		}
	}
}

// A generator of hostile packets cannot make the table grow past its bounds.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	g := newGather(t)
	const conns, buffered = 50, 20000
	table := flow.NewTable(flow.Config{MaxConns: conns, MaxBuffered: buffered, MaxBufferedPerSide: 5000, Loopback: func(i uint16) bool { return i == 1 }}, g)
	at := start
	for range 30000 {
		from := withPort(client, uint16(r.IntN(60)+40000))
		at = run(table, uint16(r.IntN(2)), at, from, server, step{
			server: r.IntN(2) == 0, flags: []string{"A", "A", "A", "A", "A", "A", "A", "A", "A", "A", "A", "A", "S", "FA", "R", "SA"}[r.IntN(16)],
			seq: uint32(r.IntN(20000)), ack: uint32(r.IntN(2000)), data: string(make([]byte, r.IntN(900))),
		}).Add(-900 * time.Microsecond)
		if s := table.Stats(); table.Len() > conns || s.Buffered > buffered {
			t.Fatalf("%d connections, %d bytes buffered", table.Len(), s.Buffered)
		}
	}
	table.Flush()
	if s := table.Stats(); s.Buffered != 0 || s.Active != 0 || s.Evicted == 0 || s.BufferFull == 0 || int(s.Created) != len(g.ended) {
		t.Errorf("%+v, %d ended", s, len(g.ended))
	}
}
