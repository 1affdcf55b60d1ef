package flow_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// gather is a Handler that puts streams together and checks what it is handed.
type gather struct {
	t       testing.TB
	streams map[uint64]*[2][]byte
	next    map[uint64]*[2]int64
	ended   []flow.Conn
	why     []flow.EndReason
	missed  int64
	acks    []int64
}

func newGather(t testing.TB) *gather {
	return &gather{t: t, streams: map[uint64]*[2][]byte{}, next: map[uint64]*[2]int64{}}
}

func (g *gather) Data(c *flow.Conn, s flow.Segment) {
	if g.streams[c.ID] == nil {
		g.streams[c.ID], g.next[c.ID] = &[2][]byte{}, &[2]int64{}
	}
	if want := g.next[c.ID][s.Side] + s.Gap; s.Offset != want {
		g.t.Fatalf("connection %d side %d: offset %d, want %d (gap %d)", c.ID, s.Side, s.Offset, want, s.Gap)
	}
	g.next[c.ID][s.Side] = s.Offset + int64(len(s.Data))
	g.missed += s.Gap
	g.streams[c.ID][s.Side] = append(g.streams[c.ID][s.Side], s.Data...)
	g.acks = append(g.acks, s.Ack)
}
func (g *gather) Changed(*flow.Conn) {}
func (g *gather) End(c *flow.Conn, why flow.EndReason) {
	g.ended = append(g.ended, *c)
	g.why = append(g.why, why)
}

func add(t *flow.Table, frames []capturetest.Frame) {
	for _, f := range frames {
		t.Add(&flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: flow.LinkEthernet})
	}
}

// random is a conversation of random bytes.
func random(r *rand.Rand) (*capturetest.Conversation, [2][]byte) {
	var c capturetest.Conversation
	var all [2][]byte
	for range 2 + r.IntN(12) {
		side := r.IntN(2)
		data := make([]byte, 1+r.IntN(5000))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		c.Chunks = append(c.Chunks, capturetest.Chunk{FromServer: side == 1, Data: data, Read: len(all[1-side])})
		all[side] = append(all[side], data...)
	}
	return &c, all
}

// Whatever is duplicated and reordered, what comes out is what was sent.
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
		for i := range shuffled {
			j := min(len(shuffled)-1, i+r.IntN(4))
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		}
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		add(table, handshake)
		for _, f := range shuffled {
			f.Time = rest[0].Time // no time passes
			add(table, []capturetest.Frame{f})
		}
		table.Flush()
		for side, w := range want {
			if got := g.streams[1]; len(w) > 0 && (got == nil || !bytes.Equal(got[side], w)) {
				t.Fatalf("seed %d: side %d came out changed", seed, side)
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

func TestLossIsAGap(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		talk, want := random(r)
		frames := talk.Packets(capturetest.Options{})
		lost := 3 + r.IntN(len(frames)-3)
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		add(table, frames[:lost])
		add(table, frames[lost+1:])
		table.Flush()
		total := int64(len(want[0]) + len(want[1]))
		got := g.missed
		for _, s := range g.streams {
			got += int64(len(s[0]) + len(s[1]))
		}
		if got != total {
			t.Fatalf("seed %d: %d bytes accounted for of %d (frame %d lost)", seed, got, total, lost)
		}
	}
}

func TestConflictIsNoticed(t *testing.T) {
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

func TestSnapLengthIsAGap(t *testing.T) {
	talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: make([]byte, 1000)}, {Data: make([]byte, 500)}}}
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	for _, f := range talk.Packets(capturetest.Options{}) {
		table.Add(&flow.Packet{Time: f.Time.UnixNano(), Data: f.Data[:min(96, len(f.Data))], Length: len(f.Data), Link: flow.LinkEthernet})
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
	for _, from := range []int{0, 3} { // with the SYNs and without
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		add(table, frames[from:])
		if fmt.Sprint(g.acks) != "[0 100 300]" {
			t.Errorf("from frame %d: acknowledgements %v", from, g.acks)
		}
	}
}

var (
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.2:80")
)

// step is one segment: who, flags, sequence number past the ISN, acknowledgement past
// the other's, payload.
type step struct {
	server   bool
	flags    string
	seq, ack uint32
	data     string
}

