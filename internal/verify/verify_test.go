package verify

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

var update = flag.Bool("update", false, "rewrite the golden file")

var (
	noon   = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	client = netip.MustParseAddr("10.1.0.4")
	server = netip.MustParseAddr("10.1.0.9")
	other  = netip.MustParseAddr("10.1.0.10")
	vip    = netip.MustParseAddr("10.96.0.20")
)

// ask returns the question whether the client speaks mutual TLS with a service that has two pods. The client's proxy sent the request.
func ask() *Question {
	return &Question{
		From: Pod{Name: "shop/web-1", Addresses: []netip.Addr{client}}, To: "shop/checkout",
		Servers: []Pod{{Name: "shop/checkout-1", Addresses: []netip.Addr{server}}, {Name: "shop/checkout-2", Addresses: []netip.Addr{other}}},
		Service: []netip.Addr{vip}, Ports: []uint16{8080, 80}, Start: noon,
		Request: &Request{Time: noon, Target: "checkout.shop:80", Local: "10.1.0.4:40000", Peer: "10.96.0.20:80", Seconds: 0.012, Response: "HTTP/1.1 200 OK"},
	}
}

var number int

// flow returns the record of a connection that began s seconds after noon.
func flow(s int, from netip.AddrPort, to netip.AddrPort, hash string, change ...func(*record.Record)) *record.Record {
	number++
	r := &record.Record{}
	r.Event.Dataset, r.Event.ID = record.DatasetFlow, fmt.Sprintf("%032d", number)
	r.Event.Start, r.Event.End = record.Time(noon.Add(time.Duration(s)*time.Second).UnixNano()), record.Time(noon.Add(time.Duration(max(s, 1)+1)*time.Second).UnixNano())
	r.Source.IP, r.Source.Port, r.Destination.IP, r.Destination.Port = from.Addr(), from.Port(), to.Addr(), to.Port()
	r.Network.Protocol = "tls"
	r.TLS = &record.TLS{Version: "1.3", VersionProtocol: "tls", Cipher: "TLS_AES_128_GCM_SHA256", Established: true}
	m := &r.Meshtls
	m.Verdict, m.Scope, m.FlowHash = "mtls", "wire", "flow-"+hash
	m.TLS = record.Auth{ClientAuth: "presented", ClientAuthBasis: "inferred", ClientAuthRequested: "unknown", Outcome: "established", SessionHash: hash}
	m.Reasons = []string{"certificate_flight_split"}
	for _, f := range change {
		f(r)
	}
	return r
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func plain(r *record.Record) {
	r.TLS, r.Meshtls.TLS, r.Network.Protocol = nil, record.Auth{}, "http"
	r.Meshtls.Verdict, r.Meshtls.Reasons = "plaintext", []string{"http_request_line"}
}

func oneWay(r *record.Record) {
	r.Meshtls.Verdict, r.Meshtls.TLS.ClientAuth, r.Meshtls.Reasons = "tls", "not_requested", []string{"certificate_not_requested"}
}

func unsure(r *record.Record) {
	r.Meshtls.Verdict, r.Meshtls.TLS.ClientAuth, r.Meshtls.TLS.ClientAuthBasis, r.Meshtls.Reasons = "tls", "unknown", "none", []string{"missed_bytes"}
}

func resumed(r *record.Record) {
	yes := true
	r.TLS.Resumed = &yes
	r.Meshtls.Verdict, r.Meshtls.TLS.ClientAuth, r.Meshtls.TLS.ClientAuthBasis, r.Meshtls.Reasons = "tls", "unknown", "none", []string{"psk_selected", "no_earlier_handshake"}
}

func old(r *record.Record) {
	r.TLS, r.Meshtls.TLS = nil, record.Auth{}
	r.Meshtls.Verdict, r.Meshtls.Reasons = "unknown", []string{"missed_start", "no_client_hello", "mid_stream_records"}
}

func oldPlain(r *record.Record) {
	plain(r)
	r.Meshtls.Reasons = append(r.Meshtls.Reasons, "missed_start")
}

// hashless removes the hash, which needs the start of a connection.
func hashless(r *record.Record) { r.Meshtls.FlowHash = "" }

// twin gives two records one event.id.
func twin(r *record.Record) { r.Event.ID = "twin" }

func mixed(r *record.Record) {
	r.Meshtls.Verdict, r.Meshtls.Edge.Connections.Plaintext = "plaintext", 2
}

func within(r *record.Record) { r.Meshtls.Scope = "pod" }

// posture returns the posture of an edge whose connections are all mutual TLS.
func posture(direction string, peer netip.Addr, hash string, change ...func(*record.Record)) *record.Record {
	r := &record.Record{}
	r.Event.Dataset = record.DatasetPosture
	r.Event.Start, r.Event.End = record.Time(noon.UnixNano()), record.Time(noon.Add(time.Minute).UnixNano())
	r.Network.Direction, r.Related.IP = direction, []netip.Addr{peer}
	m := &r.Meshtls
	m.Verdict, m.Scope = "mtls", "wire"
	m.Edge = record.Edge{Key: direction + peer.String(), Port: 8080, Sample: []string{hash}, Connections: &record.ByVerdict{MTLS: 3}, TLSVersions: []string{"1.3"}, Ciphers: []string{"TLS_AES_128_GCM_SHA256"}}
	for _, f := range change {
		f(r)
	}
	return r
}

// started returns the first record of a tap.
func started(older, dropped uint64) *record.Record {
	r := &record.Record{}
	r.Event.Dataset, r.Event.Action = record.DatasetTap, "started"
	r.Meshtls.Coverage = &record.Coverage{Watched: &record.Watched{Older: older, Dropped: dropped}}
	return r
}

// cases are what the taps of the client and of the two servers report, and the result.
var cases = []struct {
	name   string
	result Result
	// records by the pod's last name; "" in change: nothing is changed
	web, one, two []*record.Record
	change        func(*Question)
}{
	{
		name: "a proxy's connection through a service's address", result: Mutual,
		web: []*record.Record{flow(0, at(client, 40000), at(vip, 80), "in", plain, within), flow(1, at(client, 41000), at(vip, 80), "h")},
		two: []*record.Record{flow(1, at(client, 41000), at(other, 8080), "h")},
	},
	{
		name: "the source address is translated", result: Mutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{flow(1, at(netip.MustParseAddr("192.168.7.1"), 3999), at(server, 8080), "h")},
	},
	{
		name: "HBONE", result: Mutual,
		web: []*record.Record{flow(1, at(client, 41000), at(server, 15008), "h")},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 15008), "h")},
	},
	{
		name: "plaintext at both ends, the request's own connection; another one is mutual TLS", result: NotMutual,
		web: []*record.Record{flow(0, at(client, 40000), at(vip, 80), "p", plain), flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{flow(0, at(client, 40000), at(server, 8080), "p", plain), flow(1, at(client, 41000), at(server, 8080), "h")},
	},
	{
		name: "the request's own connection is mutual TLS; another one is plaintext", result: Mutual,
		web: []*record.Record{flow(0, at(client, 40000), at(vip, 80), "h"), flow(1, at(client, 41000), at(vip, 80), "p", plain)},
		one: []*record.Record{flow(0, at(client, 40000), at(server, 8080), "h"), flow(1, at(client, 41000), at(server, 8080), "p", plain)},
	},
	{
		name: "a proxy opened two connections, one of them is plaintext", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), flow(1, at(client, 41001), at(vip, 80), "p", plain)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), flow(1, at(client, 41001), at(server, 8080), "p", plain)},
	},
	{
		name: "TLS without a client certificate", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h", oneWay)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h", oneWay)},
	},
	{
		name: "one end could not judge", result: Unjudged,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h", unsure)},
	},
	{
		name: "TLS resumed a session that the taps have not seen begin, beside an older connection", result: Unjudged,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h", resumed), flow(-100, at(client, 39001), at(vip, 80), "o", old)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h", resumed)},
	},
	{
		name: "the server saw plaintext where the client saw mutual TLS", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "other", plain)},
	},
	{
		name: "the ends report different suites", result: Unjudged,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h", func(r *record.Record) { r.TLS.Cipher = "TLS_AES_256_GCM_SHA384" })},
	},
	{
		name: "the server saw nothing", result: Unjudged,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{started(0, 0)}, two: []*record.Record{started(0, 0)},
	},
	{
		name: "the server is not tapped", result: Unjudged,
		web:    []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h")},
		change: func(q *Question) { q.Servers = q.Servers[:1]; q.Servers[0].Untapped = "it uses the node's network" },
	},
	{
		name: "the server is not tapped, and one end is enough", result: Mutual,
		web: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h")},
		change: func(q *Question) {
			q.Servers, q.OneEnd = q.Servers[:1], true
			q.Servers[0].Untapped = "it uses the node's network"
		},
	},
	{
		name: "one end sees plaintext, and the other is not tapped", result: NotMutual,
		web:    []*record.Record{flow(1, at(client, 41000), at(server, 8080), "p", plain)},
		change: func(q *Question) { q.Servers = q.Servers[:1]; q.Servers[0].Untapped = "it uses the node's network" },
	},
	{
		name: "only the server sees it", result: Unjudged,
		web: []*record.Record{started(0, 0)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h")},
	},
	{
		name: "a pooled connection that is older than the taps, and its records", result: Unjudged,
		web: []*record.Record{started(1, 0), flow(-100, at(client, 39000), at(vip, 80), "o", old)},
		one: []*record.Record{started(1, 0), flow(-100, at(client, 39000), at(server, 8080), "o", old)},
	},
	{
		name: "a pooled connection that is older than the taps, without records", result: Unjudged,
		web: []*record.Record{started(2, 0)}, one: []*record.Record{started(2, 0)},
	},
	{
		name: "a pooled connection whose handshake was seen", result: Mutual,
		web: []*record.Record{flow(-5, at(client, 39000), at(vip, 80), "h")},
		one: []*record.Record{flow(-5, at(client, 39000), at(server, 8080), "h")},
	},
	{
		name: "a pooled connection whose handshake was seen, and an older one", result: Unjudged,
		web: []*record.Record{flow(-5, at(client, 39000), at(vip, 80), "h"), flow(-100, at(client, 39001), at(vip, 80), "o", old)},
		one: []*record.Record{flow(-5, at(client, 39000), at(server, 8080), "h"), flow(-100, at(client, 39001), at(server, 8080), "o", old)},
	},
	{
		name: "a new connection beside an older one, which may have carried the request", result: Unjudged,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), flow(-100, at(client, 39001), at(vip, 80), "o", old)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), flow(-100, at(client, 39001), at(server, 8080), "o", old)},
	},
	{
		name: "the request's own connection beside an older one", result: Mutual,
		web: []*record.Record{flow(0, at(client, 40000), at(vip, 80), "h"), flow(-100, at(client, 39001), at(vip, 80), "o", old)},
		one: []*record.Record{flow(0, at(client, 40000), at(server, 8080), "h"), flow(-100, at(client, 39001), at(server, 8080), "o", old)},
	},
	{
		name: "a new connection in mutual TLS beside an older one in plaintext", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), flow(-100, at(client, 39001), at(vip, 80), "o", oldPlain)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), flow(-100, at(client, 39001), at(server, 8080), "o", oldPlain)},
	},
	{
		name: "only an older connection, in plaintext", result: NotMutual,
		web: []*record.Record{started(1, 0), flow(-100, at(client, 39001), at(vip, 80), "o", oldPlain)},
		one: []*record.Record{started(1, 0), flow(-100, at(client, 39001), at(server, 8080), "o", oldPlain)},
	},
	{
		name: "only the server's end judges the older connection beside a new one: plaintext", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), flow(-100, at(client, 39001), at(vip, 80), "o", old)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), flow(-100, at(client, 39001), at(server, 8080), "o", oldPlain)},
	},
	{
		name: "a new connection in mutual TLS beside an earlier one in plaintext", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), flow(-5, at(client, 39000), at(vip, 80), "p", plain)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), flow(-5, at(client, 39000), at(server, 8080), "p", plain)},
	},
	{
		name: "the tap ran before, and its edge has plaintext", result: Unjudged,
		web:    []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), posture("egress", server, "x", mixed)},
		one:    []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h")},
		change: func(q *Question) { q.From.Reused = true },
	},
	{
		name: "the server's tap ran before, and its edge has plaintext", result: Unjudged,
		web:    []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one:    []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), posture("ingress", client, "x", mixed)},
		change: func(q *Question) { q.Servers[0].Reused = true },
	},
	{
		name: "the taps ran before, and all connections of their edges are mutual TLS", result: Mutual,
		web:    []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), posture("egress", server, "x")},
		one:    []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), posture("ingress", client, "x")},
		change: func(q *Question) { q.From.Reused, q.Servers[0].Reused = true, true },
	},
	{
		name: "plaintext on an older connection, whose start no tap captured, beside a new one", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h"), flow(-100, at(client, 39001), at(vip, 80), "", oldPlain, hashless)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), flow(-100, at(client, 39001), at(server, 8080), "", oldPlain, hashless)},
	},
	{
		name: "plaintext on an older connection that only the server's tap reports", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h"), flow(-100, at(client, 39001), at(server, 8080), "", oldPlain, hashless)},
	},
	{
		name: "two records of one connection contradict each other", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h", twin), flow(1, at(client, 41000), at(vip, 80), "h", plain, twin)},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h")},
	},
	{
		name: "two records of the request's own connection contradict each other", result: NotMutual,
		web: []*record.Record{flow(0, at(client, 40000), at(vip, 80), "h", twin), flow(0, at(client, 40000), at(vip, 80), "h", plain, twin)},
		one: []*record.Record{flow(0, at(client, 40000), at(server, 8080), "h")},
	},
	{
		name: "two records of the server's tap contradict each other", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "h")},
		one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h", twin), flow(1, at(client, 41000), at(server, 8080), "h", oneWay, twin)},
	},
	{
		name: "postures of two taps in the server's pod contradict each other", result: Unjudged,
		web: []*record.Record{posture("egress", server, "h")},
		one: []*record.Record{posture("ingress", client, "h", func(r *record.Record) { r.Meshtls.Run, r.Meshtls.Edge.Connections.Unknown = "a", 1 }), posture("ingress", client, "h", func(r *record.Record) { r.Meshtls.Run = "b" })},
	},
	{
		name: "an earlier posture of an edge comes last", result: Unjudged,
		web: []*record.Record{posture("egress", server, "h")},
		one: []*record.Record{posture("ingress", client, "h", func(r *record.Record) {
			r.Event.End = record.Time(noon.Add(2 * time.Minute).UnixNano())
			r.Meshtls.Edge.Connections.Unknown = 1
		}), posture("ingress", client, "h")},
	},
	{
		name: "postures of taps that run on", result: Mutual,
		web: []*record.Record{posture("egress", server, "h")}, one: []*record.Record{posture("ingress", client, "h")},
	},
	{
		name: "a posture with several verdicts", result: Unjudged,
		web: []*record.Record{posture("egress", server, "h", func(r *record.Record) { r.Meshtls.Edge.Connections.Unknown = 1 })}, one: []*record.Record{posture("ingress", client, "h")},
	},
	{
		name: "the request failed", result: Unjudged,
		web: []*record.Record{started(0, 0)}, one: []*record.Record{started(0, 0)},
		change: func(q *Question) { q.Request.Response, q.Request.Error = "", "dial tcp 10.96.0.20:80: i/o timeout" },
	},
	{
		name: "no request, no connection", result: Unjudged,
		web: []*record.Record{started(0, 0)}, one: []*record.Record{started(0, 0)},
		change: func(q *Question) { q.Request = nil },
	},
	{
		name: "packets were lost", result: Mutual,
		web: []*record.Record{started(0, 7), flow(1, at(client, 41000), at(vip, 80), "h")}, one: []*record.Record{flow(1, at(client, 41000), at(server, 8080), "h")},
	},
	{
		name: "hostile text", result: NotMutual,
		web: []*record.Record{flow(1, at(client, 41000), at(vip, 80), "p", plain, func(r *record.Record) {
			r.Network.Protocol, r.Meshtls.Reasons = "\x1b[2J\u202e", []string{"\x1b]0;x\a"}
		})},
		change: func(q *Question) { q.Request.Response = "HTTP/1.1 200 \x1b[31m\r" },
	},
	{
		name: "connections to other ports, of other pods, within the pod and before the request do not count", result: Unjudged,
		web: []*record.Record{started(0, 0), flow(1, at(client, 41000), at(vip, 9090), "a"), flow(1, at(client, 41000), at(netip.MustParseAddr("10.1.0.77"), 8080), "b"),
			flow(1, at(client, 41000), at(server, 8080), "c", within), flow(-50, at(client, 41000), at(server, 8080), "d", func(r *record.Record) { r.Event.End = r.Event.Start })},
		one: []*record.Record{started(0, 0), flow(1, at(other, 41000), at(server, 8080), "e")},
	},
}

