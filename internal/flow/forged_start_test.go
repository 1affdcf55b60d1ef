package flow_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestForgedStart: a segment of a third host that does not know the connection's numbers has no effect at any point of the
// connection, its start included: both ends drop it (RFC 9293, section 3.10.7).
func TestForgedStart(t *testing.T) {
	honest := after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"}, step{flags: "PA", seq: 4, ack: 4, data: "end"},
		step{server: true, flags: "A", seq: 4, ack: 7})
	const want = "c0 GET s0 200 c3 end end S1"
	for name, forged := range map[string]step{
		"text":                           {flags: "PA", seq: 0x12345678, ack: 0x23456789, data: "text of another"},
		"text, a little back":            {flags: "PA", seq: ^uint32(3000), ack: 0x23456789, data: "text of another"},
		"text, past the first window":    {flags: "PA", seq: 70_000, ack: 0x23456789, data: "text of another"},
		"text without an ACK bit":        {flags: "P", seq: 0x12345678, data: "text of another"},
		"a SYN":                          {flags: "S", seq: 0x12345678},
		"a SYN-ACK":                      {flags: "SA", seq: 0x12345678, ack: 0x23456789},
		"a SYN-ACK with text":            {flags: "SA", seq: 0x12345678, ack: 0x23456789, data: "text of another"},
		"a FIN":                          {flags: "FA", seq: 0x12345678, ack: 0x23456789},
		"a RST":                          {flags: "R", seq: 0x12345678},
		"a RST with an ACK bit":          {flags: "RA", seq: 0x12345678, ack: 0x23456789},
		"an empty segment":               {flags: "A", seq: 0x12345678, ack: 0x23456789},
		"a SYN with text":                {flags: "S", seq: 0x12345678, data: "text of another"},
		"a SYN with text, a little back": {flags: "S", seq: ^uint32(3000), data: "text of another"},
	} {
		for _, byServer := range []bool{false, true} {
			first := 1
			if !byServer && strings.HasPrefix(forged.flags, "S") {
				first = 2 // before the SYN-ACK, the client may have begun anew
			}
			for at := first; at <= len(honest); at++ {
				for _, feed := range []func(*flow.Table, []step){
					func(table *flow.Table, s []step) { live(table, start, s...) },
					func(table *flow.Table, s []step) { run(table, 0, start, client, server, s...) },
				} {
					g := newGather(t)
					table := flow.NewTable(flow.Config{}, g)
					forged.server = byServer
					feed(table, slices.Insert(slices.Clone(honest), at, forged))
					table.Flush()
					if got := strings.Join(g.log, " "); got != want || g.ended[0].Doubtful() {
						t.Errorf("%s, in the name of the server %t, after %d packets: %s, want %s", name, byServer, at, got, want)
					}
				}
			}
		}
	}
}

// TestStartWithLosses: the data of a connection count although its SYN-ACK, or the first packets of one end, were not captured, or packets
// were reordered.
func TestStartWithLosses(t *testing.T) {
	honest := after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"}, step{flags: "PA", seq: 4, ack: 4, data: "end"},
		step{server: true, flags: "A", seq: 4, ack: 7})
	for i := 1; i < 3; i++ { // without the SYN-ACK, or the acknowledgement of it, or both
		for n := 1; n <= 2 && i+n <= 3; n++ {
			g := newGather(t)
			table := flow.NewTable(flow.Config{}, g)
			run(table, 0, start, client, server, slices.Delete(slices.Clone(honest), i, i+n)...)
			table.Flush()
			if got := strings.Join(g.log, " "); !strings.HasPrefix(got, "c0 GET s0 200 c3 end end") || len(g.ended) != 1 {
				t.Errorf("without %d packets from %d: %s", n, i, got)
			}
		}
	}
	for i := 1; i+1 < len(honest); i++ {
		swapped := slices.Clone(honest)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, swapped...)
		table.Flush()
		log := strings.Join(g.log, " ")
		if len(g.ended) != 1 || !strings.Contains(log, "c0 GET") || !strings.Contains(log, "s0 200") || !strings.Contains(log, "c3 end") {
			t.Errorf("packets %d and %d in the other order: %s", i, i+1, log)
		}
	}
}

// TestDataOfSYNAfterStaleConnection: a connection with data in its SYN (RFC 7413) reuses the ports of one whose end was not captured. The data
// counts as missing, and is not called absent.
func TestDataOfSYNAfterStaleConnection(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 0, start, client, server, after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "A", seq: 1, ack: 4},
		step{flags: "S", seq: 900_000, data: "POST"}, step{server: true, flags: "SA", seq: 5_000_000, ack: 900_005}, step{server: true, flags: "PA", seq: 5_000_001, ack: 900_005, data: "200"},
		step{flags: "PA", seq: 900_005, ack: 5_000_004, data: "end"})...)
	table.Flush()
	if len(g.ended) != 2 || g.ended[1].Orig.Missed != 4 || !strings.Contains(strings.Join(g.log, " "), "s0 200") {
		t.Errorf("%s: %d connections, the second one lacks %d bytes, want 4", strings.Join(g.log, " "), len(g.ended), g.ended[len(g.ended)-1].Orig.Missed)
	}
}

// TestForgedHandshake: a third host that forges a SYN and its answer begins another connection in a capture file. In a live capture the answer
// arrives from an address of the host itself, and does not count.
func TestForgedHandshake(t *testing.T) {
	steps := after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"},
		step{flags: "S", seq: 900_000}, step{server: true, flags: "SA", seq: 5_000_000, ack: 900_001}, step{flags: "PA", seq: 4, ack: 4, data: "end"}, step{server: true, flags: "A", seq: 4, ack: 7})
	for isLive, want := range map[bool]int{false: 1, true: 0} {
		table := flow.NewTable(flow.Config{Local: func(a netip.Addr) bool { return a == server.Addr() }}, newGather(t))
		at := start
		for i, s := range steps {
			p := s.packet(client, server)
			p.Time = at.UnixNano()
			if isLive {
				p.Origin = flow.OriginArrived
				if s.server && i != 6 { // packet 6 is the forged SYN-ACK
					p.Origin = flow.OriginSent
				}
			}
			table.Add(&p)
			at = at.Add(time.Millisecond)
		}
		if got := table.Stats().Reused; got == 0 != (want == 0) {
			t.Errorf("live %t: %d connections with the same ports, want %d or more", isLive, got, want)
		}
	}
}