func run(table *flow.Table, iface uint16, at time.Time, from, to netip.AddrPort, steps ...step) {
	for i, s := range steps {
		tcp := layers.TCP{Seq: 1000 + s.seq, Ack: 2000 + s.ack}
		a, b := from, to
		if s.server {
			tcp.Seq, tcp.Ack = 2000+s.seq, 1000+s.ack
			a, b = to, from
		}
		for _, f := range s.flags {
			switch f {
			case 'S':
				tcp.SYN = true
			case 'A':
				tcp.ACK = true
			case 'F':
				tcp.FIN = true
			case 'R':
				tcp.RST = true
			}
		}
		if !tcp.ACK {
			tcp.Ack = 0
		}
		data := capturetest.TCPFrame(a, b, tcp, []byte(s.data))
		table.Add(&flow.Packet{Time: at.Add(time.Duration(i) * time.Millisecond).UnixNano(), Data: data, Length: len(data), Link: flow.LinkEthernet, Interface: iface})
	}
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestStates(t *testing.T) {
	syn, synack := step{flags: "S"}, step{server: true, flags: "SA", ack: 1}
	ack := step{flags: "A", seq: 1, ack: 1}
	for _, c := range []struct {
		want  flow.State
		steps []step
	}{
		{flow.S0, []step{syn}},
		{flow.REJ, []step{syn, {server: true, flags: "RA", ack: 1}}},
		{flow.S1, []step{syn, synack, ack}},
		{flow.SF, []step{syn, synack, ack, {flags: "FA", seq: 1, ack: 1}, {server: true, flags: "FA", seq: 1, ack: 2}}},
		{flow.S2, []step{syn, synack, ack, {flags: "FA", seq: 1, ack: 1}}},
		{flow.S3, []step{syn, synack, ack, {server: true, flags: "FA", seq: 1, ack: 1}}},
		{flow.RSTO, []step{syn, synack, ack, {flags: "R", seq: 1}}},
		{flow.RSTR, []step{syn, synack, ack, {server: true, flags: "R", seq: 1}}},
		{flow.RSTOS0, []step{syn, {flags: "R", seq: 1}}},
		{flow.RSTRH, []step{synack, {server: true, flags: "R", seq: 1}}},
		{flow.SH, []step{syn, {flags: "F", seq: 1}}},
		{flow.SHR, []step{synack, {server: true, flags: "FA", seq: 1, ack: 1}}},
		{flow.OTH, []step{{flags: "A", seq: 1, ack: 1, data: "x"}}},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		run(table, 0, start, client, server, c.steps...)
		table.Flush()
		if len(g.ended) != 1 || g.ended[0].State != c.want {
			t.Errorf("%v: %d connections, state %v", c.want, len(g.ended), g.ended[0].State)
		}
		if e := g.ended[0]; e.Orig.Port != 40000 {
			t.Errorf("%v: the originator has port %d", c.want, e.Orig.Port)
		}
	}
}

func TestTupleReuse(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	whole := []step{{flags: "S"}, {flags: "S"}, {server: true, flags: "SA", ack: 1}, {flags: "A", seq: 1, ack: 1, data: "a"}, {flags: "FA", seq: 2, ack: 1}, {server: true, flags: "FA", seq: 1, ack: 3}}
	run(table, 0, start, client, server, whole...)
	if table.Len() != 1 {
		t.Fatalf("a repeated SYN made %d connections", table.Len())
	}
	run(table, 0, start.Add(time.Second), client, server, step{flags: "S", seq: 5000})
	table.Flush()
	if len(g.ended) != 2 || g.why[0] != flow.EndReused {
		t.Errorf("%d connections, %v", len(g.ended), g.why)
	}
}

func TestInterfacesAreApart(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 1, start, client, server, step{flags: "S"})
	run(table, 2, start, client, server, step{flags: "S"})
	if table.Len() != 2 {
		t.Errorf("%d connections on two interfaces", table.Len())
	}
}

func TestRedirectedFacesArePaired(t *testing.T) {
	for _, c := range []struct{ pod, proxy, meant string }{
		{"10.2.2.1:40000", "127.0.0.1:15001", "10.2.2.2:80"},
		{"[fd00::1]:40000", "[::1]:15001", "[fd00::2]:80"},
	} {
		pod, proxy, meant := netip.MustParseAddrPort(c.pod), netip.MustParseAddrPort(c.proxy), netip.MustParseAddrPort(c.meant)
		for _, from := range []int{0, 3} { // with the handshake and without
			g := newGather(t)
			table := flow.NewTable(flow.Config{Loopback: func(uint16) bool { return true }}, g)
			faces := []struct {
				to netip.AddrPort
				s  step
			}{
				{proxy, step{flags: "S"}}, {meant, step{server: true, flags: "SA", ack: 1}}, {proxy, step{flags: "A", seq: 1, ack: 1}},
				{proxy, step{flags: "A", seq: 1, ack: 1, data: "GET"}}, {meant, step{server: true, flags: "A", seq: 1, ack: 4, data: "HTTP"}},
			}
			for _, f := range faces[from:] {
				run(table, 0, start, pod, f.to, f.s)
			}
			table.Flush()
			if len(g.ended) != 1 {
				t.Fatalf("%s from step %d: %d connections", c.pod, from, len(g.ended))
			}
			e := g.ended[0]
			if e.Resp.Addr != meant.Addr() || e.Resp.Port != 80 || e.Redirected.Addr != proxy.Addr() || e.Redirected.Port != 15001 || e.Resp.Bytes != 4 || e.Orig.Bytes != 3 {
				t.Errorf("%s from step %d: %+v redirected to %+v", c.pod, from, e.Resp, e.Redirected)
			}
		}
	}
}

