package flow_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestForgedPackets: a third host can send packets that the tap sees and the pod's kernel drops, because they have a
// bad checksum, a TTL that is too small, or forged numbers. The data that the kernel accepts must still be delivered,
// or the contradiction must be noticed.
func TestForgedPackets(t *testing.T) {
	ask := step{flags: "PA", seq: 1, ack: 1, data: "GET"}
	got := step{server: true, flags: "A", seq: 1, ack: 4}
	for _, c := range []struct {
		name  string
		steps []step
		want  string // a part of the log
		clear bool   // there must be no conflict
	}{
		{"a FIN before the data", after(step{flags: "FA", seq: 1, ack: 1}, ask), "c0 GET", false},
		{"a FIN inside of the data", after(step{flags: "FA", seq: 2, ack: 1}, ask), "c0 GET", false},
		{"a FIN far ahead", after(step{flags: "FA", seq: 90000, ack: 1}, ask), "c0 GET", true},
		{"a FIN before buffered data", after(step{flags: "PA", seq: 4, ack: 1, data: "more"}, step{flags: "FA", seq: 4, ack: 1}, ask), "c0 GET, c3 more, end S1", false},
		{"a FIN far ahead, and the true one", after(step{flags: "FA", seq: 90000, ack: 1}, ask, step{flags: "FA", seq: 4, ack: 1}), "c0 GET, changed cFIN, end S2", true},
		{"a FIN outside of any window", after(step{flags: "FA", seq: 1 << 31, ack: 1}, ask), "c0 GET", true},
		{"a RST outside of any window", after(step{flags: "R", seq: 1 << 31}, ask, got), "c0 GET, end S1", true},
		{"an old RST", after(ask, got, step{flags: "R", seq: 1}, step{flags: "PA", seq: 4, ack: 1, data: "more"}), "c3 more, end S1", true},
		{"a RST ahead", after(step{flags: "R", seq: 500}, ask, got), "c0 GET", true},
		{"a SYN with numbers ahead, in the middle", after(ask, got,
			step{flags: "S", seq: 1 << 30}, step{flags: "PA", seq: 4, ack: 1, data: "more"}), "c0 GET, c3 more, end S1", true},
		{"a SYN with numbers further back, first", []step{{flags: "S", seq: ^uint32(1 << 29)}, {server: true, flags: "SA", ack: 1}, handshake[2], {server: true, flags: "A", seq: 1, ack: 1}, ask}, "c0 GET", false},
		{"an acknowledgement as the first packet", []step{{server: true, flags: "A", seq: 1, ack: 1 << 29}, ask}, "c0 GET", true},
		{"an acknowledgement of data that was never sent", after(step{server: true, flags: "A", seq: 1, ack: 1 << 31}, ask), "c0 GET", true},
		{"data ahead that are never sent", after(step{flags: "PA", seq: 40000, ack: 1, data: "junk"}, ask, got,
			step{flags: "PA", seq: 4, ack: 1, data: "more", wait: time.Hour / 2}), "c0 GET, c3 more", true},
		{"data ahead that are sent later with other bytes", after(step{flags: "PA", seq: 4, ack: 1, data: "junk"}, ask,
			step{flags: "PA", seq: 4, ack: 1, data: "more"}), "c0 GET", false},
		{"data outside of any window", after(step{flags: "PA", seq: 1<<30 + 9, ack: 1, data: "junk"}, ask), "c0 GET", true},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, c.steps...)
		table.Flush()
		conflict := slices.ContainsFunc(g.ended, func(c flow.Conn) bool { return c.Conflict })
		if log := strings.Join(g.log, ", "); !strings.Contains(log, c.want) || conflict == c.clear {
			t.Errorf("%s: %s, conflict %v", c.name, log, conflict)
		}
	}
}

// Segments with numbers that no receiver accepts are counted and have no effect. A receiver drops segments that
// acknowledge data which it never sent (RFC 9293, section 3.10.7.4).
func TestUnacceptable(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 0, start, client, server, after(
		step{flags: "PA", seq: 1<<30 + 2, ack: 1, data: "junk"}, step{flags: "FA", seq: 1<<30 + 2, ack: 1}, step{flags: "R", seq: 1<<30 + 2},
		step{server: true, flags: "PA", seq: 1, ack: 1<<30 + 1<<22, data: "junk"}, step{server: true, flags: "PA", seq: 1, ack: 1, data: "HTTP"}, step{flags: "PA", seq: 1, ack: 5, data: "GET"})...)
	if s := table.Stats(); s.Unacceptable != 4 || s.Buffered != 0 || sprint(g.log) != "[s0 HTTP c0 GET]" || sprint(g.acks) != "[0 4]" {
		t.Errorf("%+v, %v, acknowledging %v", s, g.log, g.acks)
	}
}

