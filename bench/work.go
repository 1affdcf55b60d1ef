//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// worker processes frames, either with the tap's packages or, as similarly as possible, with gopacket.
type worker struct {
	name string
	// processor returns a function that processes one frame. Frames stay valid until the last frame has been
	// processed.
	processor func() func(frame []byte)
	peer      bool // the worker uses gopacket, and the tap is compared with it
}

// The workers form two groups: those that decode headers, and those that also process TLS. gopacket's layers parse a
// TLS record and the type of its message, and keep no state. The tap reassembles streams, parses handshakes and
// certificates, and judges connections.
var decoders = []worker{
	{"decoded", decodeOurs, false},
	{"DecodingLayerParser", decodeParser, true},
	{"NewPacket", decodeNewPacket, true},
}

var judges = []worker{
	{"reassembled, parsed, judged", judgeOurs, false},
	{"DecodingLayerParser and layers.TLS", judgeParser, true},
	{"NewPacket and layers.TLS", judgeNewPacket, true},
}

// work measures the CPU time and the allocations of all workers, for each packet and for each connection. The workers
// run in this process.
func (b *bench) work() ([]result, error) {
	connections, packets := 2000, 200_000
	if b.quick {
		connections, packets = 200, 20_000
	}
	whole, err := handshakes(0, connections, false)
	if err != nil {
		return nil, err
	}
	stream, talks := all(flood(1000, packets, 1, 0)), all(whole)
	results := b.compare("a packet", decoders, stream, len(stream))
	results = append(results, b.compare("a packet", judges, stream, len(stream))...)
	return append(results, b.compare("a connection", judges, talks, connections)...), nil
}

// all returns all frames of a source.
func all(next source) (frames [][]byte) {
	for {
		f := next(nil)
		if len(f) == 0 {
			return frames
		}
		frames = append(frames, f)
	}
}

// compare lets the workers process the frames in turn, and compares the first worker with the others. The figures are
// totals divided by units; unit names what is counted, such as "a packet".
func (b *bench) compare(unit string, workers []worker, frames [][]byte, units int) (out []result) {
	spent, allocations := make([]sample, len(workers)), make([]sample, len(workers))
	for round := range b.rounds {
		for i := range workers {
			k := (i + round) % len(workers)
			took, allocated := measure(workers[k], frames)
			spent[k] = append(spent[k], float64(took.Nanoseconds())/float64(units))
			allocations[k] = append(allocations[k], float64(allocated)/float64(units))
		}
	}
	lines := [][]string{{unit, "CPU ns", "allocations", "tap's CPU to its"}}
	for k, w := range workers {
		ratio := spent[0].over(spent[k])
		lines = append(lines, []string{w.name, spent[k].spread("%.0f"), fmt.Sprintf("%.2f", allocations[k].median()), ratio.spread("%.2f")})
		if w.peer {
			out = append(out, just(fmt.Sprintf("%s, %s: CPU to %s (%.0f to %.0f ns, %.1f to %.1f allocations)", unit, workers[0].name, w.name,
				spent[0].median(), spent[k].median(), allocations[0].median(), allocations[k].median()), ratio.spread("%.2f")))
		}
	}
	columns(lines...)
	return out
}

// measure returns the CPU time and the number of allocations that a worker needs for the frames after the first one.
func measure(w worker, frames [][]byte) (took time.Duration, allocated uint64) {
	process := w.processor()
	process(frames[0])
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := ownCPU()
	for _, f := range frames[1:] {
		process(f)
	}
	took = ownCPU() - cpu
	runtime.ReadMemStats(&after)
	return took, after.Mallocs - before.Mallocs
}

// packetOf fills p with a frame, 1 µs after the previous one.
func packetOf(p *flow.Packet, frame []byte) {
	p.Data, p.Length, p.Link = frame, len(frame), wire.LinkEthernet
	p.Time += 1000
}

func decodeOurs() func([]byte) {
	var p flow.Packet
	var d flow.Decoded
	return func(frame []byte) {
		packetOf(&p, frame)
		flow.Decode(&p, &d)
	}
}

// layersOf is a DecodingLayerParser with the layers that it decodes into.
type layersOf struct {
	parser  *gopacket.DecodingLayerParser
	tcp     layers.TCP
	decoded []gopacket.LayerType
}

// newLayers returns the fastest configuration of a DecodingLayerParser.
func newLayers() *layersOf {
	l := &layersOf{parser: gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet)}
	l.parser.IgnoreUnsupported = true
	l.parser.SetDecodingLayerContainer(gopacket.DecodingLayerArray(nil))
	for _, x := range []gopacket.DecodingLayer{&layers.Ethernet{}, &layers.IPv4{}, &layers.IPv6{}, &layers.UDP{}, &l.tcp} {
		l.parser.AddDecodingLayer(x)
	}
	return l
}

func decodeParser() func([]byte) {
	l := newLayers()
	return func(frame []byte) { _ = l.parser.DecodeLayers(frame, &l.decoded) }
}

func decodeNewPacket() func([]byte) {
	return func(frame []byte) {
		gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true}).TransportLayer()
	}
}

func judgeParser() func([]byte) {
	l := newLayers()
	var tls layers.TLS
	return func(frame []byte) {
		if l.parser.DecodeLayers(frame, &l.decoded) == nil && len(l.tcp.Payload) > 0 {
			_ = tls.DecodeFromBytes(l.tcp.Payload, gopacket.NilDecodeFeedback) // the payload may start within a record, which causes an error
		}
	}
}

func judgeNewPacket() func([]byte) {
	return func(frame []byte) {
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
		if t := p.TransportLayer(); t != nil && len(t.LayerPayload()) > 0 {
			gopacket.NewPacket(t.LayerPayload(), layers.LayerTypeTLS, gopacket.DecodeOptions{NoCopy: true})
		}
	}
}

// judgeOurs is the tap's pipeline without publishing. It adds flow.MaxPrefetch packets at a time, as the tap does.
func judgeOurs() func([]byte) {
	j := pipeline.New(pipeline.Config{
		Judge:  verdict.Config{Local: []netip.Prefix{netip.MustParsePrefix(podIP + "/32")}},
		Judged: func(*verdict.Judged) {},
	})
	var p flow.Packet
	packets := make([]flow.Packet, 0, flow.MaxPrefetch)
	return func(frame []byte) {
		packetOf(&p, frame)
		if packets = append(packets, p); len(packets) == cap(packets) {
			j.Add(packets...)
			packets = packets[:0]
		}
	}
}
