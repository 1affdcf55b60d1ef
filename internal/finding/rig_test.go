package finding_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// rig is an engine whose records are validated as they are emitted.
type rig struct {
	t       testing.TB
	e       *finding.Engine
	records []finding.Record
	docs    []doc
	quick   bool // validate only that records are JSON: the schema is slow
}

// doc is a decoded record.
type doc map[string]any

// at returns the value at a dotted path. It returns nil if there is no value.
func (d doc) at(path string) any {
	var node any = map[string]any(d)
	for part := range strings.SplitSeq(path, ".") {
		m, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		node = m[part]
	}
	return node
}

func (d doc) text(path string) string {
	s, _ := d.at(path).(string)
	return s
}

func (d doc) number(path string) int64 {
	n, ok := d.at(path).(json.Number)
	if !ok {
		return -1
	}
	i, _ := n.Int64()
	return i
}

// newRig returns an engine that emits everything.
func newRig(t testing.TB, cfg finding.Config) *rig {
	r := &rig{t: t}
	cfg.Findings, cfg.Posture, cfg.Flows = true, true, true
	if cfg.Tap == "" {
		cfg.Tap = "read"
	}
	cfg.Emit = r.take
	r.e = finding.New(cfg)
	return r
}

func (r *rig) take(x finding.Record) {
	r.t.Helper()
	r.records = append(r.records, x)
	if r.quick {
		if !json.Valid(x.Value) {
			r.t.Errorf("not JSON: %s", x.Value)
		}
		return
	}
	r.docs = append(r.docs, check(r.t, x))
}

// check validates a record, and compares the members of Record with the JSON.
func check(t testing.TB, x finding.Record) doc {
	t.Helper()
	d := doc(schematest.Check(t, x.Value))
	when, err := time.Parse(time.RFC3339Nano, d.text("@timestamp"))
	if err != nil || when.UnixNano() != x.Time || d.text("event.id") != x.ID || d.text("event.dataset") != x.Dataset || x.Key == "" {
		t.Errorf("record %+v does not fit its content %s", x, x.Value)
	}
	checkAlert(t, d)
	return d
}

// checkAlert checks the fields of a finding that decide whether a person is alerted.
func checkAlert(t testing.TB, d doc) {
	t.Helper()
	if d.text("event.dataset") != finding.DatasetFinding {
		return
	}
	state, kind, severity := d.text("meshtls.finding.state"), d.text("event.kind"), d.number("event.severity")
	if d.text("event.action") != state {
		t.Errorf("event.action %q in state %q", d.text("event.action"), state)
	}
	ended := state == "resolved" || state == "withdrawn"
	if steps := []int64{21, 47, 73, 99}; ended && (severity != 0 || kind != "event") || !ended && !slices.Contains(steps, severity) {
		t.Errorf("state %q has kind %q and severity %d", state, kind, severity)
	}
}

// of returns the records of a dataset in order.
func (r *rig) of(dataset string) []doc {
	var out []doc
	for _, d := range r.docs {
		if d.text("event.dataset") == dataset {
			out = append(out, d)
		}
	}
	return out
}

// forget discards the records that were emitted so far.
func (r *rig) forget() { r.records, r.docs = nil, nil }

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
)

// noon is a time at which a window of ten minutes starts.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).UnixNano()

// talk returns a connection of 3 s from 10.1.1.2 to 10.2.2.2, seen at the client.
func talk(id uint64, start int64, v verdict.Verdict, protocol string, port uint16) *verdict.Judged {
	return &verdict.Judged{
		ID: id, Interface: "eth0", Start: start, Last: start + 3*second, Ended: true, Settled: true, State: "SF", Transport: "tcp",
		Source:      verdict.Endpoint{Addr: netip.MustParseAddr("10.1.1.2"), Port: uint16(40000 + id%10000), Bytes: 100, Packets: 6},
		Destination: verdict.Endpoint{Addr: netip.MustParseAddr("10.2.2.2"), Port: port, Bytes: 1000, Packets: 5},
		FlowHash:    verdict.NewFlowHash(40000, 443, 1, 2),
		Direction:   verdict.DirectionEgress, Scope: verdict.ScopeWire, Class: "workload",
		Verdict: v, Protocol: protocol, Reasons: []string{"application_data_seen"},
	}
}

