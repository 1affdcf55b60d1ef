package flow_test

import (
	"net/netip"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// facing adds steps of one face of a redirected connection: the originator's packets go to the proxy, and packets to
// the originator come from the original destination.
func facing(table *flow.Table, pod, proxy, meant netip.AddrPort, steps ...step) {
	for _, s := range steps {
		to := proxy
		if s.server {
			to = meant
		}
		run(table, 0, start, pod, to, s)
	}
}

func TestRedirectedFacesArePaired(t *testing.T) {
	whole := after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "HTTP"},
		step{flags: "FA", seq: 4, ack: 5}, step{server: true, flags: "FA", seq: 5, ack: 5})
	swapped := append([]step{whole[4]}, whole[3], whole[5], whole[6])
	for _, addr := range []struct{ pod, proxy, meant string }{
		{"10.2.2.1:40000", "127.0.0.1:15001", "10.2.2.2:80"},
		{"[fd00::1]:40000", "[::1]:15001", "[fd00::2]:80"},
		{"127.0.0.1:40000", "127.0.0.1:15001", "10.2.2.2:80"},
	} {
		pod, proxy, meant := netip.MustParseAddrPort(addr.pod), netip.MustParseAddrPort(addr.proxy), netip.MustParseAddrPort(addr.meant)
		for name, steps := range map[string][]step{"whole": whole, "without the handshake": whole[3:], "the answer first": swapped} {
			g := newGather(t)
			table := flow.NewTable(flow.Config{Loopback: func(uint16) bool { return true }}, g)
			facing(table, pod, proxy, meant, steps...)
			if table.Len() != 1 || table.Stats().Redirected != 1 {
				t.Fatalf("%v %s: %d connections, %+v", pod, name, table.Len(), table.Stats())
			}
			table.Flush()
			e := g.ended[0]
			if e.Orig.Addr != pod.Addr() || e.Resp.Addr != meant.Addr() || e.Resp.Port != 80 || e.Redirected == nil || e.Redirected.Addr != proxy.Addr() || e.Redirected.Port != 15001 {
				t.Errorf("%v %s: %v redirected to %v", pod, name, e.String(), e.Redirected)
			}
			if e.Resp.Bytes != 4 || e.Orig.Bytes != 3 || string(g.streams[1][0]) != "GET" || string(g.streams[1][1]) != "HTTP" || e.Conflict {
				t.Errorf("%v %s: %v", pod, name, g.log)
			}
			facing(table, pod, proxy, meant, handshake...) // both keys must be free again
			if table.Len() != 1 {
				t.Errorf("%v %s: %d connections of the same ports", pod, name, table.Len())
			}
		}
	}
}

// Faces that do not match are not paired.
func TestFacesThatDoNotFit(t *testing.T) {
	pod, proxy, meant := netip.MustParseAddrPort("10.2.2.1:40000"), netip.MustParseAddrPort("127.0.0.1:15001"), netip.MustParseAddrPort("10.2.2.2:80")
	other := netip.MustParseAddrPort("10.2.2.3:80")
	for _, c := range []struct {
		name     string
		loopback bool
		feed     func(*flow.Table)
	}{
		{"not on loopback", false, func(table *flow.Table) { facing(table, pod, proxy, meant, handshake...) }},
		{"another acknowledgement", true, func(table *flow.Table) {
			facing(table, pod, proxy, meant, step{flags: "S"}, step{server: true, flags: "SA", ack: 2})
		}},
		{"numbers far off in mid-stream", true, func(table *flow.Table) {
			facing(table, pod, proxy, meant, step{flags: "PA", seq: 1, ack: 1, data: "x"}, step{server: true, flags: "PA", seq: 1 << 24, ack: 2, data: "x"})
		}},
		{"acknowledgements far off in mid-stream", true, func(table *flow.Table) {
			facing(table, pod, proxy, meant, step{flags: "PA", seq: 1, ack: 1, data: "x"}, step{server: true, flags: "PA", seq: 1, ack: 1 << 24, data: "x"})
		}},
		{"the same, the response first", true, func(table *flow.Table) {
			facing(table, pod, proxy, meant, step{server: true, flags: "PA", seq: 1, ack: 1 << 24, data: "x"}, step{flags: "PA", seq: 1, ack: 1, data: "x"})
		}},
		{"already answered", true, func(table *flow.Table) {
			run(table, 0, start, pod, proxy, handshake...)
			run(table, 0, start, pod, other, step{server: true, flags: "SA", ack: 1})
		}},
		{"two requests", true, func(table *flow.Table) {
			run(table, 0, start, pod, proxy, step{flags: "S"})
			run(table, 0, start, pod, other, step{flags: "S"})
		}},
	} {
		table := flow.NewTable(flow.Config{Loopback: func(uint16) bool { return c.loopback }}, nothing{})
		c.feed(table)
		if table.Len() != 2 || table.Stats().Redirected != 0 {
			t.Errorf("%s: %d connections, %+v", c.name, table.Len(), table.Stats())
		}
	}
}

// Both keys of a redirected connection count against the bound, and are removed together.
func TestRedirectedConnectionsAreBounded(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{MaxConns: 7, Loopback: func(uint16) bool { return true }}, g)
	for i := range 100 {
		pod := netip.AddrPortFrom(client.Addr(), uint16(40000+i))
		facing(table, pod, netip.MustParseAddrPort("127.0.0.1:15001"), netip.AddrPortFrom(server.Addr(), 80), handshake...)
		if table.Len() > 7 {
			t.Fatalf("%d connections", table.Len())
		}
	}
	table.Flush()
	if s := table.Stats(); table.Len() != 0 || int(s.Created) != len(g.ended) || s.Redirected != 100 {
		t.Errorf("%+v, %d ended", s, len(g.ended))
	}
}
