package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestLabLive plays all captures of the TLS lab, and generated conversations, over a veth pair. Packets have up to 64 KiB, the size in
// which senders pass them to the kernel. With offloads on they arrive in this size; with offloads off the kernel splits them into
// segments. Two rings capture, one with the default filter and one without. Both must give the same records, with the verdicts that
// reading the file gives. No packet may be lost, so the sender waits for the readers.
func TestLabLive(t *testing.T) {
	norace(t)
	if os.Getenv("MESHTLS_LIVE") != "lab" {
		inNamespace(t, "lab")
		return
	}
	configure(t, "link add a0 mtu 65535 type veth peer name b0 mtu 65535", "link set a0 up", "link set b0 up")
	sources := map[string][]flow.Packet{"generated": conversations(t)}
	for _, folder := range []string{filepath.Join("testdata", "captures"), filepath.Join("..", "..", "test", "tlslab", "testdata", "*")} {
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
	for _, offloads := range []bool{true, false} {
		set(t, offloads)
		l := newListener(t)
		connections, packets := map[string]int{}, 0
		for file, whole := range sources {
			packets += l.play(t, offloaded(mathrand.New(mathrand.NewPCG(1, 2)), whole, 65160), offloads)
			filtered, all := l.end(t, file)
			for i := range min(len(all), len(filtered)) + 1 {
				if with, without := append(filtered, "nothing")[i], append(all, "nothing")[i]; with != without {
					t.Errorf("%s, offloads %v: with the default filter\n%s\nwithout\n%s", file, offloads, with, without)
					break
				}
			}
			want, _ := records(t, whole, nil, false)
			if read := verdicts(t, want); !slices.Equal(verdicts(t, l.last), read) {
				t.Errorf("%s, offloads %v: live\n%v\nread\n%v", file, offloads, verdicts(t, l.last), read)
			}
			for _, v := range verdicts(t, l.last) {
				connections[v]++
			}
			if !offloads {
				packets += l.playLost(t, file, whole)
			}
		}
		l.close(t)
		t.Logf("offloads %v: %d packets arrived, %d truncated by the filter; %v", offloads, packets, l.truncated, connections)
		if len(sources) < 200 || len(connections) < 10 || l.truncated == 0 && offloads {
			t.Errorf("too little to say anything: %d sources, %d packets truncated, %v", len(sources), l.truncated, connections)
		}
	}
}

// inNamespace runs the test again in a child process that has its own network namespace.
func inNamespace(t *testing.T, life string) {
	t.Helper()
	if os.Getuid() != 0 {
		absent(t, "network namespaces need root")
	}
	needs(t, "ip", "iproute2", "ethtool", "ethtool", "unshare", "util-linux")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--net", self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "MESHTLS_LIVE="+life)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// configure runs commands of ip(8). It turns off IPv6, so that the kernel sends no packets of its own on new interfaces.
func configure(t *testing.T, commands ...string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, c := range commands {
		ip(t, strings.Fields(c)...)
	}
}

// set turns the segmentation offloads of the sender on or off.
func set(t *testing.T, on bool) {
	t.Helper()
	value := map[bool]string{true: "on", false: "off"}[on]
	if out, err := exec.Command("ethtool", "-K", "a0", "tso", value, "gso", value).CombinedOutput(); err != nil {
		t.Fatalf("ethtool: %v: %s", err, out)
	}
}

// listener has two rings on an interface, each with a pipeline, and the socket that sends to them.
type listener struct {
	socket  int
	handles [2]*afpacket.Handle
	runs    sync.WaitGroup

	mu        sync.Mutex
	pipelines [2]*pipeline.Pipeline
	records   [2][]string
	seen      [2]int
	truncated int // packets that the default filter truncated

	last []string // records of the capture file that was played last, from the ring without a filter
}

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{}
	var err error
	if l.socket, err = player("a0"); err != nil {
		t.Fatal(err)
	}
	for i := range l.handles {
		// The kernel closes a block after the retire timeout, even if it has few packets. The ring has more blocks than there are
		// packets in flight. So it has room for all of them, even if the reader is late.
		cfg := afpacket.Config{Interface: "b0", Retire: time.Millisecond, BlockBytes: 128 << 10, RingBytes: 3 * mostOnTheWay * 128 << 10}
		if i == 0 {
			cfg.Filter = tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
		}
		if l.handles[i], err = afpacket.Open(cfg); err != nil {
			t.Fatal(err)
		}
		l.begin(i)
		l.runs.Go(func() {
			if err := l.handles[i].Run(func(b *afpacket.Block) { l.block(i, b) }); err != nil {
				t.Error(err)
			}
		})
	}
	return l
}

// begin gives a ring an empty pipeline. The caller holds l.mu, unless the ring is not read yet.
func (l *listener) begin(i int) {
	l.records[i] = nil
	l.pipelines[i] = pipeline.New(pipeline.Config{DefaultFilter: i == 0, Engine: finding.Config{
		Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) { l.records[i] = append(l.records[i], string(r.Value)) },
	}})
}

func (l *listener) block(i int, b *afpacket.Block) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for x, ok := b.Next(); ok; x, ok = b.Next() {
		p := flow.Packet{Link: wire.LinkEthernet, Time: x.Time, Data: x.Data, Length: x.Length}
		l.pipelines[i].Add(p)
		l.seen[i]++
		if i == 0 && len(x.Data) < x.Length {
			l.truncated++
		}
	}
}

// mostOnTheWay is how many frames are sent before the sender waits for the readers. The kernel may split each frame into 46
// segments; a block has room for about 80 segments.
const mostOnTheWay = 50