// A stream continues after the loss of more bytes than a window, because the receiver has acknowledged them.
func TestLostForLong(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := run(table, 0, start, client, server, afterWide(step{flags: "PA", seq: 1, ack: 1, data: "a"})...)
	for i := range uint32(3) {
		at = run(table, 0, at, client, server, step{server: true, flags: "A", seq: 1, ack: (i + 1) << 29})
	}
	run(table, 0, at, client, server, step{flags: "PA", seq: 3 << 29, ack: 1, data: "b"})
	table.Flush()
	if sprint(g.log) != "[c0 a c1610612735 gap 1610612734 b end S1]" {
		t.Errorf("%v", g.log)
	}
}

// If the assumed start of a stream was forged, later segments of the stream are still compared with the earlier ones.
func TestConflictBehindForgedBeginning(t *testing.T) {
	table := flow.NewTable(flow.Config{}, nothing{})
	run(table, 0, start, client, server, step{flags: "S", seq: ^uint32(1 << 24)}, step{server: true, flags: "A", seq: 1, ack: 1},
		step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{flags: "PA", seq: 1, ack: 1, data: "PUT"})
	if s := table.Stats(); s.Conflicts != 2 {
		t.Errorf("%+v", s)
	}
}

// A forged FIN does not make later acknowledgements wrong.
func TestAcknowledgementsBehindForgedFIN(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 0, start, client, server, after(step{flags: "FA", seq: 1, ack: 1}, step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "HTTP"})...)
	if sprint(g.acks) != "[0 3]" {
		t.Errorf("%v", g.acks)
	}
}

// A packet whose IP length exceeds the frame does not count: its length would skip bytes that the receiver does get.
func TestForgedLength(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := run(table, 0, start, client, server, handshake...)
	forged := step{flags: "PA", seq: 1, ack: 1, data: "G"}
	p := forged.packet(client, server)
	binary.BigEndian.PutUint16(p.Data[16:], 20+20+1000)
	p.Time = at.UnixNano()
	table.Add(&p)
	run(table, 0, at, client, server, step{flags: "PA", seq: 1, ack: 1, data: "GET /"})
	if sprint(g.log) != "[c0 GET /]" {
		t.Errorf("%v", g.log)
	}
}

// However much data follow a gap, the table neither loses its position in the stream nor exceeds its buffer.
func TestJunkAhead(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := run(table, 0, start, client, server, afterWide()...)
	for i := range uint32(5000) {
		at = run(table, 0, at, client, server, step{flags: "PA", seq: 5_000_000 - 1000*i, ack: 1, data: "x"})
	}
	if s := table.Stats(); s.MaxBuffered > 256<<10 || s.BufferFull == 0 || len(g.log) != 0 {
		t.Fatalf("%+v, %v", s, g.log)
	}
	run(table, 0, at, client, server, step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "A", seq: 1, ack: 4}, step{flags: "PA", seq: 4, ack: 1, data: " /"})
	if sprint(g.log) != "[c0 GET c3  /]" {
		t.Errorf("%v", g.log)
	}
}

// If a budget is exceeded, a permanent gap is skipped. Without such a gap, the last piece is dropped.
func TestBudget(t *testing.T) {
	const each = 1000
	many := func(table *flow.Table, at time.Time, from uint32, n int) time.Time {
		for i := range n {
			at = run(table, 0, at, client, server, step{flags: "PA", seq: from + uint32(i)*each, ack: 1, data: strings.Repeat("x", each), wait: -time.Millisecond})
		}
		return at
	}

	first := func(g *gather) string {
		if len(g.log) == 0 {
			return ""
		}
		return strings.TrimRight(g.log[0], "x")
	}

	for _, c := range []struct {
		name string
		feed func(*flow.Table, time.Time)
		want string // the start of the delivered bytes
		held int    // number of buffered pieces
	}{
		{"the receiver lacks the bytes", func(table *flow.Table, at time.Time) { many(table, at, 11, 20) }, "", 8},
		{"the receiver lacks the bytes, last piece first", func(table *flow.Table, at time.Time) {
			many(table, many(table, at, 100_011, 20), 11, 20)
			run(table, 0, at, client, server, step{flags: "PA", seq: 1, ack: 1, data: "0123456789"})
		}, "c0 0123456789", 0},
		{"the receiver has the bytes", func(table *flow.Table, at time.Time) {
			run(table, 0, at, client, server, step{server: true, flags: "A", seq: 1, ack: 50_000})
			many(table, at, 11, 20)
		}, "c10 gap 10 ", 0},
		{"the sender has reset the connection", func(table *flow.Table, at time.Time) {
			run(table, 0, at, client, server, step{flags: "R", seq: 50_001})
			many(table, at, 11, 20)
		}, "c10 gap 10 ", 0},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{MaxBufferedPerSide: 8 * (each + 128)}, g)
		c.feed(table, run(table, 0, start, client, server, handshake...))
		var held int
		table.Each(func(c *flow.Conn) { _, held, _ = c.Buffered(flow.Originator) })
		if first(g) != c.want || held != c.held || table.Stats().BufferFull == 0 {
			t.Errorf("%s: %v, %d pieces are buffered", c.name, first(g), held)
		}
	}

	g := newGather(t)
	table := flow.NewTable(flow.Config{MaxBufferedPerSide: 8 * (each + 128)}, g)
	run(table, 0, start, client, server, step{flags: "S"})
	many(table, start, 11, 20) // only one direction is captured, so there are no acknowledgements
	if first(g) != "c10 gap 10 " {
		t.Errorf("one direction only: %v", first(g))
	}
}

