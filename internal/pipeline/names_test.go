package pipeline_test

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// pingTalk returns a Redis request and its response, which do not name the server.
func pingTalk(t *testing.T) *capturetest.Conversation {
	t.Helper()
	talk, err := capturetest.Record(
		func(c net.Conn) error {
			if _, err := io.WriteString(c, "*1\r\n$4\r\nPING\r\n"); err != nil {
				return err
			}
			_, err := io.ReadFull(c, make([]byte, 7))
			return err
		},
		func(c net.Conn) error {
			if _, err := io.ReadFull(c, make([]byte, 14)); err != nil {
				return err
			}
			_, err := io.WriteString(c, "+PONG\r\n")
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	return talk
}

// TestNamesOfPeers: a DNS query precedes the connection. The name from the answer is used for the peer and
// its edge only if the pod asked and its resolver answered.
func TestNamesOfPeers(t *testing.T) {
	pod, server := netip.MustParseAddrPort("10.1.0.7:40000"), netip.MustParseAddrPort("10.1.0.20:6379")
	resolver, stranger := netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("10.1.0.66:53")
	asking := netip.MustParseAddrPort("10.1.0.7:35000")
	query, response := capturetest.DNS(7, "redis.shop.svc.cluster.local", 30, nil, server.Addr())
	alias, aliased := capturetest.DNS(8, "cache.example", 30, []string{"redis.shop.svc.cluster.local"}, server.Addr())
	framed := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	overTCP := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: framed(query)}, {FromServer: true, Read: len(query) + 2, Data: framed(response)}}}
	type datagram struct {
		from, to netip.AddrPort
		data     []byte
	}
	const byAddress = "egress shop/web > 10.1.0.20:6379"
	for _, c := range []struct {
		name       string
		datagrams  []datagram
		tcp        *capturetest.Conversation
		peer, edge string
	}{
		{name: "nothing asked", edge: byAddress},
		{"asked and answered", []datagram{{asking, resolver, query}, {resolver, asking, response}}, nil, "redis.shop.svc.cluster.local", "egress shop/web > redis.shop.svc.cluster.local:6379"},
		{"by an alias", []datagram{{asking, resolver, alias}, {resolver, asking, aliased}}, nil, "cache.example", "egress shop/web > cache.example:6379"},
		{"over TCP", nil, overTCP, "redis.shop.svc.cluster.local", "egress shop/web > redis.shop.svc.cluster.local:6379"},
		{"answered by another address", []datagram{{asking, resolver, query}, {stranger, asking, response}}, nil, "", byAddress},
		{"answered by another port", []datagram{{asking, resolver, query}, {netip.AddrPortFrom(resolver.Addr(), 54), asking, response}}, nil, "", byAddress},
		{"answered unasked", []datagram{{resolver, asking, response}}, nil, "", byAddress},
		{"answered with another id", []datagram{{asking, resolver, query}, {resolver, asking, append([]byte{9, 9}, response[2:]...)}}, nil, "", byAddress},
		{"another one asked", []datagram{{stranger, asking, query}, {asking, stranger, response}}, nil, "", byAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			var frames []capturetest.Frame
			if c.tcp != nil {
				frames = c.tcp.Packets(capturetest.Options{Client: asking, Server: resolver, Start: captureStart})
			}
			for i, d := range c.datagrams {
				frames = append(frames, capturetest.Frame{Time: captureStart.Add(time.Duration(i) * time.Millisecond), Data: capturetest.UDPFrame(d.from, d.to, d.data)})
			}
			frames = append(frames, pingTalk(t).Packets(capturetest.Options{Client: pod, Server: server, Start: captureStart.Add(time.Second)})...)
			flows, edge := through(t, frames)
			got := flows["10.1.0.20"]
			if got.Meshtls.Verdict != "plaintext" || got.Meshtls.Class != "workload" || got.Meshtls.Expectation != "undeclared" {
				t.Errorf("verdict %s, class %s, expectation %s", got.Meshtls.Verdict, got.Meshtls.Class, got.Meshtls.Expectation)
			}
			if got.Meshtls.Peer.Name != c.peer || got.Destination.Domain != c.peer || (got.Meshtls.Peer.NameBasis == "dns") != (c.peer != "") {
				t.Errorf("peer %+v, destination %+v", got.Meshtls.Peer, got.Destination)
			}
			if edge != c.edge {
				t.Errorf("edge %q, want %q", edge, c.edge)
			}
		})
	}
}

// telling holds the members of a record that TestNamesOfPeers compares.
type telling struct {
	Event       struct{ Dataset string }
	Destination struct{ IP, Domain string }
	Meshtls     struct {
		Verdict, Class, Expectation string
		Peer                        struct {
			Name      string `json:"name"`
			NameBasis string `json:"name_basis"`
		}
		Edge    struct{ Key string }
		Finding struct{ State string }
	}
}

func unmarshal(t *testing.T, record []byte) (x telling) {
	t.Helper()
	if err := json.Unmarshal(record, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// through runs frames through the pipeline of a pod. It returns the flows by destination, and the edge of
// the finding.
func through(t *testing.T, frames []capturetest.Frame) (flows map[string]telling, edge string) {
	t.Helper()
	flows = map[string]telling{}
	p := pipeline.New(pipeline.Config{Judge: verdict.Config{Local: []netip.Prefix{netip.MustParsePrefix("10.1.0.7/32")}}, Engine: finding.Config{
		Tap: "pod", Identity: finding.Identity{Namespace: "shop", Pod: "web"}, Window: time.Hour, Flows: true, Findings: true, Emit: func(r finding.Record) {
			schematest.Check(t, r.Value)
			x := unmarshal(t, r.Value)
			if x.Event.Dataset == finding.DatasetFlow {
				flows[x.Destination.IP] = x
			} else {
				edge = x.Meshtls.Edge.Key
			}
		},
	}})
	play(p, frames...)
	p.Flush()
	return flows, edge
}
