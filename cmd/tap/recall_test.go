package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// capturesDir is a folder with further captures for TestDefaultFilterKeepsEveryVerdict.
var capturesDir = flag.String("captures", "", "a folder of captures (of Ethernet) for TestDefaultFilterKeepsEveryVerdict, besides the project's own")

// TestDefaultFilterKeepsEveryVerdict compares the records with and without the default filter, byte for byte. It does so with
// segments as captured and with segments merged as by offloads. Each of these runs with and without the first packets of each
// connection. Only details of plaintext HTTP after 64 KiB may differ. The reason is that a session is finished at the first
// check after that size, and the check comes earlier if more bytes are seen.
func TestDefaultFilterKeepsEveryVerdict(t *testing.T) {
	norace(t)
	sources := map[string][]flow.Packet{"generated": conversations(t)}
	for _, missed := range []int{3, 4, 6, 9, 14, 30} {
		sources[fmt.Sprintf("generated, without the first %d", missed)] = late(sources["generated"], missed)
	}
	folders := []string{filepath.Join("testdata", "captures"), filepath.Join("..", "..", "test", "tlslab", "testdata", "*")}
	if *capturesDir != "" {
		folders = append(folders, *capturesDir)
	}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.pcap*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d captures", folder, err, len(files))
		}
		for _, file := range files {
			if p := ethernetPackets(t, file); len(p) > 0 {
				sources[file] = p
			}
		}
	}
	program := tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	var total tally
	for name, packets := range sources {
		for _, most := range []int{0, 4 << 10, 15 << 10, 33 << 10, 65160} {
			r := mathrand.New(mathrand.NewPCG(1, uint64(most)))
			merged := offloaded(r, packets, most)
			want, _ := records(t, merged, nil, false)
			got, truncated := records(t, merged, program, true)
			total.add(want, got, truncated)
			for i := range want {
				if i >= len(got) || want[i] != got[i] && withoutHTTP(t, want[i]) != withoutHTTP(t, got[i]) {
					t.Errorf("%s, put together to %d bytes: with the filter\n%s\nwithout\n%s", name, most, append(got, "nothing")[min(i, len(got))], want[i])
					break
				}
			}
		}
	}
	t.Logf("%d sources, %d records, %d equal; %d of %d packets truncated, %d of %d bytes kept", len(sources), total.records, total.equal, total.truncated.packets, total.truncated.all, total.truncated.kept, total.truncated.bytes)
	if total.records < 1000 || total.truncated.packets < 500 || total.equal < total.records*99/100 {
		t.Errorf("too few records to show anything: %+v", total)
	}
}

// late removes the first packets of each connection.
func late(packets []flow.Packet, missed int) (out []flow.Packet) {
	seen := map[netip.AddrPort]int{}
	for _, p := range packets {
		var d flow.Decoded
		if !flow.Decode(&p, &d) {
			continue
		}
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte(d.Src[:4])), d.SrcPort)
		if d.SrcPort != 40000 {
			client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(d.Dst[:4])), d.DstPort)
		}
		if seen[client]++; seen[client] > missed {
			out = append(out, p)
		}
	}
	return out
}

// withoutHTTP removes the details of HTTP from a record with the verdict plaintext. It returns other records unchanged.
func withoutHTTP(t *testing.T, record string) string {
	t.Helper()
	var r map[string]any
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		t.Fatal(err)
	}
	if r["meshtls"].(map[string]any)["verdict"] != "plaintext" {
		return record
	}
	delete(r, "http")
	delete(r, "url")
	delete(r["destination"].(map[string]any), "domain")
	delete(r["meshtls"].(map[string]any), "reasons")
	delete(r["meshtls"].(map[string]any), "peer")
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

type truncation struct{ packets, all, kept, bytes int }

type tally struct {
	records, equal int
	truncated      truncation
}

func (t *tally) add(want, got []string, truncated truncation) {
	t.records += len(want)
	for i := range want {
		if i < len(got) && got[i] == want[i] {
			t.equal++
		}
	}
	t.truncated.packets += truncated.packets
	t.truncated.all += truncated.all
	t.truncated.kept += truncated.kept
	t.truncated.bytes += truncated.bytes
}