// One stream cannot use the table's whole budget, and small pieces count with their bookkeeping.
func TestBudgetIsShared(t *testing.T) {
	table := flow.NewTable(flow.Config{MaxBuffered: 100_000}, nothing{})
	for i := range uint16(3) {
		from := withPort(client, 40000+i)
		at := run(table, 0, start, from, server, handshake...)
		for j := range uint32(1000) {
			at = run(table, 0, at, from, server, step{flags: "PA", seq: 11 + 1000*j, ack: 1, data: strings.Repeat("x", 900)})
		}
	}

	table.Each(func(c *flow.Conn) {
		if cost, _, _ := c.Buffered(flow.Originator); cost < 10_000 || cost > 34_000 {
			t.Errorf("%v holds %d", c, cost)
		}
	})
	table = flow.NewTable(flow.Config{}, nothing{})
	at := run(table, 0, start, client, server, handshake...)
	for j := range uint32(1000) {
		at = run(table, 0, at, client, server, step{flags: "PA", seq: 11 + 2*j, ack: 1, data: "x"})
	}
	table.Each(func(c *flow.Conn) {
		if _, pieces, _ := c.Buffered(flow.Originator); pieces != 512 {
			t.Errorf("%d pieces", pieces)
		}
	})
	for j := range uint32(511) { // all but the last segment
		at = run(table, 0, at, client, server, step{flags: "PA", seq: 1 + 2*j, ack: 1, data: strings.Repeat("x", 10)})
	}
	table.Each(func(c *flow.Conn) {
		if _, pieces, room := c.Buffered(flow.Originator); pieces == 0 || pieces > 5 || room > 64 {
			t.Errorf("%d pieces, capacity %d", pieces, room)
		}
	})
}

// A retransmission with different bytes is noticed for any segment boundaries, even if the receiver has acknowledged
// the bytes.
func TestConflicts(t *testing.T) {
	bytes := strings.Repeat("abcdefghij", 10)
	segment := func(from, to int, change int) step {
		b := []byte(bytes[from:to])
		if change >= 0 {
			b[change-from] = '!'
		}
		return step{flags: "PA", seq: uint32(1 + from), ack: 1, data: string(b)}
	}

	for _, c := range []struct {
		name  string
		steps []step
		want  bool
	}{
		{"the same bytes with other boundaries", []step{segment(0, 50, -1), segment(50, 100, -1), segment(20, 80, -1)}, false},
		{"the same segment", []step{segment(0, 50, -1), segment(0, 50, 49)}, true},
		{"a part of a segment", []step{segment(0, 50, -1), segment(10, 12, 11)}, true},
		{"a small segment with more after it", []step{segment(0, 5, -1), segment(5, 100, -1), segment(0, 5, 0)}, true},
		{"one byte", []step{segment(0, 100, -1), segment(40, 41, 40)}, true},
		{"over two segments", []step{segment(0, 50, -1), segment(50, 100, -1), segment(40, 60, 59)}, true},
		{"many small segments, an early one", append(tiny(segment), segment(30, 31, 30)), true},
		{"many small segments, again", append(tiny(segment), tiny(segment)...), false},
		{"out of order, buffered", []step{segment(50, 100, -1), segment(60, 70, 65)}, true},
		{"out of order, overlapping buffered bytes", []step{segment(50, 100, -1), segment(0, 60, 55)}, true},
		{"out of order, the same", []step{segment(50, 100, -1), segment(60, 100, -1), segment(0, 60, -1)}, false},
		{"acknowledged bytes", []step{segment(0, 50, -1), {server: true, flags: "A", seq: 1, ack: 51}, segment(0, 50, 10)}, true},
		{"acknowledged bytes, the same ones", []step{segment(0, 50, -1), {server: true, flags: "A", seq: 1, ack: 51}, segment(10, 50, -1)}, false},
		{"a keep-alive probe with a byte of garbage", []step{segment(0, 50, -1), {server: true, flags: "A", seq: 1, ack: 51}, segment(49, 50, 49)}, false},
		{"one byte before it", []step{segment(0, 50, -1), {server: true, flags: "A", seq: 1, ack: 51}, segment(48, 49, 48)}, true},
		{"bytes acknowledged in part", []step{segment(0, 50, -1), {server: true, flags: "A", seq: 1, ack: 41}, segment(0, 50, 40)}, true},
		{"acknowledged bytes, while others are buffered", []step{
			segment(0, 50, -1), segment(60, 100, -1), {server: true, flags: "A", seq: 1, ack: 101}, segment(0, 100, 70)}, true},
		{"skipped bytes that arrive after all", []step{
			segment(50, 100, -1), {flags: "R", seq: 200}, {server: true, flags: "A", seq: 1, ack: 1, wait: 2 * time.Second}, segment(0, 50, -1)}, true},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, after(c.steps...)...)
		table.Flush()
		if s := table.Stats(); g.ended[0].Conflict != c.want || (s.Conflicts > 0) != c.want || s.Unverified != 0 {
			t.Errorf("%s: conflict %v, %+v", c.name, g.ended[0].Conflict, s)
		}
	}
}

