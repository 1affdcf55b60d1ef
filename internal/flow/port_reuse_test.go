package flow_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestPortReuse: a connection reuses the ports of an earlier one, and its SYN is lost. It counts as another
// connection if its numbers cannot belong to the earlier one. Gaps that occur under load, and packets of only one
// end, do not start a connection.
func TestPortReuse(t *testing.T) {
	earlier := after(step{flags: "PA", seq: 1, ack: 1, data: "old"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "OLD"}, step{flags: "A", seq: 4, ack: 4})
	fins := []step{{flags: "FA", seq: 4, ack: 4}, {server: true, flags: "FA", seq: 4, ack: 5}, {flags: "A", seq: 5, ack: 5}}
	rst := []step{{flags: "RA", seq: 4, ack: 4}}
	// talk returns a request and its answer at some distance in the numbers, without the packets before them
	talk := func(client, server uint32) []step {
		return []step{
			{flags: "PA", seq: client + 1, ack: server + 1, data: "new"},
			{server: true, flags: "A", seq: server + 1, ack: client + 4},
			{server: true, flags: "PA", seq: server + 1, ack: client + 4, data: "NEW"},
			{flags: "A", seq: client + 4, ack: server + 4},
		}
	}

	opened := func(client, server uint32, lost int) []step {
		return append([]step{{flags: "S", seq: client}, {server: true, flags: "SA", seq: server, ack: client + 1}, {flags: "A", seq: client + 1, ack: server + 1}}[lost:], talk(client, server)...)
	}
	backwards := func(n uint32) uint32 { return -n }
	for name, c := range map[string]struct {
		then  []step
		conns int
		want  string // the end of the delivered bytes
	}{
		"far ahead":                      {talk(900e6, 900e6), 2, "end S1 c0 new s0 NEW"},
		"far back":                       {talk(backwards(900e6), backwards(900e6)), 2, "end S1 c0 new s0 NEW"},
		"one ahead, one back":            {talk(100e6, backwards(100e6)), 2, "end S1 c0 new s0 NEW"},
		"the server's beyond any window": {talk(3, 1800e6), 2, "end S1 c0 new s0 NEW"},
		"the server's beyond any window, backwards": {talk(3, backwards(1800e6)), 2, "end S1 c0 new s0 NEW"},
		"the client's beyond any window":            {talk(1800e6, 3), 2, "end S1 c0 new s0 NEW"},
		"the SYN-ACK is seen":                       {opened(900e6, 900e6, 1), 2, "end S1 c0 new s0 NEW"},
		"the third packet is seen":                  {opened(900e6, 900e6, 2), 2, "end S1 c0 new s0 NEW"},
		"a little ahead, after both FINs":           {slices.Concat(fins, talk(100e3, 200e3)), 2, "c0 new s0 NEW"},
		"far back, after both FINs":                 {slices.Concat(fins, talk(backwards(900e6), backwards(90e6))), 2, "c0 new s0 NEW"},
		"a little ahead, after a RST":               {slices.Concat(rst, talk(100e3, 200e3)), 2, "c0 new s0 NEW"},
		"the SYN-ACK is seen, after a RST":          {slices.Concat(rst, opened(100e3, 200e3, 1)), 2, "c0 new s0 NEW"},
		"one back beyond any window, after a RST":   {slices.Concat(rst, talk(backwards(1800e6), 3)), 2, "c0 new s0 NEW"},
		"the SYN looks like an old one":             {slices.Concat([]step{{flags: "S", seq: backwards(10e6)}}, opened(backwards(10e6), 30e6, 2)), 2, "end S1 c0 new s0 NEW"},
		"an old SYN, and the stream continues":      {[]step{{flags: "S", seq: backwards(10e6)}, {flags: "PA", seq: 4, ack: 4, data: "more"}, {server: true, flags: "PA", seq: 4, ack: 8, data: "MORE"}}, 1, "c3 more s3 MORE"},
		"one back, one a little ahead":              {talk(20e6, backwards(500e6)), 2, "end S1 c0 new s0 NEW"},
		"gaps of 10 MB":                             {talk(10e6, 10e6), 1, ""},
		"gaps of 60 MB":                             {talk(60e6, 60e6), 1, ""},
		"the server's gap of 1 GB":                  {talk(3, 1e9), 1, ""},
		"only one end, far ahead":                   {talk(900e6, 900e6)[:1], 1, "s0 OLD"},
		"only one end, twice":                       {slices.Concat(talk(900e6, 900e6)[:1], talk(900e6+3, 900e6)[:1]), 1, "s0 OLD"},
		"both ends, which do not match":             {slices.Concat(talk(900e6, 900e6)[:1], talk(900e6, 500e6)[2:3]), 1, "s0 OLD"},
		"a copy after both FINs":                    {slices.Concat(fins, earlier[3:5]), 1, "sFIN"},
		"data in flight at a RST":                   {slices.Concat(rst, []step{{server: true, flags: "PA", seq: 4, ack: 4, data: "LATE"}}), 1, "s3 LATE"},
		"a forged RST, and the stream continues":    {slices.Concat(rst, []step{{flags: "PA", seq: 4, ack: 4, data: "more"}, {server: true, flags: "PA", seq: 4, ack: 8, data: "MORE"}}), 1, "c3 more s3 MORE"},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, slices.Concat(earlier, c.then)...)
		log := strings.Join(g.log, " ")
		if got := table.Stats(); got.Created != uint64(c.conns) || got.Reused != uint64(c.conns-1) || c.conns == 2 && !strings.HasSuffix(log, c.want) || !strings.Contains(log, c.want) {
			t.Errorf("%s: %d connections, %s", name, got.Created, log)
		}
	}
}

// The buffer for packets that may start other connections is bounded, and is freed when their connection ends.
func TestPortReuseIsBounded(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := start
	for port := range uint16(100) {
		from := netip.AddrPortFrom(client.Addr(), 40000+port)
		at = run(table, 0, at, from, server, after(step{flags: "PA", seq: 1, ack: 1, data: "a"}, step{server: true, flags: "PA", seq: 1, ack: 2, data: "b"},
			step{flags: "PA", seq: 1e9, ack: 1e9, data: strings.Repeat("c", 60000)})...)
	}
	if kept := table.Strangers(); kept == 0 || kept > 8*16<<10 {
		t.Errorf("%d bytes are buffered", kept)
	}
	table.Tick(at.Add(2 * time.Hour).UnixNano())
	at = at.Add(2 * time.Hour)
	from := netip.AddrPortFrom(client.Addr(), 40099)
	run(table, 0, at, from, server, step{server: true, flags: "PA", seq: 1e9, ack: 1e9 + 60000, data: "d"})
	if s := table.Stats(); s.Reused != 0 || s.Created != 101 || s.Active != 1 {
		t.Errorf("%+v", s)
	}
}
