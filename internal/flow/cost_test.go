package flow_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// packets returns n packets with the headers that f returns, all with the same time.
func packets(n int, f func(i uint32) headers) []flow.Packet {
	ps := make([]flow.Packet, n)
	for i := range ps {
		ps[i] = packetOf(wire.LinkEthernet, f(uint32(i)))
		ps[i].Time = start.UnixNano()
	}
	return ps
}

// A packet of a known connection allocates no memory.
func TestAddDoesNotAllocate(t *testing.T) {
	const n = 2000
	tcp := func(from, to netip.AddrPort, seq, ackn uint32, data string) headers {
		return headers{src: from, dst: to, flags: ack | psh, seq: seq, ack: ackn, payload: []byte(data)}
	}
	for _, c := range []struct {
		name string
		f    func(i uint32) headers
	}{
		{"in order", func(i uint32) headers { return tcp(client, server, 1001+i, 2001, "x") }},
		{"in order, past the remembered bytes", func(i uint32) headers { return tcp(client, server, 1001+1000*i, 2001, fmt.Sprintf("%1000d", i)) }},
		{"acknowledgements", func(i uint32) headers { return tcp(server, client, 2001, 1001+i, "") }},
		{"retransmissions", func(i uint32) headers { return tcp(client, server, 1001+min(i, 1), 2001, "x") }},
		{"keep-alive probes", func(i uint32) headers { return tcp(client, server, 1000, 2001, "") }},
		{"ipv6", func(i uint32) headers { return tcp(a6, b6, 1001+i, 2001, "x") }},
		{"datagrams", func(i uint32) headers { return headers{src: client, dst: server, udp: true, payload: []byte("query")} }},
		{"datagrams over ipv6", func(i uint32) headers { return headers{src: a6, dst: b6, udp: true, payload: []byte("query")} }},
		{"not decodable", func(i uint32) headers { return headers{src: client, dst: server, fragment: 8, payload: []byte("x")} }},
	} {
		table := flow.NewTable(flow.Config{Loopback: func(uint16) bool { return true }}, nothing{})
		run(table, 0, start, client, server, handshake...)
		run(table, 0, start, a6, b6, handshake...)
		ps := packets(n+2, c.f)
		for i := range ps[:2] {
			table.Add(&ps[i])
		}
		i := 2
		if got := testing.AllocsPerRun(n-1, func() { table.Add(&ps[i]); i++ }); got != 0 {
			t.Errorf("%s: %v allocations for each packet", c.name, got)
		}
	}
}

// grown returns by how many bytes the heap grows for n connections with a request and an answer.
func grown(n int) float64 {
	table := flow.NewTable(flow.Config{MaxConns: n}, nothing{})
	ask, answer := string(make([]byte, 600)), string(make([]byte, 3000))
	warm := after(step{flags: "PA", seq: 1, ack: 1, data: ask}, step{server: true, flags: "PA", seq: 1, ack: 601, data: answer}, step{flags: "A", seq: 601, ack: 3001})
	for i := range 2000 { // memory that the table allocates only once
		run(table, 0, start, netip.AddrPortFrom(server.Addr(), uint16(i)), client, warm...)
	}
	table.Flush()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range n {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 14), byte(i >> 10 & 15)}), uint16(1024+i&1023))
		run(table, 0, start, from, server, warm...)
	}
	after := heap()
	runtime.KeepAlive(table)
	return float64(after) - float64(before)
}

// maxPerConnection bounds the bytes of a connection without out-of-order data, its index entry included. The whole
// product must stay below 64 MB of additional memory for 100,000 connections.
const maxPerConnection = 420

func TestMemoryForEachConnection(t *testing.T) {
	const n = 10_000
	if got := grown(n) / n; got > maxPerConnection {
		t.Errorf("%.0f bytes for each connection, want at most %d", got, maxPerConnection)
	}
}

func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				bytes := grown(n)
				b.ReportMetric(bytes/float64(n), "B/conn")
				b.ReportMetric(bytes/1e6, "MB")
			}
		})
	}
}