// tiny splits the conversation of TestConflicts into segments of one byte.
func tiny(segment func(from, to, change int) step) (s []step) {
	for i := range 100 {
		s = append(s, segment(i, i+1, -1))
	}
	return s
}

// A retransmission of bytes that are no longer remembered counts as a conflict.
func TestConflictsThatCannotBeChecked(t *testing.T) {
	first := step{flags: "PA", seq: 1, ack: 1, data: "GET /"}
	for _, c := range []struct {
		name  string
		flood func(*flow.Table, time.Time)
		again step
		want  uint64
	}{
		{"remembered", func(*flow.Table, time.Time) {}, first, 0},
		{"overwritten by others", func(table *flow.Table, at time.Time) {
			for port := range uint16(10) {
				from := withPort(client, 50000+port)
				run(table, 0, at, from, server, after(step{flags: "PA", seq: 1, ack: 1, data: strings.Repeat("x", 30000)})...)
			}
		}, first, 1},
		{"after more segments than are searched", func(table *flow.Table, at time.Time) {
			for i := range uint32(1000) {
				run(table, 0, at, client, server, step{flags: "PA", seq: 6 + i, ack: 1, data: "x"})
			}
		}, first, 1},
		{"acknowledged", func(table *flow.Table, at time.Time) {
			for i := range uint32(1000) {
				run(table, 0, at, client, server, step{flags: "PA", seq: 6 + i, ack: 1, data: "x"})
			}
			run(table, 0, at, client, server, step{server: true, flags: "A", seq: 1, ack: 6})
		}, first, 0},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{MaxRecent: 1}, g)
		at := run(table, 0, start, client, server, after(first)...)
		c.flood(table, at)
		run(table, 0, at, client, server, c.again)
		table.Flush()
		if s := table.Stats(); s.Unverified != c.want || s.Conflicts != c.want || g.ended[0].Conflict != (c.want > 0) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// When the ring of delivered bytes is overwritten, no run is mistaken for another.
func TestRecentComesRound(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{MaxRecent: 100_000}, g)
	for i := range uint16(500) {
		data := strings.Repeat(fmt.Sprintf("%d,", i), 300+int(i)%700)
		s := step{flags: "PA", seq: 1, ack: 1, data: data}
		run(table, 0, start, withPort(client, 1000+i), server, after(s, s)...)
	}
	if s := table.Stats(); s.Conflicts != 0 || s.Retransmits != 500 {
		t.Errorf("%+v", s)
	}
}

func TestConflictInCapture(t *testing.T) {
	talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: []byte("GET / HTTP/1.1")}}}
	other := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: []byte("GET /x HTTP/1.")}}}
	a, b := talk.Packets(capturetest.Options{}), other.Packets(capturetest.Options{})
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	add(table, a[:4])
	add(table, b[3:4])
	table.Flush()
	if !g.ended[0].Conflict {
		t.Error("a retransmission with other bytes went unnoticed")
	}
}
