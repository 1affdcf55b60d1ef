package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// capturesDir adds captures to those of TestDefaultFilterKeepsEveryVerdict.
var capturesDir = flag.String("captures", "", "a folder of captures (of Ethernet) for TestDefaultFilterKeepsEveryVerdict, besides the project's own")

// TestDefaultFilterKeepsEveryVerdict puts the default filter before the pipeline and compares every record of a connection,
// byte for byte, with what is said without it: as the segments came, and put together as offloads do; from the start of each
// connection, and attached to late. One thing may be more with the filter: what is read of HTTP in the clear behind 64 KiB,
// where a session is finished as soon as it is looked at, which is sooner where more of its bytes are seen.
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
	program := pcapfilter.Default(pcapfilter.Config{Link: pcapfilter.LinkEthernet, Live: true})
	var total tally
	for name, packets := range sources {
		for _, most := range []int{0, 4 << 10, 15 << 10, 33 << 10, 65160} {
			r := mathrand.New(mathrand.NewPCG(1, uint64(most)))
			merged := offloaded(r, packets, most)
			want, _ := records(t, merged, nil, false)
			got, cut := records(t, merged, program, true)
			total.add(want, got, cut)
			for i := range want {
				if i >= len(got) || want[i] != got[i] && withoutHTTP(t, want[i]) != withoutHTTP(t, got[i]) {
					t.Errorf("%s, put together to %d bytes: with the filter\n%s\nwithout\n%s", name, most, append(got, "nothing")[min(i, len(got))], want[i])
					break
				}
			}
		}
	}
	t.Logf("%d sources, %d records, %d equal; %d of %d packets cut, %d of %d bytes kept", len(sources), total.records, total.equal, total.cut.packets, total.cut.all, total.cut.kept, total.cut.bytes)
	if total.records < 1000 || total.cut.packets < 500 || total.equal < total.records*99/100 {
		t.Errorf("too little to say anything: %+v", total)
	}
}

// late leaves the first packets of each connection out.
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

// withoutHTTP returns a record of cleartext without what was read of HTTP; other records as they are.
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

type cutting struct{ packets, all, kept, bytes int }

type tally struct {
	records, equal int
	cut            cutting
}

func (t *tally) add(want, got []string, cut cutting) {
	t.records += len(want)
	for i := range want {
		if i < len(got) && got[i] == want[i] {
			t.equal++
		}
	}
	t.cut.packets += cut.packets
	t.cut.all += cut.all
	t.cut.kept += cut.kept
	t.cut.bytes += cut.bytes
}

// records runs packets through the pipeline, cut by a filter if there is one; defaultCut tells that it is the default filter.
func records(t *testing.T, packets []flow.Packet, filter pcapfilter.Program, defaultCut bool) (out []string, cut cutting) {
	t.Helper()
	p := pipeline.New(pipeline.Config{DefaultFilter: defaultCut, Engine: finding.Config{
		Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) { out = append(out, string(r.Value)) },
	}})
	for _, packet := range packets {
		cut.all++
		cut.bytes += len(packet.Data)
		if filter != nil {
			n := filter.Run(&pcapfilter.Packet{Data: packet.Data, Length: packet.Length})
			if n == 0 {
				t.Fatalf("a packet was dropped: % x", packet.Data)
			}
			if int(n) < len(packet.Data) {
				cut.packets++
				packet.Data = packet.Data[:n]
			}
		}
		cut.kept += len(packet.Data)
		p.Add(packet)
	}
	p.Flush()
	return out, cut
}

// ethernetPackets returns the packets of a capture, nil if it cannot be read or is of another link type.
func ethernetPackets(t *testing.T, file string) (out []flow.Packet) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := openCapture(f)
	if err != nil {
		return nil
	}
	for {
		var p flow.Packet
		if _, err := c.next(&p); err != nil {
			return out
		}
		if p.Link != flow.LinkEthernet {
			return nil
		}
		p.Data = bytes.Clone(p.Data)
		out = append(out, p)
	}
}