func TestExpiry(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	run(table, 0, start, client, server, step{flags: "S"})
	table.Tick(start.Add(-time.Hour).UnixNano())
	table.Tick(start.Add(59 * time.Second).UnixNano())
	if table.Len() != 1 {
		t.Fatal("expired before its time")
	}
	table.Tick(start.Add(61 * time.Second).UnixNano())
	if table.Len() != 0 || g.why[0] != flow.EndIdle {
		t.Errorf("%d connections left, %v", table.Len(), g.why)
	}
}

// A generator of hostile packets cannot make the table grow past its bounds.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	g := newGather(t)
	table := flow.NewTable(flow.Config{MaxConns: 50, MaxBuffered: 20000, MaxBufferedPerSide: 5000}, g)
	for range 20000 {
		from := netip.AddrPortFrom(client.Addr(), uint16(r.IntN(200)+40000))
		run(table, 0, start, from, server, step{server: r.IntN(2) == 0, flags: []string{"S", "A", "A", "A", "FA", "R", "SA"}[r.IntN(7)], seq: uint32(r.IntN(100000)), ack: uint32(r.IntN(100000)), data: string(make([]byte, r.IntN(900)))})
		if s := table.Stats(); table.Len() > 50 || s.Buffered > 20000+900 {
			t.Fatalf("%d connections, %d bytes buffered", table.Len(), s.Buffered)
		}
	}
	table.Flush()
	if s := table.Stats(); s.Buffered != 0 || s.Evicted == 0 || int(s.Created) != len(g.ended) {
		t.Errorf("%+v, %d ended", s, len(g.ended))
	}
}

type nothing struct{}

func (nothing) Data(*flow.Conn, flow.Segment)  {}
func (nothing) Changed(*flow.Conn)             {}
func (nothing) End(*flow.Conn, flow.EndReason) {}

func TestAddDoesNotAllocate(t *testing.T) {
	table := flow.NewTable(flow.Config{Loopback: func(uint16) bool { return true }}, nothing{})
	run(table, 0, start, client, server, step{flags: "S"}, step{server: true, flags: "SA", ack: 1})
	seq := uint32(1000)
	frames := make([]flow.Packet, 3000)
	for i := range frames {
		seq++
		data := capturetest.TCPFrame(client, server, layers.TCP{ACK: true, Seq: seq, Ack: 2001}, []byte("x"))
		frames[i] = flow.Packet{Time: start.UnixNano(), Data: data, Length: len(data), Link: flow.LinkEthernet}
	}
	i := 0
	if n := testing.AllocsPerRun(2000, func() { table.Add(&frames[i]); i++ }); n != 0 {
		t.Errorf("%v allocations for each packet", n)
	}
}

func FuzzTable(f *testing.F) {
	talk, _ := random(rand.New(rand.NewPCG(1, 1)))
	var seed []byte
	for _, frame := range talk.Packets(capturetest.Options{MSS: 200})[:12] {
		seed = append(seed, byte(len(frame.Data)>>8), byte(len(frame.Data)))
		seed = append(seed, frame.Data...)
	}
	f.Add(seed, uint16(1))
	f.Add([]byte{0, 4, 0x45, 0, 0, 0}, uint16(101))
	f.Fuzz(func(t *testing.T, b []byte, link uint16) {
		g := newGather(t)
		table := flow.NewTable(flow.Config{MaxConns: 4, MaxBuffered: 4096, MaxBufferedPerSide: 1024, Loopback: func(i uint16) bool { return i == 1 }}, g)
		now := start.UnixNano()
		for len(b) > 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			p := flow.Packet{Time: now, Data: b[2 : 2+n], Length: n + int(b[1]&3), Link: flow.LinkType(link), Interface: uint16(b[0] & 1)}
			table.Add(&p)
			if table.Len() > 4 || table.Stats().Buffered > 4096+1<<16 {
				t.Fatal("out of bounds")
			}
			b = b[2+n:]
			now += int64(time.Millisecond)
		}
		table.Flush()
		if table.Len() != 0 || table.Stats().Buffered != 0 {
			t.Fatal("something is left")
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	table := flow.NewTable(flow.Config{}, nothing{})
	run(table, 0, start, client, server, step{flags: "S"}, step{server: true, flags: "SA", ack: 1})
	data := capturetest.TCPFrame(client, server, layers.TCP{ACK: true, Seq: 1001, Ack: 2001}, make([]byte, 1400))
	p := flow.Packet{Time: start.UnixNano(), Data: data, Length: len(data), Link: flow.LinkEthernet}
	b.ReportAllocs()
	for b.Loop() {
		table.Add(&p)
	}
}