// TestAnswers: the result of each case, and its text in a golden file.
func TestAnswers(t *testing.T) {
	var out bytes.Buffer
	for _, c := range cases {
		a := answerTo(c.web, c.one, c.two, c.change)
		if a.Result != c.result {
			t.Errorf("%s: %s, not %s: %s", c.name, a.Result, c.result, a.Text)
		}
		fmt.Fprintf(&out, "# %s (%s)\n", c.name, a.Result)
		if err := a.Write(&out); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
	}
	if strings.ContainsAny(out.String(), "\x1b\a\r\u202e") {
		t.Error("the output has control characters")
	}
	file := filepath.Join("testdata", "answers.txt")
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want, err := os.ReadFile(file); err != nil || !bytes.Equal(want, out.Bytes()) {
		t.Errorf("%s differs; with -update it is rewritten. %v Now:\n%s", file, err, &out)
	}
}

func answerTo(web, one, two []*record.Record, change func(*Question)) *Answer {
	q := ask()
	if change != nil {
		change(q)
	}
	var s Records
	for name, list := range map[string][]*record.Record{"shop/web-1": web, "shop/checkout-1": one, "shop/checkout-2": two} {
		for _, r := range list {
			s.Add(name, r)
			s.Add(name, r)
		}
	}
	return s.Answer(q)
}

