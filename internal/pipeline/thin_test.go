package pipeline_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// kernel simulates a packet socket with its filter and ring, through which a pipeline receives packets.
// The current filter is applied to a packet when it arrives, and the packet is read up to one block
// later.
type kernel struct {
	pipeline *pipeline.Pipeline
	thinner  pipeline.Thinner
	filter   pcapfilter.Program
	ring     []flow.Packet
	tick     int64 // time of the last tick
	left     int   // number of packets left out
	changes  int
}

// Bounds of a block: its packets, and how long a packet waits for it to fill (see afpacket.Config).
const (
	blockPackets = 64
	blockWait    = 50 * time.Millisecond
)

func (k *kernel) add(t *testing.T, p flow.Packet) {
	t.Helper()
	if len(k.ring) > 0 && p.Time-k.ring[0].Time >= int64(blockWait) {
		k.read(t, k.ring[0].Time+int64(blockWait))
	}
	if p.Time-k.tick >= int64(pipeline.ThinEvery) {
		k.tick = p.Time
		k.look(t, p.Time)
	}
	if len(k.ring) == blockPackets {
		k.read(t, p.Time)
	}
	n := k.filter.Run(&pcapfilter.Packet{Data: p.Data, Length: p.Length})
	if n == 0 {
		k.left++
		return
	}
	p.Data = p.Data[:min(int(n), len(p.Data))]
	k.ring = append(k.ring, p)
}

// read passes the block to the pipeline and updates the filter, as the reader of a ring does.
func (k *kernel) read(t *testing.T, now int64) {
	t.Helper()
	for i := range k.ring {
		k.pipeline.Add(k.ring[i])
	}
	k.ring = k.ring[:0]
	k.look(t, now)
}

// look updates the filter if the choice of connections has changed.
func (k *kernel) look(t *testing.T, now int64) {
	t.Helper()
	changed := false
	k.pipeline.Do(func(p *pipeline.Locked) { changed = k.thinner.Choose(p, now) })
	if !changed {
		return
	}
	k.changes++
	config := pcapfilter.Config{Link: wire.LinkEthernet, Live: true}
	except, err := tapfilter.Thin(config, k.chosen())
	if err == nil {
		k.filter, err = pcapfilter.And(except, tapfilter.Default(config))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// chosen returns the connections that are thinned.
func (k *kernel) chosen() (out []tapfilter.Connection) {
	k.pipeline.Do(func(p *pipeline.Locked) { out = p.Thinned(0) })
	return out
}

// thinned runs packets through a simulated kernel and a pipeline. most bounds the connections that
// are thinned.
func thinned(t *testing.T, packets []flow.Packet, most int, table flow.Config) (out []string, k *kernel) {
	t.Helper()
	k = &kernel{thinner: pipeline.Thinner{Most: most}, filter: tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})}
	k.pipeline = pipeline.New(pipeline.Config{Table: table, DefaultFilter: true, Engine: finding.Config{
		Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
			schematest.Check(t, r.Value)
			out = append(out, string(r.Value))
		},
	}})
	for _, p := range packets {
		k.add(t, p)
	}
	k.read(t, k.tick)
	k.pipeline.Flush()
	return out, k
}

// keptAlive returns a conversation of one connection with a number of requests and responses, in plaintext
// or over TLS.
func keptAlive(t *testing.T, client, server *tls.Config, requests, size int) *capturetest.Conversation {
	t.Helper()
	talk, err := capturetest.Record(func(c net.Conn) error {
		if client != nil {
			c = tls.Client(c, client)
		}
		in := bufio.NewReader(c)
		for i := range requests {
			if _, err := fmt.Fprintf(c, "GET /items/%d HTTP/1.1\r\nHost: cart:8080\r\nUser-Agent: %s\r\n\r\n", i, strings.Repeat("a", i%200)); err != nil {
				return err
			}
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				return err
			}
			io.Copy(io.Discard, r.Body)
		}
		return c.Close()
	}, capturetest.HTTPServer(server, size))
	if err != nil {
		t.Fatal(err)
	}
	return talk
}

// kinds lists kinds of long connections, as functions that return a conversation with a number of
// requests.
func kinds(t *testing.T) []func(requests, size int) *capturetest.Conversation {
	t.Helper()
	ca, err := capturetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueChain(3)
	if err != nil {
		t.Fatal(err)
	}
	out := []func(requests, size int) *capturetest.Conversation{
		func(requests, size int) *capturetest.Conversation { return keptAlive(t, nil, nil, requests, size) },
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, mutual := range []bool{false, true} {
			server := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version, SessionTicketsDisabled: true}
			client := &tls.Config{InsecureSkipVerify: true, ServerName: "cart"} //nolint:gosec // the test judges the wire
			if mutual {
				server.ClientAuth, client.Certificates = tls.RequireAnyClientCert, []tls.Certificate{cert}
			}
			out = append(out, func(requests, size int) *capturetest.Conversation {
				return keptAlive(t, client, server, requests, size)
			})
		}
	}
	return out
}