// records runs packets through a pipeline and returns its records. A filter that is not nil truncates the packets first.
// defaultCut must be true if filter is the default filter.
func records(t *testing.T, packets []flow.Packet, filter pcapfilter.Program, defaultCut bool) (out []string, truncated truncation) {
	t.Helper()
	p := pipeline.New(pipeline.Config{DefaultFilter: defaultCut, Engine: finding.Config{
		Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
			schematest.Check(t, r.Value)
			out = append(out, string(r.Value))
		},
	}})
	for _, packet := range packets {
		truncated.all++
		truncated.bytes += len(packet.Data)
		if filter != nil {
			n := filter.Run(&pcapfilter.Packet{Data: packet.Data, Length: packet.Length})
			if n == 0 {
				t.Fatalf("a packet was dropped: % x", packet.Data)
			}
			if int(n) < len(packet.Data) {
				truncated.packets++
				packet.Data = packet.Data[:n]
			}
		}
		truncated.kept += len(packet.Data)
		p.Add(packet)
	}
	p.Flush()
	return out, truncated
}

// ethernetPackets returns the packets of a capture. It returns nil if the file cannot be read or has
// another link type.
func ethernetPackets(t *testing.T, file string) (out []flow.Packet) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := pcapfile.NewReader(f)
	if err != nil {
		return nil
	}
	for {
		var p flow.Packet
		if _, err := c.Next(&p); err != nil {
			return out
		}
		if p.Link != wire.LinkEthernet {
			return nil
		}
		p.Data = bytes.Clone(p.Data)
		out = append(out, p)
	}
}

// offloaded merges consecutive segments of a direction. The argument most bounds the payload of a merged segment, in bytes; if it
// is 0, no segments are merged. Near 64 KiB all segments are merged, as a sender does for segmentation offload. Below that size
// some remain unmerged at random, as with receive offload.
func offloaded(r *mathrand.Rand, packets []flow.Packet, most int) (out []flow.Packet) {
	type pending struct {
		at   int // index of the packet in out
		next uint32
		size int
	}
	open := map[string]*pending{} // for each direction, the segment to which the next segments may be joined
	for _, p := range packets {
		var d flow.Decoded
		p.Data = slices.Clip(bytes.Clone(p.Data))
		ok := flow.Decode(&p, &d) && d.Transport == 6 && len(p.Data) == p.Length && len(d.Payload) == d.PayloadLen
		here, there := fmt.Sprint(d.Src, d.SrcPort, d.Dst, d.DstPort), fmt.Sprint(d.Dst, d.DstPort, d.Src, d.SrcPort)
		delete(open, there) // segments of the other direction must stay after this one
		const unusual = 0x07
		if !ok || d.PayloadLen == 0 || d.Flags&unusual != 0 || most == 0 {
			delete(open, here)
			out = append(out, p)
			continue
		}
		if o := open[here]; o != nil && o.next == d.Seq && o.size+d.PayloadLen <= most && (most > 64000 || r.IntN(12) > 0) {
			join(&out[o.at], d.Payload)
			o.next += uint32(d.PayloadLen)
			o.size += d.PayloadLen
			continue
		}
		// Short frames have padding after the payload. It is removed, so that the next payload can
		// be appended.
		p.Data = slices.Clip(p.Data[:offsetIn(p.Data, d.Payload)+len(d.Payload)])
		p.Length = len(p.Data)
		open[here] = &pending{len(out), d.Seq + uint32(d.PayloadLen), d.PayloadLen}
		out = append(out, p)
	}
	return out
}

// join adds payload to a packet and corrects the length in its IP header.
func join(p *flow.Packet, payload []byte) {
	p.Data = append(slices.Clip(p.Data), payload...)
	p.Length = len(p.Data)
	ip := 14
	for typ := binary.BigEndian.Uint16(p.Data[ip-2:]); typ == 0x8100 || typ == 0x88a8; typ = binary.BigEndian.Uint16(p.Data[ip-2:]) {
		ip += 4
	}
	n, at := len(p.Data)-ip, ip+2
	if p.Data[ip]>>4 == 6 {
		n, at = n-40, ip+4
	}
	if n > 65535 {
		n = 0
	}
	binary.BigEndian.PutUint16(p.Data[at:], uint16(n))
}

// conversations returns connections of all kinds.
func conversations(t *testing.T) (out []flow.Packet) {
	t.Helper()
	frames, err := capturetest.Mixed(captureStart)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		out = append(out, packetOf(f))
	}
	return out
}

// packetOf returns a frame as a packet of an Ethernet capture. The frame and the packet share their
// bytes.
func packetOf(f capturetest.Frame) flow.Packet {
	return flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet}
}