// TestNeverAlone: without the server's records no case is mutual TLS, unless one end is enough; and without any record none is.
func TestNeverAlone(t *testing.T) {
	for _, c := range cases {
		for _, a := range []*Answer{answerTo(c.web, nil, nil, c.change), answerTo(nil, c.one, c.two, c.change), answerTo(nil, nil, nil, c.change)} {
			if a.Result == Mutual && !strings.Contains(a.Text, "tap only") {
				t.Errorf("%s: %s", c.name, a.Text)
			}
		}
	}
}

// TestLostRecords: if records of a tap are lost, those of other connections may be among them.
func TestLostRecords(t *testing.T) {
	for _, pod := range []string{"shop/web-1", "shop/checkout-1"} {
		var s Records
		s.Add("shop/web-1", flow(1, at(client, 41000), at(vip, 80), "h"))
		s.Add("shop/checkout-1", flow(1, at(client, 41000), at(server, 8080), "h"))
		if a := s.Answer(ask()); a.Result != Mutual {
			t.Fatal(a.Text)
		}
		s.Lost(pod, 1)
		if a := s.Answer(ask()); a.Result != Unjudged || !strings.Contains(a.Text, "some records of the taps were lost") {
			t.Error(pod, a.Text)
		}
	}
}

// TestOrder: the answer does not depend on the order of the records, nor on repeated ones.
func TestOrder(t *testing.T) {
	for _, c := range cases {
		q := ask()
		if c.change != nil {
			c.change(q)
		}
		type added struct {
			pod string
			r   *record.Record
		}
		var all []added
		for name, list := range map[string][]*record.Record{"shop/web-1": c.web, "shop/checkout-1": c.one, "shop/checkout-2": c.two} {
			for _, r := range list {
				all = append(all, added{name, r}, added{name, r})
			}
		}
		want := answerTo(c.web, c.one, c.two, c.change)
		for range 20 {
			rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
			var s Records
			for _, x := range all {
				s.Add(x.pod, x.r)
			}
			if got := s.Answer(q); got.Result != want.Result {
				t.Errorf("%s: %s, not %s", c.name, got.Text, want.Text)
			}
		}
	}
}

// TestPlaintextIsNeverBetter: with one more record of plaintext between the two pods, no answer becomes mutual TLS, and none that was mutual TLS stays it unless the
// request's own connection is known.
func TestPlaintextIsNeverBetter(t *testing.T) {
	for _, c := range cases {
		before := answerTo(c.web, c.one, c.two, c.change)
		for name, r := range map[string]*record.Record{
			"new": flow(1, at(client, 45000), at(server, 8080), "extra", plain), "older": flow(-100, at(client, 45000), at(server, 8080), "", oldPlain, hashless),
			"earlier": flow(-5, at(client, 45000), at(server, 8080), "extra", plain),
		} {
			after := answerTo(append(slices.Clone(c.web), r), c.one, c.two, c.change)
			own := strings.Contains(c.name, "the request's own connection")
			if after.Result == Mutual && !own || before.Result == NotMutual && after.Result != NotMutual {
				t.Errorf("%s, with a plaintext connection that is %s: %s", c.name, name, after.Text)
			}
		}
	}
}