// told holds the members of a record that thinning must not change.
type told struct {
	Source, Destination struct {
		IP          string
		Port, Bytes int
		Packets     int
	}
	Event   struct{ Start, End string }
	MeshTLS struct {
		Verdict string
		Reasons []string
		TLS     struct {
			ClientAuth string `json:"client_auth"`
		}
	}
	whole map[string]any
}

func tell(t *testing.T, records []string) (out []told) {
	t.Helper()
	for _, r := range records {
		var x told
		if err := json.Unmarshal([]byte(r), &x); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(r), &x.whole); err != nil {
			t.Fatal(err)
		}
		for _, end := range []string{"source", "destination", "network"} {
			delete(x.whole[end].(map[string]any), "packets")
		}
		for _, field := range []string{"created", "sequence"} { // may differ: a record is emitted when another packet advances the time, and thinning leaves packets out
			delete(x.whole["event"].(map[string]any), field)
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b told) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// key sorts by client, then by time.
func (x *told) key() string {
	ip := netip.MustParseAddr(x.Source.IP).As4()
	return fmt.Sprintf("%03d.%05d %s", ip[2:], x.Source.Port, x.Event.Start)
}

// together merges conversations into one capture, in which they run at the same time.
func together(talks []*capturetest.Conversation, options func(i int) capturetest.Options) (out []flow.Packet) {
	for i, talk := range talks {
		for _, f := range talk.Packets(options(i)) {
			out = append(out, packetOf(f))
		}
	}
	slices.SortStableFunc(out, func(a, b flow.Packet) int { return int(a.Time - b.Time) })
	return out
}

// TestThinning runs long connections of all kinds, and compares each record with the record of a run without
// thinning. All members must be equal, including the byte counts of both sides. Only the packet counts may differ,
// because they count captured packets.
func TestThinning(t *testing.T) {
	norace(t)
	r := mathrand.New(mathrand.NewPCG(3, 4))
	var talks []*capturetest.Conversation
	for _, size := range []int{5, 1000, 5000} {
		for _, kind := range kinds(t) {
			talks = append(talks, kind(3000+r.IntN(3000), size))
		}
	}
	packets := together(talks, func(i int) capturetest.Options {
		return capturetest.Options{
			Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i % 3)}), uint16(40000+i)), Server: netip.MustParseAddrPort("10.2.0.1:8443"),
			Start: captureStart.Add(time.Duration(r.IntN(4000)) * time.Millisecond), ClientISN: r.Uint32(), ServISN: r.Uint32(), Reset: i%4 == 0,
		}
	})
	all := records(t, packets, nil)
	some, k := thinned(t, packets, pipeline.MaxThinned, flow.Config{})
	want, got := tell(t, all), tell(t, some)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	fewer := 0
	for i := range want {
		a, b := mustJSON(t, want[i].whole), mustJSON(t, got[i].whole)
		if a != b {
			t.Errorf("thinned\n%s\nwhole\n%s", b, a)
		}
		if got[i].Source.Packets < want[i].Source.Packets/4 && got[i].Destination.Packets < want[i].Destination.Packets/4 {
			fewer++
		}
	}
	t.Logf("%d of %d packets left out, %d changes of the filter, %d bytes by sequence numbers", k.left, len(packets), k.changes, k.pipeline.Stats().Table.ThinnedBytes)
	if fewer < len(want)*3/5 || k.left < len(packets)/2 || k.changes > 8*len(talks) {
		t.Errorf("%d of %d connections were thinned, %d of %d packets left out, %d changes of the filter", fewer, len(want), k.left, len(packets), k.changes)
	}
}