func plain(id uint64, start int64) *verdict.Judged {
	j := talk(id, start, verdict.Plaintext, "http", 80)
	j.HTTP = &verdict.HTTPInfo{Version: "1.1", Method: "GET", Host: "httpbin.shop", Path: "/get", UserAgent: "curl/8.14.1", Status: 200}
	j.Reasons = []string{"http_request_line", "http_response_line"}
	j.PeerName, j.PeerNameBasis = "httpbin.shop", "host_header"
	j.CredentialsRead = true
	return j
}

// secretive returns plaintext with credentials.
func secretive(id uint64, start int64) *verdict.Judged {
	j := plain(id, start)
	j.Credentials = credentials.HTTPBasic
	return j
}

func tlsTalk(id uint64, start int64, v verdict.Verdict, auth string) *verdict.Judged {
	j := talk(id, start, v, "tls", 443)
	basis, requested := verdict.BasisInferred, verdict.RequestedYes
	switch auth {
	case verdict.AuthUnknown:
		basis, requested = verdict.BasisNone, verdict.RequestedUnknown
	case verdict.AuthNotRequested:
		requested = verdict.RequestedNo
	}
	j.TLS = &verdict.TLSInfo{
		Version: "1.3", VersionProtocol: "tls", Cipher: "TLS_AES_128_GCM_SHA256", Curve: "x25519", KeyShare: "x25519", Established: v != verdict.Failed,
		ServerName: "httpbin.shop.svc.cluster.local", JA3: "0123456789abcdef0123456789abcdef", JA3S: "fedcba9876543210fedcba9876543210",
		JA4: "t13d1516h2_8daaf6152771_b0da82dd1658", ClientShape: "3f1c9a60be27", SupportedCiphers: []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"},
		ALPNOffered: []string{"istio", "h2"}, ClientAuth: auth, ClientAuthBasis: basis, ClientAuthRequested: requested,
		Outcome: verdict.OutcomeEstablished, SessionHash: "00112233445566778899aabbccddeeff",
	}
	j.PeerName, j.PeerNameBasis = "httpbin.shop.svc.cluster.local", "sni"
	return j
}

func mutual(id uint64, start int64) *verdict.Judged {
	j := tlsTalk(id, start, verdict.MTLS, verdict.AuthPresented)
	j.Mesh, j.TLS.ClientChainBytes, j.TLS.ClientKeyHint = "istio", 1180, "ecdsa-p256"
	return j
}

func oneWay(id uint64, start int64) *verdict.Judged {
	return tlsTalk(id, start, verdict.TLS, verdict.AuthNotRequested)
}

// living returns a copy of a connection, changed to its state before its end.
func living(j *verdict.Judged) *verdict.Judged {
	c := *j
	c.Ended, c.State, c.Last = false, "S1", j.Start+second
	c.Source.Bytes, c.Destination.Bytes = 10, 20
	return &c
}

var pod = finding.Identity{
	Version: "0.1.0", Run: "8c5f1e", Pod: "web-6c9d-x7k2p", Namespace: "front", UID: "3d6f0a9e-0f5e-4f5c-9b43-0f6f5a3f6c11",
	IPs: []netip.Addr{netip.MustParseAddr("10.1.1.2"), netip.MustParseAddr("fd00::2")}, Node: "node-1", ServiceAccount: "web", Cluster: "prod",
	WorkloadKind: "Deployment", WorkloadName: "web", LocalProxy: "istio", DeclaredSkip: []uint16{15020, 15021},
}
