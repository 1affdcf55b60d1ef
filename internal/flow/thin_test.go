package flow_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// settled is a Handler that is done with a connection after the first bytes.
type settled struct {
	*gather
	table *flow.Table
}

func (s *settled) Data(c *flow.Conn, g *flow.Segment) {
	s.gather.Data(c, g)
	s.table.Done(c, false)
}

// thinTable returns a table with an open connection between client and server, the log of its Handler, and the
// time after the last packet.
func thinTable(t *testing.T) (*flow.Table, *gather, time.Time) {
	t.Helper()
	g := newGather(t)
	h := &settled{gather: g}
	h.table = flow.NewTable(flow.Config{}, h)
	h.table.Thin(8, false) // from now on busy connections are noted
	at := run(h.table, 0, start, client, server, after(step{flags: "PA", seq: 1, ack: 1, data: "a"}, step{server: true, flags: "PA", seq: 1, ack: 2, data: "b"})...)
	return h.table, g, at
}

// asks makes client and server send a byte each, several times.
func asks(table *flow.Table, at time.Time, from, times int) time.Time {
	for i := range uint32(times) {
		seq := uint32(from) + i
		at = run(table, 0, at, client, server, step{flags: "PA", seq: seq, ack: seq, data: "a"}, step{server: true, flags: "PA", seq: seq, ack: seq + 1, data: "b"})
	}
	return at
}

func ends(c flow.Conn) string {
	return fmt.Sprintf("%d+%d bytes, %d+%d missed, %d+%d packets, %s", c.Orig.Bytes, c.Resp.Bytes, c.Orig.Missed, c.Resp.Missed, c.Orig.Packets, c.Resp.Packets, c.State)
}

// Segments at any offset of a thinned connection do not confuse the table: buffered data stay after the next byte of
// the stream, and forged numbers cannot stop the tap.
func TestThinAtRandom(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 7))
		table, _, at := thinTable(t)
		at = asks(table, at, 2, 200)
		if table.Thin(8, false); len(table.Thinned()) != 1 {
			t.Fatal("it is not thinned")
		}
		data := strings.Repeat("x", 1400)
		for range 2000 {
			far := []int{3000, 300_000, 40 << 20, 100 << 20}[random.IntN(4)]
			s := step{server: random.IntN(2) == 0, flags: "PA", seq: uint32(202 + random.IntN(far) - far/8), ack: uint32(202 + random.IntN(far) - far/8), data: data[:random.IntN(len(data))]}
			if random.IntN(100) == 0 {
				s.flags, s.data = []string{"R", "RA", "FA"}[random.IntN(3)], ""
			}
			at = run(table, 0, at, client, server, s)
			if random.IntN(50) == 0 {
				table.Thin(8, random.IntN(2) == 0)
			}
		}
		table.Flush()
	}
}

// Only connections that are done and busy are chosen. If the choice is made afresh, a connection must be busy again.
func TestThinChoosesBusyConnections(t *testing.T) {
	table, _, at := thinTable(t)
	look := func(what string, most int, afresh, changed bool, chosen int) {
		t.Helper()
		if got := table.Thin(most, afresh); got != changed || len(table.Thinned()) != chosen {
			t.Errorf("%s: changed %t, %d chosen; want %t and %d", what, got, len(table.Thinned()), changed, chosen)
		}
	}

	look("a new one", 8, false, false, 0)
	at = asks(table, at, 2, 20)
	look("a few packets", 8, false, false, 0)
	at = asks(table, at, 22, 100)
	look("no capacity", 0, false, false, 0)
	look("busy before the last call", 8, false, false, 0)
	at = asks(table, at, 122, 100)
	look("busy", 8, false, true, 1)
	look("that is known", 8, false, false, 1)
	look("afresh", 8, true, true, 0)
	at = asks(table, at, 222, 200)
	look("busy again", 8, true, true, 1)
	if table.ThinnedEnded() {
		t.Error("nothing has ended")
	}
	run(table, 0, at, client, server, step{flags: "FA", seq: 422, ack: 422})
	if !table.ThinnedEnded() {
		t.Error("one end has closed, and the choice is the same")
	}
	look("at its end", 8, false, true, 0)
	asks(table, at, 423, 100)
	look("after its end", 8, false, false, 0)
}

// Neither connections that are not done nor UDP connections are ever chosen, even if they are busy.
func TestThinLeavesOthersAlone(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	table.Thin(8, false)
	asks(table, run(table, 0, start, client, server, after()...), 1, 300)
	if table.Thin(8, false) || len(table.Thinned()) != 0 {
		t.Error("a connection was chosen that is not done")
	}
	h := &settled{gather: newGather(t)}
	h.table = flow.NewTable(flow.Config{}, h)
	h.table.Thin(8, false)
	for i := range 300 {
		d := headers{src: client, dst: server, udp: true, payload: []byte("x")}
		packet := wrap(wire.LinkEthernet, d.ip(), 0)
		h.table.Add(&flow.Packet{Time: start.UnixNano() + int64(i), Data: packet, Length: len(packet), Link: wire.LinkEthernet})
	}
	if h.table.Thin(8, false) || len(h.table.Thinned()) != 0 {
		t.Error("UDP was chosen")
	}
}

