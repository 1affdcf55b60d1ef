package pipeline_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

const (
	answerOK   = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	scrapeLine = "GET /metrics HTTP/1.1\r\nHost: bank\r\nUser-Agent: Prometheus/2.5\r\n\r\n"
	probeLine  = "GET /healthz HTTP/1.1\r\nHost: bank\r\nUser-Agent: kube-probe/1.37\r\n\r\n"
	loginLine  = "POST /transfer HTTP/1.1\r\nHost: bank\r\nAuthorization: Basic dXNlcjpwYXNz\r\nContent-Length: 12\r\n\r\nto=mallory&x"
)

// requests returns a conversation in which the client sends each string of list at once, and the server sends one
// response to each string.
func requests(list ...string) *capturetest.Conversation {
	c := &capturetest.Conversation{}
	sent := 0
	for _, r := range list {
		sent += len(r)
		c.Chunks = append(c.Chunks, capturetest.Chunk{Data: []byte(r)}, capturetest.Chunk{FromServer: true, Read: sent, Data: []byte(answerOK)})
	}
	return c
}

// TestClassesAreEarned: only facts that neither end can choose give a connection a class that exempts it from findings.
// The connection loses the class when anything else is sent on it.
func TestClassesAreEarned(t *testing.T) {
	const peer, node, gateway, neighbor = "10.1.0.9:40000", "10.0.0.5:40000", "10.1.0.1:40000", "[fe80::9]:40000"
	login40 := make([]string, 40)
	for i := range login40 {
		login40[i] = loginLine
	}
	query, response := capturetest.DNS(7, "redis.shop", 30, nil, netip.MustParseAddr("10.1.0.20"))
	framed := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	dns := func(more string) *capturetest.Conversation {
		c := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: framed(query)}, {FromServer: true, Read: len(query) + 2, Data: framed(response)}}}
		if more != "" {
			c.Chunks = append(c.Chunks, capturetest.Chunk{Data: []byte(more)}, capturetest.Chunk{FromServer: true, Data: []byte(answerOK)})
		}
		return c
	}
	for _, c := range []struct {
		name, client string
		port         uint16 // port of the pod
		talk         *capturetest.Conversation
		class        string
		finding      bool
	}{
		{"a scrape", peer, 9100, requests(scrapeLine, scrapeLine, scrapeLine), "metrics", false},
		{"scrapes at once", peer, 9100, requests(scrapeLine + scrapeLine), "metrics", false},
		{"a scrape, then logins", peer, 9100, requests(append([]string{scrapeLine}, login40...)...), "workload", true},
		{"many scrapes, then a login", peer, 9100, requests(scrapeLine, scrapeLine, scrapeLine, scrapeLine, loginLine), "workload", true},
		{"a scrape and a login at once", peer, 9100, requests(scrapeLine + loginLine), "workload", true},
		{"a scrape with a body", peer, 9100, requests(strings.Replace(scrapeLine, "Host", "Content-Length: 5\r\nHost", 1) + "hello"), "workload", true},
		{"a scrape with a body nobody announced", peer, 9100, requests(scrapeLine + "user=me&password=x"), "workload", true},
		{"a scrape, then another path", peer, 9100, requests(scrapeLine, strings.Replace(scrapeLine, "/metrics", "/secret", 1)), "workload", true},
		{"a scrape, then binary", peer, 9100, requests(scrapeLine, "\x00\x01\x02\xff"), "workload", true},
		{"a scrape at another port", peer, 8080, requests(scrapeLine), "workload", true},
		{"a scrape, then logins, at another port", peer, 8080, requests(scrapeLine, loginLine), "workload", true},
		{"a login at the port of metrics", peer, 9100, requests(loginLine), "workload", true},

		{"a probe", node, 8081, requests(probeLine), "probe", false},
		{"a probe by way of the gateway", gateway, 8081, requests(probeLine), "probe", false},
		{"a probe, then a login", node, 8081, requests(probeLine, loginLine), "workload", true},
		{"a probe by way of the gateway, then a login", gateway, 8081, requests(probeLine, loginLine), "workload", true},
		{"a probe at a port without one", node, 8080, requests(probeLine), "workload", true},
		{"a probe from a peer", peer, 8081, requests(probeLine), "workload", true},
		{"a probe from a neighbor", neighbor, 8081, requests(probeLine), "workload", true},
		{"a neighbor's probe, then a login", neighbor, 8081, requests(probeLine, loginLine), "workload", true},
		{"a login from the node", node, 8081, requests(loginLine), "workload", true},
		{"a proxy's port, of a proxy that is not here", peer, 15090, requests(strings.Replace(scrapeLine, "/metrics", "/stats/prometheus", 1)), "workload", true},

		{"DNS", peer, 53, dns(""), "dns", false},
		{"DNS, then a login", peer, 53, dns(loginLine), "workload", true},
		{"a login at DNS's port", peer, 53, requests(loginLine), "workload", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := netip.MustParseAddrPort(c.client)
			server := netip.AddrPortFrom(netip.MustParseAddr("10.1.0.7"), c.port)
			if client.Addr().Is6() {
				server = netip.AddrPortFrom(netip.MustParseAddr("fe80::7"), c.port)
			}
			frames := c.talk.Packets(capturetest.Options{Client: client, Server: server, Start: captureStart})
			class, opens, net := classOf(t, frames)
			if class != c.class || (net > 0) != c.finding {
				t.Errorf("class %s, %d findings opened, %d not retracted; want %s, %v", class, opens, net, c.class, c.finding)
			}
		})
	}
}

