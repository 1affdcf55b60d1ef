package flow_test

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// counting sums the packets of connections that ended, by port.
type counting struct {
	nothing
	packets map[[2]uint16]uint64
	ended   int
}

func (c *counting) End(x *flow.Conn, _ flow.EndReason) {
	c.packets[[2]uint16{x.Orig.Port, x.Resp.Port}] += x.Orig.Packets + x.Resp.Packets
	c.ended++
}

// Connections start and end in any order, and each packet is counted for its own connection, prefetched or not.
func TestPacketsFindTheirConnections(t *testing.T) {
	const tuples, packets = 24_000, 120_000
	for _, ahead := range []bool{false, true} {
		r := rand.New(rand.NewPCG(3, 3))
		c := &counting{packets: map[[2]uint16]uint64{}}
		table := flow.NewTable(flow.Config{}, c)
		want, latest, connections := map[[2]uint16]uint64{}, map[[2]uint16]time.Time{}, 0
		now := start
		var ps []flow.Packet
		for n := range packets {
			ports := [2]uint16{uint16(40000 + r.IntN(tuples)/4), uint16(50000 + r.IntN(4))}
			from, to := withPort(client, ports[0]), withPort(server, ports[1])
			if n > 0 && r.IntN(2) == 0 && now.Sub(latest[ports]) < time.Minute {
				from, to = to, from // an answer
			}
			if now.Sub(latest[ports]) >= time.Minute {
				connections++
			}
			want[ports]++
			latest[ports] = now
			p := packetOf(wire.LinkEthernet, headers{src: from, dst: to, udp: true})
			p.Time = now.UnixNano()
			ps = append(ps, p)
			// Bursts create connections, and after each burst some connections have expired.
			now = now.Add(time.Millisecond)
			if n%24_000 == 23_999 {
				now = now.Add(55 * time.Second)
			}
		}

		for n := range ps {
			if ahead && n%flow.MaxPrefetch == 0 {
				table.Prefetch(ps[n:])
			}
			table.Add(&ps[n])
		}
		most := table.Len()
		table.Flush()
		if c.ended != connections || !maps.Equal(c.packets, want) || table.Len() != 0 {
			t.Errorf("ahead %v: %d connections, want %d; %d left", ahead, c.ended, connections, table.Len())
		}
		if most < 12_000 || connections < 3*most/2 {
			t.Errorf("%d connections, %d at the end: too few for a result", connections, most)
		}
	}
}

// Prefetch allocates no memory for any packet.
func TestPrefetchDoesNotAllocate(t *testing.T) {
	table := flow.NewTable(flow.Config{}, nothing{})
	var ps []flow.Packet
	for i := range 12_000 {
		p := packetOf(wire.LinkEthernet, headers{src: netip.AddrPortFrom(client.Addr(), uint16(1024+i)), dst: server, flags: syn})
		p.Time = start.UnixNano()
		ps = append(ps, p)
	}
	for i := range ps[:10_000] {
		table.Add(&ps[i])
	}
	ps[9995].Data = ps[9995].Data[:20] // not a packet
	before := table.Stats()
	at := 9990 // known connections, then unknown ones
	if got := testing.AllocsPerRun(100, func() { table.Prefetch(ps[at:]); at = (at + 7) % len(ps) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if table.Stats() != before || table.Len() != 10_000 {
		t.Errorf("%+v, was %+v", table.Stats(), before)
	}
}
