package flow_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

var update = flag.Bool("update", false, "write the seed corpus of the fuzz targets again")

var (
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.2:80")
)

// gather is a Handler that reassembles the streams, logs its calls, and checks that they are in order.
type gather struct {
	t        testing.TB
	streams  map[uint64]*[2][]byte // delivered bytes by connection and side, without gaps
	next     map[uint64]*[2]int64
	log      []string // one line for each call, except those counted in answered
	answered int      // calls of Changed because an end sent its first packet
	ended    []flow.Conn
	why      []flow.EndReason
	missed   int64
	acks     []int64
}

func newGather(t testing.TB) *gather {
	return &gather{t: t, streams: map[uint64]*[2][]byte{}, next: map[uint64]*[2]int64{}}
}

func (g *gather) Data(c *flow.Conn, s *flow.Segment) {
	if g.streams[c.ID] == nil {
		g.streams[c.ID], g.next[c.ID] = &[2][]byte{}, &[2]int64{}
	}
	if want := g.next[c.ID][s.Side] + s.Gap; s.Offset != want || s.Gap < 0 || s.Gap == 0 && len(s.Data) == 0 {
		g.t.Fatalf("connection %d side %d: offset %d, want %d (gap %d)", c.ID, s.Side, s.Offset, want, s.Gap)
	}
	g.next[c.ID][s.Side] = s.Offset + int64(len(s.Data))
	g.missed += s.Gap
	g.streams[c.ID][s.Side] = append(g.streams[c.ID][s.Side], s.Data...)
	g.acks = append(g.acks, s.Ack)
	line := fmt.Sprintf("%c%d", "cs"[s.Side], s.Offset)
	switch {
	case s.Truncated:
		line += fmt.Sprintf(" truncated %d", s.Gap)
	case s.Gap > 0:
		line += fmt.Sprintf(" gap %d", s.Gap)
	}
	if len(s.Data) > 0 {
		line += " " + string(s.Data)
	}
	g.log = append(g.log, line)
}

func (g *gather) Changed(c *flow.Conn) {
	line := "changed"
	for i, e := range []*flow.Endpoint{&c.Orig, &c.Resp} {
		if e.FIN {
			line += fmt.Sprintf(" %cFIN", "cs"[i])
		}
		if e.RST {
			line += fmt.Sprintf(" %cRST", "cs"[i])
		}
	}
	if line == "changed" && !c.Doubtful() { // the other end has sent a packet
		g.answered++
		return
	}
	g.log = append(g.log, line)
}

func (g *gather) End(c *flow.Conn, why flow.EndReason) {
	g.ended = append(g.ended, *c)
	g.why = append(g.why, why)
	g.log = append(g.log, fmt.Sprintf("end %v", c.State))
}

// nothing is a Handler that does nothing.
type nothing struct{}

func (nothing) Data(*flow.Conn, *flow.Segment) {}
func (nothing) Changed(*flow.Conn)             {}
func (nothing) End(*flow.Conn, flow.EndReason) {}

func add(t *flow.Table, frames []capturetest.Frame) {
	for _, f := range frames {
		t.Add(&flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet})
	}
}

// random returns a conversation of random bytes.
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

// step is one segment: its sender, flags, sequence number relative to the ISN, acknowledgement number relative to the
// other ISN, and payload.
type step struct {
	server   bool
	flags    string
	seq, ack uint32
	data     string
	wait     time.Duration // time since the previous step; 0: a millisecond
	options  []byte
}

// The initial sequence numbers (ISNs) of steps.
const clientISN, serverISN = 1000, 2000

func (s *step) packet(from, to netip.AddrPort) flow.Packet {
	h := headers{src: from, dst: to, seq: clientISN + s.seq, ack: serverISN + s.ack, payload: []byte(s.data)}
	if s.server {
		h = headers{src: to, dst: from, seq: serverISN + s.seq, ack: clientISN + s.ack, payload: []byte(s.data)}
	}
	for _, f := range s.flags {
		h.flags |= 1 << strings.IndexRune("FSRPA", f)
	}
	if h.flags&ack == 0 {
		h.ack = 0
	}
	h.options = s.options
	return packetOf(wire.LinkEthernet, h)
}

// run adds steps, a millisecond apart, and returns the time after the last one.
func run(table *flow.Table, iface uint16, at time.Time, from, to netip.AddrPort, steps ...step) time.Time {
	for _, s := range steps {
		at = at.Add(s.wait)
		p := s.packet(from, to)
		p.Time, p.Interface = at.UnixNano(), iface
		table.Add(&p)
		at = at.Add(time.Millisecond)
	}
	return at
}

// handshake is the three-way handshake in steps.
var handshake = []step{{flags: "S"}, {server: true, flags: "SA", ack: 1}, {flags: "A", seq: 1, ack: 1}}

// after returns the handshake followed by steps.
func after(steps ...step) []step { return append(handshake[:3:3], steps...) }

// afterWide returns the same as after, but with the largest possible windows, nearly 1 GiB. Windows in a SYN and a
// SYN-ACK are not scaled, so the server sends one more acknowledgement, whose window is.
func afterWide(steps ...step) []step {
	all := slices.Concat(handshake, []step{{server: true, flags: "A", seq: 1, ack: 1}}, steps)
	all[0].options, all[1].options = []byte{1, 3, 3, 14}, []byte{1, 3, 3, 14}
	return all
}

func sprint[T any](list []T) string { return fmt.Sprint(list) }

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}