// Bytes that a filter left out of a chosen connection are counted by sequence numbers. They are not a gap. The
// connections of the test end in different ways.
func TestThinCountsBySequenceNumbers(t *testing.T) {
	var far []step
	for i := range uint32(300) { // one packet for each 16 MiB of the stream, as the filter passes them
		far = append(far, step{flags: "PA", seq: 203 + (i+1)*16<<20, ack: 204, data: "a"})
	}
	farEnd := far[len(far)-1].seq + 1
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"FINs": {[]step{{flags: "FA", seq: 50000, ack: 90000}, {server: true, flags: "FA", seq: 90000, ack: 50001}}, "49999+89999 bytes, 0+0 missed, 206+205 packets, SF"},
		"a packet between": {[]step{
			{flags: "PA", seq: 30000, ack: 40000, data: "a"}, {flags: "FA", seq: 50000, ack: 90000}, {server: true, flags: "FA", seq: 90000, ack: 50001},
		}, "49999+89999 bytes, 0+0 missed, 207+205 packets, SF"},
		"more than 4 GiB": {
			append(far, step{flags: "FA", seq: farEnd, ack: 90000}, step{server: true, flags: "FA", seq: 90000, ack: farEnd + 1}),
			fmt.Sprintf("%d+89999 bytes, 0+0 missed, 506+205 packets, SF", 300*16<<20+203),
		},
		"made up, far ahead": {[]step{
			{flags: "PA", seq: 900 << 20, ack: 204, data: "x"}, {flags: "FA", seq: 50000, ack: 90000}, {server: true, flags: "FA", seq: 90000, ack: 50001},
		}, "50000+89999 bytes, 0+0 missed, 207+205 packets, SF"},
		"a reset made up, far ahead":           {[]step{{flags: "R", seq: 900 << 20}, {flags: "PA", seq: 50000, ack: 204, data: "x"}}, "50000+203 bytes, 0+0 missed, 207+204 packets, S1"},
		"a reset":                              {[]step{{server: true, flags: "RA", seq: 90000, ack: 50000}}, "49999+89999 bytes, 0+0 missed, 205+205 packets, RSTR"},
		"a reset, its acknowledgement made up": {[]step{{server: true, flags: "RA", seq: 204, ack: 900 << 20}}, "203+203 bytes, 0+0 missed, 205+205 packets, RSTR"},
		"a reset without new numbers":          {[]step{{flags: "R", seq: 50000}}, "49999+203 bytes, 0+0 missed, 206+204 packets, RSTO"},
		"acknowledgements, no end":             {[]step{{server: true, flags: "PA", seq: 90000, ack: 50000, data: "b"}}, "49999+90000 bytes, 0+0 missed, 205+205 packets, S1"},
		"a reset that is ignored":              {[]step{{flags: "R", seq: 3 << 30}}, "203+203 bytes, 0+0 missed, 206+204 packets, S1"},
		"a packet that came earlier":           {[]step{{flags: "PA", seq: 3, ack: 1, data: "a"}}, "204+203 bytes, 0+0 missed, 206+204 packets, S1"},
	} {
		t.Run(name, func(t *testing.T) {
			table, g, at := thinTable(t)
			at = asks(table, at, 2, 202)
			if !table.Thin(8, false) {
				t.Fatal("it was not chosen")
			}
			before := strings.Join(g.log, "\n")
			run(table, 0, at, client, server, c.steps...)
			table.Flush()
			if len(g.ended) != 1 {
				t.Fatalf("%d connections", len(g.ended))
			}
			if got := ends(g.ended[0]); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if s := table.Stats(); s.Gaps != 0 || s.Buffered != 0 || s.MaxBuffered != 0 && !strings.Contains(name, "made up") {
				t.Errorf("%+v: bytes are missing or buffered", s)
			}
			if log := strings.Join(g.log, "\n"); strings.Contains(log[len(before):], "gap") {
				t.Errorf("reported: %s", log)
			}
		})
	}
}

// A connection that reuses the ports of a chosen connection is a new one, and no packets of it are left out.
func TestThinForgetsReusedPorts(t *testing.T) {
	table, g, at := thinTable(t)
	at = asks(table, at, 2, 202)
	table.Thin(8, false)
	at = run(table, 0, at, client, server, step{flags: "S", seq: 1 << 20}, step{server: true, flags: "SA", seq: 7, ack: 1<<20 + 1})
	if !table.ThinnedEnded() || len(g.ended) != 1 {
		t.Fatalf("ended: %t, %d", table.ThinnedEnded(), len(g.ended))
	}
	run(table, 0, at, client, server, step{flags: "A", seq: 1<<20 + 1, ack: 8},
		step{flags: "PA", seq: 1<<20 + 1001, ack: 8, data: "a"}, step{server: true, flags: "A", seq: 8, ack: 1<<20 + 1002})
	table.Flush()
	if c := g.ended[1]; c.Thinned || c.Orig.Missed != 1000 || c.Orig.Bytes != 1 {
		t.Errorf("%s, thinned %t", ends(c), c.Thinned)
	}
}

// A forged packet far ahead moves the numbers of a chosen connection. A connection that reuses its ports, with any
// initial sequence number, is seen nevertheless.
func TestThinMadeUpNumbersHideNoConnection(t *testing.T) {
	table, g, at := thinTable(t)
	at = asks(table, at, 2, 202)
	table.Thin(8, false)
	at = run(table, 0, at, client, server, step{flags: "PA", seq: 900 << 20, ack: 204, data: "x"})
	run(table, 0, at, client, server, step{flags: "FA", seq: 204, ack: 204}, step{server: true, flags: "FA", seq: 204, ack: 205}, step{flags: "A", seq: 205, ack: 205},
		step{flags: "S", seq: 5000}, step{server: true, flags: "SA", seq: 7000, ack: 5001}, step{flags: "PA", seq: 5001, ack: 7001, data: "GET / HTTP/1.1\r\n\r\n"})
	table.Flush()
	if len(g.ended) != 2 || g.ended[1].Orig.Bytes != 18 || g.ended[1].Thinned {
		t.Fatalf("%d connections, want 2, the second one of 18 bytes: %s", len(g.ended), ends(g.ended[len(g.ended)-1]))
	}
}
