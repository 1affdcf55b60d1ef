package pipeline_test

import (
	"crypto/tls"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// halfHello returns a connection whose client sends more than half of a large ClientHello and then nothing
// more.
func halfHello() *capturetest.Conversation {
	hello := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3}, make([]byte, 15000)...)
	return &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: hello}}}
}

// flowSaid holds the members of a flow record that these tests read.
type flowSaid struct {
	Source  struct{ IP string }
	Meshtls struct {
		Verdict string
		Reasons []string
	}
}

// TestFloodOfHalfOpenSessions: many connections stop in the middle of their first message. The memory of all
// sessions stays within its bound, and the record of each connection that is evicted for this bound has that
// reason. A handshake that takes place during the flood is judged the same as without a flood.
func TestFloodOfHalfOpenSessions(t *testing.T) {
	norace(t)
	var flows []flowSaid
	const most, connections = 1 << 20, 3000
	p := pipeline.New(pipeline.Config{Table: flow.Config{MaxConns: 5000}, MaxPending: most, Engine: finding.Config{Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
		schematest.Check(t, r.Value)
		var o flowSaid
		if err := json.Unmarshal(r.Value, &o); err != nil {
			t.Error(err)
		}
		flows = append(flows, o)
	}}})
	between, start := mutual(t), captureStart
	var evicted int
	for i := range connections {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
		start = start.Add(20 * time.Millisecond)
		play(p, halfHello().Packets(capturetest.Options{Client: client, Start: start, NoFIN: true})...)
		if i > 1000 && len(between) > 0 {
			between[0].Time = start
			play(p, between[0])
			between = between[1:]
		}
		if held := p.Stats().Pending; held > most {
			t.Fatalf("%d bytes in use after %d connections, want at most %d", held, i, most)
		}
	}
	p.Flush()
	for _, o := range flows {
		switch reasons := o.Meshtls.Reasons; {
		case o.Source.IP == realClient:
			if o.Meshtls.Verdict != "mtls" {
				t.Errorf("record of the handshake in between: %+v", o)
			}
		case slices.Contains(reasons, "evicted"):
			evicted++
			fallthrough
		default:
			if o.Meshtls.Verdict != "tls" && o.Meshtls.Verdict != "unknown" {
				t.Fatalf("half a ClientHello has the verdict %s", o.Meshtls.Verdict)
			}
		}
	}
	if s := p.Stats().Table; len(flows) != connections+1 || evicted < connections*9/10 || s.Shed != uint64(evicted) {
		t.Errorf("%d connections, %d evicted, %+v", len(flows), evicted, s)
	}
	if s := p.Stats(); s.Pending != 0 || s.Conclusions != 0 {
		t.Errorf("%d and %d bytes in use after all connections have ended", s.Pending, s.Conclusions)
	}
}

const realClient = "10.9.9.9"

func mutual(t *testing.T) []capturetest.Frame {
	t.Helper()
	return mutualWith(t, netip.MustParseAddrPort(realClient+":40000"), netip.AddrPort{})
}

// mutualWith returns the packets of a mutual TLS 1.3 connection.
func mutualWith(t *testing.T, from, to netip.AddrPort) []capturetest.Frame {
	t.Helper()
	cert := workload(t)
	server := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	client := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, ServerName: "cart"} //nolint:gosec // the test judges the wire
	talk, err := capturetest.Record(capturetest.HTTPClient(client, 100), capturetest.HTTPServer(server, 5000))
	if err != nil {
		t.Fatal(err)
	}
	return talk.Packets(capturetest.Options{Client: from, Server: to})
}

// TestConclusionsAreBounded: many clients, each with a different server name, do not exceed the memory bound for
// conclusions.
func TestConclusionsAreBounded(t *testing.T) {
	norace(t)
	const most = 200 << 10
	p := pipeline.New(pipeline.Config{MaxConclusions: most, Engine: finding.Config{Tap: "read", Window: time.Hour, Emit: func(finding.Record) {}}})
	for i := range 2000 {
		request := []byte("GET / HTTP/1.1\r\nHost: h" + strconv.Itoa(i) + ".example\r\n\r\n")
		talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: request}, {FromServer: true, Data: []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}}}
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
		play(p, talk.Packets(capturetest.Options{Client: client, Start: captureStart.Add(time.Duration(i) * time.Millisecond), NoFIN: true})...)
		if held := p.Stats().Conclusions; held > most {
			t.Fatalf("%d bytes in use after %d connections, want at most %d", held, i, most)
		}
	}
	if s := p.Stats().Table; s.Shed < 1000 || s.Active < 100 {
		t.Errorf("statistics %+v", s)
	}
	p.Flush()
	if s := p.Stats(); s.Pending != 0 || s.Conclusions != 0 {
		t.Errorf("%d and %d bytes in use after all connections have ended", s.Pending, s.Conclusions)
	}
}

// TestNothingIsLeftCounted: once all connections have ended, no memory is accounted for.
func TestNothingIsLeftCounted(t *testing.T) {
	norace(t)
	p := pipeline.New(pipeline.Config{
		Table: flow.Config{MaxConns: 20}, MaxPending: 1 << 10, // less than any session uses
		Engine: finding.Config{Tap: "read", Window: time.Hour, Emit: func(finding.Record) {}},
	})
	frames, err := capturetest.Mixed(captureStart)
	if err != nil {
		t.Fatal(err)
	}
	play(p, frames...)
	p.Flush()
	if s := p.Stats(); s.Pending != 0 || s.Conclusions != 0 || s.Table.Shed == 0 {
		t.Errorf("%d and %d bytes in use after all connections have ended: %+v", s.Pending, s.Conclusions, s.Table)
	}
}