// segmentBytes is the payload of a segment if the kernel has to split a packet.
const segmentBytes = 1448

// play sends packets in batches. After each batch it waits until the readers of both rings have it. It returns how many packets
// arrived.
func (l *listener) play(t *testing.T, packets []flow.Packet, offloads bool) (arrived int) {
	t.Helper()
	l.mu.Lock()
	l.seen = [2]int{}
	l.mu.Unlock()
	const most = 512 << 10 // bytes in flight, an eighth of a ring
	bytes := 0
	for i := range packets {
		segments, err := send(l.socket, &packets[i])
		if err != nil {
			t.Fatal(err)
		}
		if offloads {
			segments = 1
		}
		arrived += segments
		if bytes += packets[i].Length; bytes > most || i%mostOnTheWay == mostOnTheWay-1 {
			bytes = 0
			l.await(t, arrived)
		}
	}
	l.await(t, arrived)
	return arrived
}

// await waits until both readers have read n packets.
func (l *listener) await(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(eventually.Limit); ; time.Sleep(200 * time.Microsecond) {
		l.mu.Lock()
		seen := l.seen
		l.mu.Unlock()
		if seen == [2]int{n, n} {
			return
		}
		if seen[0] > n || seen[1] > n || time.Now().After(deadline) {
			t.Fatalf("%d packets were sent, the readers had %v", n, seen)
		}
	}
}

// end ends the connections and returns the facts of both rings.
func (l *listener) end(t *testing.T, file string) (filtered, all []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out [2][]string
	for i, p := range l.pipelines {
		p.Flush()
		schematest.Lines(t, l.records[i])
		out[i] = facts(t, l.records[i])
		if i == 1 {
			l.last = l.records[i]
		}
		if n := p.Stats().Table.Packets; n == 0 {
			t.Errorf("%s: no packet arrived", file)
		}
		l.begin(i)
	}
	return out[0], out[1]
}

func (l *listener) close(t *testing.T) {
	t.Helper()
	for _, h := range l.handles {
		h.Close()
	}
	l.runs.Wait()
	for _, h := range l.handles {
		if s, err := h.Stats(); err != nil || s.Drops > 0 {
			t.Errorf("%v, %+v", err, s)
		}
	}
	unix.Close(l.socket)
}

// player opens a packet socket for frames with a struct virtio_net_hdr in front (packet(7), PACKET_VNET_HDR).
func player(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: int(request.Uint32())})
}

// send sends a frame. It returns how many segments of at most segmentBytes the payload fills. A TCP frame with more payload than
// one segment is sent with the header for segmentation offload.
func send(fd int, p *flow.Packet) (segments int, err error) {
	var d flow.Decoded
	segments = 1
	header := make([]byte, 10)
	if flow.Decode(p, &d) && d.Transport == 6 && len(d.Payload) > segmentBytes {
		const needsChecksum, tcp4, tcp6, checksumAt = 1, 1, 4, 16
		segments = (len(d.Payload) + segmentBytes - 1) / segmentBytes
		payload := offsetIn(p.Data, d.Payload)
		start := tcpStart(p.Data)
		header[0], header[1] = needsChecksum, tcp4
		if d.IPv6 {
			header[1] = tcp6
		}
		binary.NativeEndian.PutUint16(header[2:], uint16(payload))
		binary.NativeEndian.PutUint16(header[4:], segmentBytes)
		binary.NativeEndian.PutUint16(header[6:], uint16(start))
		binary.NativeEndian.PutUint16(header[8:], checksumAt)
	}
	_, err = unix.Write(fd, append(header, p.Data...))
	if err != nil {
		err = fmt.Errorf("send %d bytes in %d segments: %w", len(p.Data), segments, err)
	}
	return segments, err
}

// tcpStart returns the offset of the TCP header in a frame without IPv6 extension headers.
func tcpStart(frame []byte) int {
	at := 14
	for typ := binary.BigEndian.Uint16(frame[at-2:]); typ == 0x8100 || typ == 0x88a8; typ = binary.BigEndian.Uint16(frame[at-2:]) {
		at += 4
	}
	if frame[at]>>4 == 6 {
		return at + 40
	}
	return at + int(frame[at]&15)*4
}

// age matches the only time among the facts. This time differs between the rings.
var age = regexp.MustCompile(`"client_auth_age":\d+,`)

// facts returns the parts of connections' records that a filter must not change. It leaves out times, and details of plaintext HTTP
// after 64 KiB (see TestDefaultFilterKeepsEveryVerdict).
func facts(t *testing.T, records []string) []string {
	t.Helper()
	var out []string
	for _, s := range records {
		r := parseFlow(withoutHTTP(t, s))
		if r == nil {
			t.Fatalf("no flow: %s", s)
		}
		out = append(out, fmt.Sprintf("%d > %d: %s", r.clientPort, r.port, age.ReplaceAllString(r.facts, "")))
	}
	slices.Sort(out)
	return out
}

// verdicts returns the verdicts, with client authentication and its basis, sorted.
func verdicts(t *testing.T, records []string) []string {
	t.Helper()
	var out []string
	for _, s := range records {
		var r struct {
			Meshtls struct {
				Verdict string
				TLS     struct {
					Auth  string `json:"client_auth"`
					Basis string `json:"client_auth_basis"`
				}
			}
		}
		if err := json.Unmarshal([]byte(s), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(r.Meshtls.Verdict, " ", r.Meshtls.TLS.Auth, " ", r.Meshtls.TLS.Basis))
	}
	slices.Sort(out)
	return out
}
