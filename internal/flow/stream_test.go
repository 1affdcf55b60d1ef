package flow_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Streams with duplicated and reordered segments are delivered as they were sent: while no time passes, no gap is
// skipped.
func TestStreamsComeOutWhole(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		talk, want := random(r)
		o := capturetest.Options{ClientISN: r.Uint32(), ServISN: ^uint32(0) - uint32(r.IntN(4000)), MSS: 100 + r.IntN(1400)}
		frames := talk.Packets(o)
		handshake, rest := frames[:3], frames[3:]
		var shuffled []capturetest.Frame
		for _, f := range rest {
			shuffled = append(shuffled, f)
			if r.IntN(10) == 0 {
				shuffled = append(shuffled, f)
			}
		}
		for i := range shuffled { // a frame may be swapped several times
			j := min(len(shuffled)-1, i+r.IntN(4))
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		}
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		add(table, handshake)
		for _, f := range shuffled {
			f.Time = rest[0].Time
			add(table, []capturetest.Frame{f})
		}
		table.Flush()
		for side, w := range want {
			if got := g.streams[1]; len(w) > 0 && (got == nil || !bytes.Equal(got[side], w)) {
				t.Fatalf("seed %d: side %d was delivered with changes", seed, side)
			}
		}
		if g.missed != 0 || len(g.ended) != 1 || g.ended[0].State != flow.SF || g.ended[0].Conflict {
			t.Fatalf("seed %d: missed %d, ended %+v", seed, g.missed, g.ended)
		}
		if table.Stats().Buffered != 0 {
			t.Fatalf("seed %d: %d bytes left in the buffers", seed, table.Stats().Buffered)
		}
	}
}

func TestSnapLengthIsAGap(t *testing.T) {
	talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: make([]byte, 1000)}, {Data: make([]byte, 500)}}}
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	for _, f := range talk.Packets(capturetest.Options{}) {
		table.Add(&flow.Packet{Time: f.Time.UnixNano(), Data: f.Data[:min(96, len(f.Data))], Length: len(f.Data), Link: wire.LinkEthernet})
	}
	table.Flush()
	if got := len(g.streams[1][0]); got != 2*42 || g.missed != 1500-2*42 || g.ended[0].Orig.Bytes != 1500 {
		t.Errorf("%d bytes, %d missed, %d by the IP length", got, g.missed, g.ended[0].Orig.Bytes)
	}
}

func TestAcknowledgementsCountFromTheFirstByte(t *testing.T) {
	talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{
		{Data: make([]byte, 100)}, {FromServer: true, Data: make([]byte, 300), Read: 100}, {Data: make([]byte, 50), Read: 300},
	}}
	frames := talk.Packets(capturetest.Options{ClientISN: ^uint32(0) - 20, ServISN: ^uint32(0)})
	for _, from := range []int{0, 3} { // with and without the SYNs
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		add(table, frames[from:])
		if fmt.Sprint(g.acks) != "[0 100 300]" {
			t.Errorf("from frame %d: acknowledgements %v", from, g.acks)
		}
	}
}

// An acknowledged gap is skipped early only after enough later packets of the sender and enough time.
func TestGapsOfBusySenders(t *testing.T) {
	for _, c := range []struct {
		packets int
		apart   time.Duration // in addition to a millisecond
		want    bool
	}{
		{12, time.Millisecond, false},
		{20, 0, true},
		{20, -time.Millisecond, false},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		at := run(table, 0, start, client, server, after(step{flags: "PA", seq: 4, ack: 1, data: "d"}, step{server: true, flags: "A", seq: 1, ack: 5})...)
		for i := range c.packets {
			at = run(table, 0, at, client, server, step{flags: "PA", seq: 5 + uint32(i), ack: 1, data: "x", wait: c.apart})
		}
		if given := len(g.log) > 0; given != c.want {
			t.Errorf("%d packets %v apart: gap skipped: %v", c.packets, c.apart+time.Millisecond, given)
		}
	}
}

// Packets before the start of a gap do not count towards its end.
func TestEachGapHasItsTime(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := run(table, 0, start, client, server, after(
		step{server: true, flags: "PA", seq: 500, ack: 1, data: "waits"}, // this gap stays open, so that the connection always has a gap
		step{server: true, flags: "A", seq: 1, ack: 200}, step{flags: "PA", seq: 2, ack: 1, data: "b"})...)
	at = run(table, 0, at, client, server, step{flags: "PA", seq: 1, ack: 1, data: "a"})
	for i := range uint32(50) {
		at = run(table, 0, at, client, server, step{flags: "PA", seq: 3 + i, ack: 1, data: "x", wait: 50 * time.Millisecond})
	}
	run(table, 0, at, client, server, step{flags: "PA", seq: 54, ack: 1, data: "y"}, step{server: true, flags: "A", seq: 1, ack: 200, wait: 20 * time.Millisecond},
		step{flags: "PA", seq: 53, ack: 1, data: "z"})
	if g.missed != 0 {
		t.Errorf("%v", g.log)
	}
}

