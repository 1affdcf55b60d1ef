package main

import (
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/limits"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// madeUp has kinds of packets that cost their sender nothing. The function frame returns the i-th packet. Each packet has a
// different source and different bytes.
var madeUp = []struct {
	name  string
	frame func(r *mathrand.Rand, i int) []byte
}{
	{"syn", func(r *mathrand.Rand, _ int) []byte {
		return capturetest.TCPFrame(anybody(r), floodedPod(443), layers.TCP{SYN: true, Seq: r.Uint32(), Window: 1000}, nil)
	}},
	{"quic_initials", func(r *mathrand.Rand, _ int) []byte {
		return capturetest.UDPFrame(anybody(r), floodedPod(443), madeUpInitial(r))
	}},
	{"dtls_fragments", func(r *mathrand.Rand, i int) []byte {
		b := []byte{22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, byte(i >> 8), byte(i), 0, 112, 1, 0, 0xff, 0xff, byte(i >> 8), byte(i)}
		at := r.IntN(60000)
		b = append(b, 0, byte(at>>8), byte(at), 0, 0, 100)
		return capturetest.UDPFrame(anybody(r), floodedPod(4433), append(b, noise(r, 100)...))
	}},
	{"dns_names", func(r *mathrand.Rand, i int) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(i))
		b = append(b, 0x81, 0x80, 0, 1, 0, 20, 0, 0, 0, 0, 62)
		b = append(fmt.Appendf(b, "%062x", r.Uint64()), 63)
		b = append(append(b, noise(r, 63)...), 0, 0, 1, 0, 1)
		for range 20 {
			b = append(append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0xff, 0xff, 0, 4), noise(r, 4)...)
		}
		return capturetest.UDPFrame(netip.MustParseAddrPort("10.96.0.10:53"), floodedPod(uint16(1024+i%60000)), b)
	}},
	{"half_hello", func(r *mathrand.Rand, _ int) []byte {
		hello := []byte{22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3}
		return capturetest.TCPFrame(anybody(r), floodedPod(443), layers.TCP{ACK: true, PSH: true, Seq: r.Uint32(), Ack: 5, Window: 1000}, append(hello, noise(r, 150)...))
	}},
}

func floodedPod(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, 1}), port)
}

func anybody(r *mathrand.Rand) netip.AddrPort {
	n := r.Uint64()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(100 + n%100), byte(n >> 8), byte(n >> 16)}), uint16(1024+n>>24%60000))
}

func noise(r *mathrand.Rand, n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n]
}

// madeUpInitial returns a datagram with the header of a QUIC Initial, a random connection ID and random contents.
func madeUpInitial(r *mathrand.Rand) []byte {
	b := append([]byte{0xc3, 0, 0, 0, 1, 8}, noise(r, 8)...)
	return append(append(b, 0, 0, 0x44, 0x9e), noise(r, 1182)...)
}

// flooded returns a pipeline with the limits of a tap with 128 MiB.
func flooded() *pipeline.Pipeline {
	l := limits.For(128<<20, 2)
	local := floodedPod(0).Addr()
	return pipeline.New(pipeline.Config{
		Table:      flow.Config{MaxConns: l.Connections, MaxBuffered: l.Reorder, MaxRecent: l.Recent, Local: func(a netip.Addr) bool { return a == local }},
		Judge:      verdict.Config{Local: []netip.Prefix{netip.PrefixFrom(local, 32)}},
		Engine:     finding.Config{Tap: "u", Window: 10 * time.Minute, Findings: true, Posture: true, Emit: func(finding.Record) {}},
		MaxPending: l.Pending, MaxConclusions: l.Conclusions, MaxOwnInitials: limits.OwnInitials, MaxOtherInitials: limits.OtherInitials,
	})
}

// TestFlood: only a bounded number of a flood of unanswered QUIC Initials are read at once. The others are counted.
func TestFlood(t *testing.T) {
	norace(t)
	r := mathrand.New(mathrand.NewPCG(7, 7))
	p := flooded()
	at := captureStart.UnixNano()
	for range 20000 {
		data := capturetest.UDPFrame(anybody(r), floodedPod(443), madeUpInitial(r))
		p.Add(flow.Packet{Time: at, Data: data, Length: len(data), Link: wire.LinkEthernet, Origin: flow.OriginArrived})
		at += 50_000
	}
	s := p.Stats()
	deferred, unread := s.Unanswered, s.Unread
	if read := 20000 - deferred; read > 64*2*8 || unread+1000 < deferred {
		t.Errorf("%d were read at once, %d deferred, %d dropped", read, deferred, unread)
	}
	var c map[string]uint64
	p.Do(func(l *pipeline.Locked) { c = l.Coverage().Counters })
	if c["unanswered_packets"] != deferred || c["unread_packets"] != unread {
		t.Errorf("%v", c)
	}
}

// TestFloodIsPublished: floods are published by kind, each kind at most once in five minutes.
func TestFloodIsPublished(t *testing.T) {
	var f floodMonitor
	now := captureStart
	check := func(after time.Duration, counts ...uint64) string {
		now = now.Add(after)
		return strings.Join(f.reasons([floodKinds]uint64(counts), now), "; ")
	}
	for i, c := range []struct {
		after  time.Duration
		counts []uint64
		want   []string
	}{
		{0, []uint64{0, 0, 0, 0}, nil},
		{time.Second, []uint64{99, 99, 99, 99}, nil},
		{time.Second, []uint64{99, 9099, 99, 99}, []string{"9000 packets of TCP in a second"}},
		{time.Second, []uint64{99, 19099, 399, 99}, []string{"300 packets of other protocols"}},
		{time.Second, []uint64{1099, 29099, 999, 7099}, []string{"1000 QUIC packets", "7000 connections"}},
		{4 * time.Minute, []uint64{9099, 39099, 9999, 9099}, nil},
		{time.Minute, []uint64{9099, 49099, 9999, 9099}, []string{"10000 packets of TCP"}},
		{time.Hour, []uint64{0, 0, 0, 0}, nil},
	} {
		got := check(c.after, c.counts...)
		if n := strings.Count(got, "flood"); n != len(c.want) {
			t.Errorf("%d: %q", i, got)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%d: %q, want %q", i, got, want)
			}
		}
	}
}

// BenchmarkFlood prints the cost of one packet of a flood. The flood has 20,000 packets in a second
// of packet time.
func BenchmarkFlood(b *testing.B) {
	for _, f := range madeUp {
		b.Run(f.name, func(b *testing.B) {
			r := mathrand.New(mathrand.NewPCG(7, 7))
			const n = 20000
			frames := make([][]byte, n)
			for i := range frames {
				frames[i] = f.frame(r, i)
			}
			p := flooded()
			b.ReportAllocs()
			b.ResetTimer()
			before, _ := cpuTime()
			for i := range b.N {
				data := frames[i%n]
				if i >= n { // each packet has another source
					binary.BigEndian.PutUint16(data[28:], uint16(r.Uint32()))
					binary.BigEndian.PutUint16(data[34:], uint16(r.Uint32()))
				}
				p.Add(flow.Packet{Time: captureStart.UnixNano() + int64(i)*50000, Data: data, Length: len(data), Link: wire.LinkEthernet, Origin: flow.OriginArrived})
			}
			after, _ := cpuTime() // on a shared machine the elapsed time includes the time of other programs
			b.ReportMetric(float64(after-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(p.Stats().Table.Created)/float64(b.N), "connections/op")
		})
	}
}