// TestThinningRedirected: on lo under a mesh's REDIRECT, packets of the originator go to the proxy, and the
// responses seem to come from the original destination. Both faces of the connection are thinned, and the records
// are the same as without thinning.
func TestThinningRedirected(t *testing.T) {
	r := mathrand.New(mathrand.NewPCG(7, 8))
	var talks []*capturetest.Conversation
	for range 4 {
		for _, kind := range kinds(t) {
			talks = append(talks, kind(2000, 300))
		}
	}
	packets := together(talks, func(i int) capturetest.Options {
		return capturetest.Options{
			Client: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.1"), uint16(40000+i)), Server: netip.MustParseAddrPort("10.2.0.1:8443"),
			Start: captureStart.Add(time.Duration(r.IntN(4000)) * time.Millisecond), ClientISN: r.Uint32(), ServISN: r.Uint32(),
		}
	})
	const ip, ports = 14, 14 + 20
	for _, p := range packets {
		if binary.BigEndian.Uint16(p.Data[ports+2:]) == 8443 {
			copy(p.Data[ip+16:], []byte{127, 0, 0, 1})
			binary.BigEndian.PutUint16(p.Data[ports+2:], 15001)
		}
	}
	lo := flow.Config{Loopback: func(uint16) bool { return true }}
	whole, _ := thinned(t, packets, 0, lo)
	some, k := thinned(t, packets, pipeline.MaxThinned, lo)
	want, got := tell(t, whole), tell(t, some)
	if len(want) != len(talks) || len(got) != len(want) {
		t.Fatalf("%d and %d records, want %d", len(want), len(got), len(talks))
	}
	for i := range want {
		if a, b := mustJSON(t, want[i].whole), mustJSON(t, got[i].whole); a != b || !strings.Contains(a, `"nat":{"ip":"127.0.0.1","port":15001}`) {
			t.Errorf("thinned\n%s\nwhole\n%s", b, a)
		}
		for _, packets := range [][2]int{{want[i].Source.Packets, got[i].Source.Packets}, {want[i].Destination.Packets, got[i].Destination.Packets}} {
			if packets[1] > packets[0]/2 {
				t.Errorf("%s: %d of %d packets were captured", got[i].key(), packets[1], packets[0])
			}
		}
	}
	t.Logf("%d of %d packets left out", k.left, len(packets))
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestThinningPortsTakenAgain: a thinned connection ends, and a connection of any other kind reuses its ports at
// once, before the filter can change. The filter then leaves out packets of the new connection too. No record may
// claim anything false about the new connection, but its verdict may be unknown, with a reason. A long new
// connection is judged in the end.
func TestThinningPortsTakenAgain(t *testing.T) {
	norace(t)
	r := mathrand.New(mathrand.NewPCG(5, 6))
	client := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
	}
	var talks []*capturetest.Conversation
	var options []capturetest.Options
	all := kinds(t)
	var pauses []time.Duration
	n := 0
	for _, first := range all {
		for _, second := range all {
			for _, requests := range []int{1, 40, 3000} {
				before := first(700+r.IntN(1500), 500)
				o := capturetest.Options{
					Client: client(n), Server: netip.MustParseAddrPort("10.2.0.1:8443"),
					Start: captureStart.Add(time.Duration(r.IntN(20000)) * time.Millisecond), ClientISN: r.Uint32(), ServISN: r.Uint32(),
				}
				talks, options = append(talks, before), append(options, o)
				frames := before.Packets(o)
				pause := time.Duration(1+r.IntN(400)) * time.Millisecond
				o.Start = frames[len(frames)-1].Time.Add(pause)
				pauses = append(pauses, pause)
				// Linux accepts a SYN in TIME-WAIT if its sequence number is higher than all earlier ones
				// (tcp_timewait_state_process).
				o.ClientISN, o.ServISN = o.ClientISN+1<<22, o.ServISN+1<<22
				talks, options = append(talks, second(requests, 500)), append(options, o)
				n++
			}
		}
	}
	packets := together(talks, func(i int) capturetest.Options { return options[i] })
	whole := records(t, packets, nil)
	some, k := thinned(t, packets, pipeline.MaxThinned, flow.Config{})
	want, got := tell(t, whole), tell(t, some)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	fewer := 0
	for i := range want {
		w, g := &want[i], &got[i]
		if g.key() != w.key() {
			t.Fatalf("record of %s, want %s", g.key(), w.key())
		}
		if g.MeshTLS.Verdict == w.MeshTLS.Verdict && g.MeshTLS.TLS.ClientAuth == w.MeshTLS.TLS.ClientAuth {
			continue
		}
		weaker := g.MeshTLS.Verdict == "unknown" || g.MeshTLS.Verdict == "tls" && (g.MeshTLS.TLS.ClientAuth == "unknown" || g.MeshTLS.TLS.ClientAuth == w.MeshTLS.TLS.ClientAuth)
		// The packets that end the connection wait in the ring. If the filter has just changed, it changes again only
		// after the next tick.
		const late = blockWait + pipeline.ThinEvery
		if i%2 == 0 || !weaker || len(g.MeshTLS.Reasons) == 0 || pauses[i/2] > late {
			t.Errorf("%s: %s and %s, want %s and %s: %v, pause of %v", g.key(), g.MeshTLS.Verdict, g.MeshTLS.TLS.ClientAuth, w.MeshTLS.Verdict, w.MeshTLS.TLS.ClientAuth, g.MeshTLS.Reasons, pauses[i/2])
		}
		fewer++
	}
	t.Logf("%d connections, %d of %d packets left out; of %d that reused ports, %d are less certain", len(want), k.left, len(packets), len(want)/2, fewer)
	if k.left < len(packets)/2 {
		t.Errorf("too few packets were left out for this test: %d of %d", k.left, len(packets))
	}
}