// TestStreams compares the delivered segments and gaps, in the order of the calls.
func TestStreams(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		want  string // the calls, then the flags of the connection that are set
	}{
		{"in order", after(
			step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "HTTP"}),
			"c0 GET, s0 HTTP, end S1"},
		{"sequence numbers repeated", after(
			step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{flags: "PA", seq: 1, ack: 1, data: "GET"}),
			"c0 GET, end S1"},
		{"overlap", after(
			step{flags: "PA", seq: 1, ack: 1, data: "abcd"}, step{flags: "PA", seq: 3, ack: 1, data: "cdef"}),
			"c0 abcd, c4 ef, end S1"},
		{"overlap of one byte", after(
			step{flags: "PA", seq: 1, ack: 1, data: "abcd"}, step{flags: "PA", seq: 4, ack: 1, data: "de"}, step{flags: "PA", seq: 6, ack: 1, data: "f"}),
			"c0 abcd, c4 e, c5 f, end S1"},
		{"out of order, overlapping each other", after(
			step{flags: "PA", seq: 3, ack: 1, data: "cd"}, step{flags: "PA", seq: 7, ack: 1, data: "gh"},
			step{flags: "PA", seq: 2, ack: 1, data: "bcdefgh"}, step{flags: "PA", seq: 1, ack: 1, data: "ab"}),
			"c0 a, c1 b, c2 cd, c4 ef, c6 gh, end S1"},
		{"a gap that the receiver has too stays open", after(
			step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{server: true, flags: "A", seq: 1, ack: 1, wait: 30 * time.Second},
			step{flags: "PA", seq: 1, ack: 1, data: "abc", wait: time.Minute}),
			"c0 abc, c3 def, end S1"},
		{"a gap whose bytes the receiver has is skipped", after(
			step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{server: true, flags: "A", seq: 1, ack: 7},
			step{server: true, flags: "A", seq: 1, ack: 7, wait: 2 * time.Second}, step{flags: "PA", seq: 7, ack: 1, data: "g"}),
			"c3 gap 3 def, c6 g, end S1"},
		{"a gap whose bytes the receiver has, while it acknowledges more", after(
			step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{server: true, flags: "A", seq: 1, ack: 7},
			step{server: true, flags: "A", seq: 1, ack: 8, wait: 600 * time.Millisecond}, step{server: true, flags: "A", seq: 1, ack: 9, wait: 600 * time.Millisecond},
			step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{flags: "PA", seq: 7, ack: 1, data: "ghi"}),
			"c3 gap 3 def, c6 ghi, end S1"},
		{"a late packet, long after its acknowledgement", after(
			step{server: true, flags: "A", seq: 1, ack: 20}, step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{flags: "PA", seq: 1, ack: 1, data: "abc"},
			step{flags: "PA", seq: 10, ack: 1, data: "jkl", wait: time.Minute}, step{flags: "PA", seq: 7, ack: 1, data: "ghi"}),
			"c0 abc, c3 def, c6 ghi, c9 jkl, c19 gap 7, end S1"},
		{"the same, before a FIN, while the other side waits", after(
			step{server: true, flags: "PA", seq: 500, ack: 1, data: "x"},
			step{server: true, flags: "A", seq: 1, ack: 10}, step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{flags: "PA", seq: 1, ack: 1, data: "abc"},
			step{flags: "FA", seq: 10, ack: 1, wait: time.Minute}, step{flags: "PA", seq: 7, ack: 1, data: "ghi"}),
			"c0 abc, c3 def, c6 ghi, changed cFIN, s499 gap 499 x, end S2"},
		{"a SYN-ACK again, with another number", []step{
			{flags: "S"}, {server: true, flags: "SA", ack: 1}, {server: true, flags: "SA", seq: 500, ack: 1}, {flags: "A", seq: 1, ack: 501}, {server: true, flags: "PA", seq: 501, ack: 1, data: "x"}},
			"s0 x, end S1"},
		{"fast open", []step{
			{flags: "S", data: "early"}, {server: true, flags: "SA", ack: 6}, {flags: "PA", seq: 6, ack: 1, data: "more"}},
			"c0 early, c5 more, end S1"},
		{"fast open refused", []step{
			{flags: "S", data: "early"}, {server: true, flags: "SA", ack: 1}, {flags: "PA", seq: 1, ack: 1, data: "early"}},
			"c0 early, end S1"},
		{"a SYN again, with and without its data", []step{
			{flags: "S", data: "early"}, {flags: "S", wait: time.Second}, {server: true, flags: "SA", ack: 1}, {flags: "PA", seq: 1, ack: 1, data: "early"}},
			"c0 early, end S1"},
		{"opened from both sides", []step{
			{flags: "S"}, {server: true, flags: "S"}, {flags: "SA", ack: 1}, {server: true, flags: "SA", ack: 1},
			{flags: "PA", seq: 1, ack: 1, data: "a"}, {server: true, flags: "PA", seq: 1, ack: 2, data: "b"}},
			"c0 a, s0 b, end S1"},
		{"keep-alive probes, empty, with the byte, with garbage", after(
			step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{server: true, flags: "A", seq: 1, ack: 4},
			step{flags: "A", seq: 3, ack: 1, wait: time.Minute}, step{flags: "A", seq: 3, ack: 1, data: "c", wait: time.Minute},
			step{flags: "A", seq: 3, ack: 1, data: "\x00", wait: time.Minute}, step{flags: "PA", seq: 4, ack: 1, data: "def"}),
			"c0 abc, c3 def, end S1"},
		{"a keep-alive probe as the first packet", []step{
			{flags: "A", seq: 99, ack: 1}, {server: true, flags: "A", seq: 1, ack: 100}, {flags: "PA", seq: 100, ack: 1, data: "abc"}},
			"c0 abc, end OTH, missed start"},
		{"a keep-alive probe before any payload", []step{
			{flags: "S"}, {flags: "A", seq: 0, ack: 1, data: "\x00"}, {flags: "PA", seq: 1, ack: 1, data: "abc"}, {flags: "A", seq: 3, ack: 1, data: "\x00"}},
			"c0 abc, end S0"},
		{"keep-alive probes for a byte that was lost", after(
			step{flags: "PA", seq: 1, ack: 1, data: "ab"}, step{server: true, flags: "A", seq: 1, ack: 4},
			step{flags: "A", seq: 3, ack: 1, data: "\x00", wait: time.Minute}, step{flags: "A", seq: 3, ack: 1, data: "\x00"},
			step{server: true, flags: "A", seq: 1, ack: 5}, step{flags: "PA", seq: 4, ack: 1, data: "d"}),
			"c0 ab, c3 gap 1 d, end S1"},
		{"a keep-alive probe as the first packet, then a FIN", []step{
			{flags: "A", seq: 99, ack: 1}, {server: true, flags: "A", seq: 1, ack: 100}, {flags: "FA", seq: 100, ack: 1}},
			"changed cFIN, end SH, missed start"},
		{"an old segment after the first acknowledgement", []step{
			{server: true, flags: "A", seq: 1, ack: 100}, {flags: "PA", seq: 50, ack: 1, data: "old"}, {flags: "PA", seq: 53, ack: 1, data: "new"}},
			"c0 old, c3 new, end OTH, missed start"},
		{"FIN before the data", after(
			step{flags: "FA", seq: 4, ack: 1}, step{flags: "PA", seq: 1, ack: 1, data: "abc"}),
			"c0 abc, changed cFIN, end S2"},
		{"an old FIN", after(step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{flags: "FA", seq: 2, ack: 1}), "c0 abc, end S1"},
		{"FIN with data", after(step{flags: "FA", seq: 1, ack: 1, data: "abc"}), "c0 abc, changed cFIN, end S2"},
		{"half closed", after(
			step{flags: "FA", seq: 1, ack: 1}, step{server: true, flags: "PA", seq: 1, ack: 2, data: "abc"},
			step{flags: "A", seq: 1, ack: 4, data: "\x00", wait: time.Minute}, step{server: true, flags: "FA", seq: 4, ack: 2}),
			"changed cFIN, s0 abc, changed cFIN sFIN, end SF"},
		{"lost before the FIN", after(
			step{flags: "FA", seq: 4, ack: 1}, step{server: true, flags: "FA", seq: 1, ack: 5}),
			"changed sFIN, c3 gap 3, changed cFIN sFIN, end SF"},
		{"RST before the data", after(
			step{server: true, flags: "RA", seq: 4, ack: 1}, step{server: true, flags: "PA", seq: 1, ack: 1, data: "abc"}),
			"s0 abc, changed sRST, end RSTR"},
		{"RST with data outstanding", after(
			step{flags: "PA", seq: 4, ack: 1, data: "def"}, step{flags: "R", seq: 7}, step{server: true, flags: "A", seq: 1, ack: 1, wait: 2 * time.Second}),
			"c3 gap 3 def, changed cRST, end RSTO"},
		{"RST after both FINs", after(
			step{flags: "FA", seq: 1, ack: 1}, step{server: true, flags: "FA", seq: 1, ack: 2}, step{flags: "R", seq: 2}),
			"changed cFIN, changed cFIN sFIN, changed cFIN cRST sFIN, end SF"},
		{"RST after a FIN misses nothing", after(
			step{flags: "FA", seq: 1, ack: 1}, step{flags: "R", seq: 2}),
			"changed cFIN, changed cFIN cRST, end RSTO"},
		{"RST to data that was not read", after(
			step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{server: true, flags: "RA", seq: 1, ack: 1}),
			"c0 abc, changed sRST, end RSTR"},
		{"no payload", handshake, "end S1"},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, c.steps...)
		table.Flush()
		got := strings.Join(g.log, ", ")
		for _, e := range g.ended {
			if e.MissedStart {
				got += ", missed start"
			}
			if e.Conflict {
				got += ", conflict"
			}
		}

		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if s := table.Stats(); s.Buffered != 0 {
			t.Errorf("%s: %d bytes are still buffered", c.name, s.Buffered)
		}
	}
}