// BenchmarkDecode compares the decoder with gopacket's fastest one, on the same packets.
func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name string
		h    headers
		tags []tag
	}{
		{"tcp4", headers{src: a4, dst: b4, flags: ack, payload: make([]byte, 1400)}, nil},
		{"tcp6", headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 1400)}, nil},
		{"udp4", headers{src: a4, dst: b4, udp: true, payload: make([]byte, 100)}, nil},
		{"vlan", headers{src: a4, dst: b4, flags: ack, options: make([]byte, 12)}, []tag{vlan}},
	} {
		p := packetOf(wire.LinkEthernet, c.h, c.tags...)
		b.Run(c.name+"/flow", func(b *testing.B) {
			b.ReportAllocs()
			var d flow.Decoded
			for b.Loop() {
				if !flow.Decode(&p, &d) {
					b.Fatal(d.Reason)
				}
			}
		})

		b.Run(c.name+"/gopacket", func(b *testing.B) {
			b.ReportAllocs()
			var eth layers.Ethernet
			var dot1q layers.Dot1Q
			var ip4 layers.IPv4
			var ip6 layers.IPv6
			var tcp layers.TCP
			var udp layers.UDP
			var payload gopacket.Payload
			parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet)
			parser.IgnoreUnsupported = true // protocols that the port implies
			parser.SetDecodingLayerContainer(gopacket.DecodingLayerArray(nil))
			for _, l := range []gopacket.DecodingLayer{&eth, &dot1q, &ip4, &ip6, &tcp, &udp, &payload} {
				parser.AddDecodingLayer(l)
			}
			var decoded []gopacket.LayerType
			for b.Loop() {
				if err := parser.DecodeLayers(p.Data, &decoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	data := string(make([]byte, 1400))
	bench := func(name string, cfg flow.Config, prepare []step, f func(table *flow.Table, p *flow.Packet, i uint32)) {
		b.Run(name, func(b *testing.B) {
			table := flow.NewTable(cfg, nothing{})
			run(table, 0, start, client, server, prepare...)
			s := step{flags: "PA", seq: 1, ack: 1, data: data}
			p := s.packet(client, server)
			p.Time = start.Add(time.Second).UnixNano()
			i := uint32(0)
			b.ReportAllocs()
			for b.Loop() {
				f(table, &p, i)
				i++
			}
		})
	}

	seq := func(p *flow.Packet, n uint32) {
		s := p.Data[14+20+4:]
		s[0], s[1], s[2], s[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	}
	bench("in order", flow.Config{}, handshake, func(table *flow.Table, p *flow.Packet, i uint32) {
		seq(p, clientISN+1+i*1400)
		table.Add(p)
	})
	bench("retransmission", flow.Config{}, handshake, func(table *flow.Table, p *flow.Packet, _ uint32) {
		table.Add(p)
	})
	bench("pairs swapped", flow.Config{}, handshake, func(table *flow.Table, p *flow.Packet, i uint32) {
		seq(p, clientISN+1+(i^1)*1400)
		table.Add(p)
	})
	bench("new connections", flow.Config{}, nil, func(table *flow.Table, p *flow.Packet, i uint32) {
		a := p.Data[14+12:]
		a[0], a[1], a[2], a[3] = 10, byte(i>>16), byte(i>>8), byte(i)
		table.Add(p)
	})
	for _, n := range []uint32{1_000, 10_000, 100_000} {
		bench(fmt.Sprintf("%d connections in turn", n), flow.Config{MaxConns: 100_000}, nil, func(table *flow.Table, p *flow.Packet, i uint32) {
			a, turn := p.Data[14+12:], uint32(uint64(i%n)*7919%uint64(n)) // packets that follow each other belong to connections that are far apart in memory
			a[0], a[1], a[2], a[3] = 10, byte(turn>>16), byte(turn>>8), byte(turn)
			seq(p, clientISN+1+i/n*1400)
			p.Time += 5000 // 200,000 packets a second
			table.Add(p)
		})
	}

	// In the worst case that a peer can cause, pieces after a gap arrive in reverse order: each insertion moves all
	// others.
	const rounds = 1 << 19
	ahead := func(size uint32, begin []step) func(*flow.Table, *flow.Packet, uint32) {
		return func(table *flow.Table, p *flow.Packet, i uint32) {
			if i%rounds == 0 {
				table.Flush()
				run(table, 0, start, client, server, begin...)
			}
			p.Data = p.Data[:14+20+20+size]
			p.Length = len(p.Data)
			p.Data[16], p.Data[17] = byte((40+size)>>8), byte(40+size)
			seq(p, clientISN+100+(size+1)*(rounds-i%rounds))
			table.Add(p)
		}
	}

	bench("hostile", flow.Config{}, nil, ahead(1400, afterWide()))
	bench("hostile and small", flow.Config{}, nil, ahead(1, afterWide()))
	bench("hostile and outside of the window", flow.Config{}, nil, ahead(1400, handshake))
}

// BenchmarkChecksum measures the verification of the checksum of a full segment.
func BenchmarkChecksum(b *testing.B) {
	for _, size := range []int{0, 100, 1400} {
		for name, sum := range map[string]flow.Checksum{"vouched": flow.ChecksumTrusted, "open": flow.ChecksumUnverified} {
			b.Run(fmt.Sprintf("%d %s", size, name), func(b *testing.B) {
				table := flow.NewTable(flow.Config{}, nothing{})
				run(table, 0, start, client, server, handshake...)
				s := step{flags: "PA", seq: 1, ack: 1, data: string(make([]byte, size))}
				p := s.packet(client, server)
				summed(p.Data[14:])
				p.Time, p.Checksum = start.Add(time.Second).UnixNano(), sum
				b.ReportAllocs()
				for b.Loop() {
					table.Add(&p)
				}
			})
		}
	}
}