// inTwo splits the first chunk of a conversation at an offset. If early is set, the server responds to the
// first part as well.
func inTwo(c *capturetest.Conversation, at int, early bool) *capturetest.Conversation {
	first := c.Chunks[0]
	out := &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: first.Data[:at]}}}
	if early {
		out.Chunks = append(out.Chunks, capturetest.Chunk{FromServer: true, Read: at, Data: []byte(answerOK)})
	}
	out.Chunks = append(out.Chunks, capturetest.Chunk{Data: first.Data[at:]})
	out.Chunks = append(out.Chunks, c.Chunks[1:]...)
	return out
}

// grpcProbe returns the bytes that a client sends to ask for a service's health by gRPC: the preface,
// SETTINGS, HEADERS with literal fields that are not indexed (RFC 7541, section 6.2.2), and an empty
// message.
func grpcProbe() []byte {
	var block []byte
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/grpc.health.v1.Health/Check"}, {":authority", "10.1.0.7:8081"}, {"content-type", "application/grpc"}} {
		block = append(append(block, 0, byte(len(field[0]))), field[0]...)
		block = append(append(block, byte(len(field[1]))), field[1]...)
	}
	frame := func(typ, flags, stream byte, b []byte) []byte {
		return append([]byte{0, 0, byte(len(b)), typ, flags, 0, 0, 0, stream}, b...)
	}
	b := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, nil)...)
	b = append(b, frame(1, 4, 1, block)...)
	return append(b, frame(0, 1, 1, make([]byte, 5))...)
}

// TestRequestInParts: a scrape or a probe whose request comes in two segments raises no finding that would have to be
// retracted. It does not matter whether the server waits for the whole request. A login that comes in two segments at
// the same ports raises a finding.
func TestRequestInParts(t *testing.T) {
	const peer, node, gateway = "10.1.0.9:40000", "10.0.0.5:40000", "10.1.0.1:40000"
	named := strings.Replace(probeLine, "Host", "User-Agent: kube-probe/1.37\r\nHost", 1)
	call := grpcProbe()
	for _, c := range []struct {
		name, client string
		port         uint16 // port of the pod
		talk         *capturetest.Conversation
		opens        int
	}{
		{"a scrape", peer, 9100, requests(scrapeLine, scrapeLine), 0},
		{"a probe", node, 8081, requests(probeLine), 0},
		{"a probe by way of the gateway", gateway, 8081, requests(named), 0},
		{"gRPC's probe", node, 8081, &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: call}}}, 0},
		{"a login", peer, 9100, requests(loginLine), 1},
		{"a login from the node", node, 8081, requests(loginLine), 1},
		{"a scrape, then a login", peer, 9100, requests(scrapeLine, loginLine), 1},
	} {
		for at := 1; at < len(c.talk.Chunks[0].Data); at++ {
			for _, early := range []bool{false, true} {
				frames := inTwo(c.talk, at, early && c.name != "gRPC's probe").Packets(capturetest.Options{
					Client: netip.MustParseAddrPort(c.client), Server: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.7"), c.port), Start: captureStart,
				})
				if class, opens, stand := classOf(t, frames); opens != c.opens || stand != c.opens {
					t.Fatalf("%s, split at %d, early response %v: class %s, %d findings opened, %d not retracted; want %d", c.name, at, early, class, opens, stand, c.opens)
				}
			}
		}
	}
}

// classOf runs frames through the pipeline of a pod. It returns the class of the last connection, the
// number of findings that opened, and how many of them were not retracted.
func classOf(t *testing.T, frames []capturetest.Frame) (class string, opens, stand int) {
	t.Helper()
	p := pipeline.New(pipeline.Config{Judge: verdict.Config{
		Local: []netip.Prefix{netip.MustParsePrefix("10.1.0.7/32"), netip.MustParsePrefix("fe80::7/128")}, Nodes: []netip.Addr{netip.MustParseAddr("10.0.0.5")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, Probed: []verdict.Probe{{Port: 8081, Path: "/healthz"}}, Scraped: []uint16{9100},
	}, Engine: finding.Config{
		Tap: "pod", Identity: finding.Identity{Namespace: "shop", Pod: "web"}, Window: time.Hour, Flows: true, Findings: true,
		Expect: []finding.Expectation{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Want: finding.ExpectMTLS}, {Prefix: netip.MustParsePrefix("::/0"), Want: finding.ExpectMTLS}},
		Emit: func(r finding.Record) {
			schematest.Check(t, r.Value)
			x := unmarshal(t, r.Value)
			switch {
			case r.Dataset == finding.DatasetFlow:
				class = x.Meshtls.Class
			case x.Meshtls.Finding.State == "open":
				opens++
				stand++
			case x.Meshtls.Finding.State == "resolved":
				stand--
			}
		},
	}})
	p.Do(func(l *pipeline.Locked) { l.Engine.Mute(mutes(t, inClear)) }) // the login has a finding of plaintext-edge as well
	play(p, frames...)
	p.Flush()
	return class, opens, stand
}