// offloaded puts segments together that follow each other in one direction, up to so many bytes of payload: 0 for none; all
// that a sender hands to segmentation offload at once; or, below 64 KiB, some of them by chance, as receive offload does.
func offloaded(r *mathrand.Rand, packets []flow.Packet, most int) (out []flow.Packet) {
	type pending struct {
		at   int // in out
		next uint32
		size int
	}
	open := map[string]*pending{} // by direction
	for _, p := range packets {
		var d flow.Decoded
		p.Data = slices.Clip(bytes.Clone(p.Data))
		ok := flow.Decode(&p, &d) && d.Transport == 6 && len(p.Data) == p.Length && len(d.Payload) == d.PayloadLen
		here, there := fmt.Sprint(d.Src, d.SrcPort, d.Dst, d.DstPort), fmt.Sprint(d.Dst, d.DstPort, d.Src, d.SrcPort)
		delete(open, there) // what answers comes after it
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
		// Short frames are padded behind the payload: nothing could be put there.
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

// conversations returns connections of all kinds, one after the other: versions, ways to authenticate, sizes of chains and
// of what is transferred both ways, segment sizes, ends.
func conversations(t *testing.T) []flow.Packet {
	t.Helper()
	ca, err := capturetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	small, large := certificate(t, ca, 0), certificate(t, ca, 7)
	var out []flow.Packet
	n := 0
	add := func(talk *capturetest.Conversation, mss int, reset bool) {
		for _, f := range talk.Packets(capturetest.Options{
			Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 40000), Server: netip.MustParseAddrPort("10.2.0.1:8443"),
			MSS: mss, Start: captureStart.Add(time.Duration(n) * 20 * time.Second), Reset: reset, ClientISN: 7 * uint32(n+1), ServISN: 1 << 31,
		}) {
			out = append(out, packetOf(f))
		}
		n++
	}
	sizes := [][2]int{{0, 5}, {10, 3000}, {100, 18000}, {100, 150000}, {2500, 5}, {70000, 100}, {200000, 200000}}
	for _, mss := range []int{1448, 8948, 16000, 33000, 65160} {
		for i, size := range sizes {
			plain, err := capturetest.Record(exchange(nil, size[0]), answering(nil, size[1]))
			if err != nil {
				t.Fatal(err)
			}
			add(plain, mss, i%3 == 0)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				for auth := range tls.RequireAndVerifyClientCert + 1 {
					cert := small
					if i%2 == 0 {
						cert = large
					}
					server := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: auth, ClientCAs: ca.Pool, MinVersion: version, MaxVersion: version} //nolint:gosec // old versions are what is tested
					client := &tls.Config{InsecureSkipVerify: true, ServerName: "cart", DynamicRecordSizingDisabled: i%2 == 0}                                   //nolint:gosec // the wire is what is judged
					if auth > tls.NoClientCert && (i+int(auth))%3 > 0 {
						client.Certificates = []tls.Certificate{cert}
					}
					talk, _ := capturetest.Record(exchange(client, size[0]), answering(server, size[1])) // some are refused
					add(talk, mss, i%3 == 0)
				}
			}
		}
	}
	return out
}

// certificate makes one with a chain that is that much longer than need be.
func certificate(t *testing.T, ca *capturetest.Authority, extra int) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue("spiffe://cluster.local/ns/shop/sa/cart", "cart")
	if err != nil {
		t.Fatal(err)
	}
	for range extra {
		more, err := ca.Issue("spiffe://cluster.local/ns/shop/sa/"+strings.Repeat("long", 100), "more")
		if err != nil {
			t.Fatal(err)
		}
		cert.Certificate = append(cert.Certificate, more.Certificate[0])
	}
	return cert
}

// exchange is a client that posts so many bytes, twice, and reads the answers.
func exchange(cfg *tls.Config, size int) func(net.Conn) error {
	return func(c net.Conn) error {
		if cfg != nil {
			c = tls.Client(c, cfg)
		}
		in := bufio.NewReader(c)
		for range 2 {
			var b bytes.Buffer
			fmt.Fprintf(&b, "POST /items HTTP/1.1\r\nHost: cart:8080\r\nContent-Length: %d\r\n\r\n", size)
			io.CopyN(&b, rand.Reader, int64(size))
			if _, err := c.Write(b.Bytes()); err != nil {
				return err
			}
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				return err
			}
			io.Copy(io.Discard, r.Body)
		}
		return c.Close()
	}
}

// answering is a server that reads requests and sends so many bytes for each.
func answering(cfg *tls.Config, size int) func(net.Conn) error {
	return func(c net.Conn) error {
		if cfg != nil {
			c = tls.Server(c, cfg)
		}
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return err
			}
			io.Copy(io.Discard, r.Body)
			var b bytes.Buffer
			fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			io.CopyN(&b, rand.Reader, int64(size))
			if _, err := c.Write(b.Bytes()); err != nil {
				return err
			}
		}
	}
}
