package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/offline"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// A talk is a number of connections between two pods.
type talk struct {
	client, server string // addresses
	port           uint16
	auth           capturetest.ClientAuth
	plain          bool
	n              int
	at             int // seconds after the start
}

var captureStart = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// capture returns a capture file with the connections of talks.
func capture(t *testing.T, talks ...talk) string {
	t.Helper()
	var frames []capturetest.Frame
	for i, x := range talks {
		for k := range x.n {
			var c *capturetest.Conversation
			var err error
			if x.plain {
				c, err = capturetest.HTTPTalk()
			} else {
				var list []*capturetest.Conversation
				if list, err = capturetest.TLSTalk(tls.VersionTLS13, x.auth, 1); err == nil {
					c = list[0]
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, c.Packets(capturetest.Options{
				Client: netip.AddrPortFrom(netip.MustParseAddr(x.client), uint16(40000+100*i+k)), Server: netip.AddrPortFrom(netip.MustParseAddr(x.server), x.port), //nolint:gosec // few
				Start: captureStart.Add(time.Duration(x.at+k) * time.Second), ClientISN: uint32(1000*i + 7*k), ServISN: uint32(5000*i + 9*k), //nolint:gosec // few
			})...)
		}
	}
	path := filepath.Join(t.TempDir(), "capture.pcap")
	var b bytes.Buffer
	if err := capturetest.WritePcap(&b, frames); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tapped adds the records of a capture to a graph, as the tap in a pod would report them.
func tapped(t *testing.T, g *topology.Graph, file string, pod *topology.Pod) {
	t.Helper()
	sequences := map[string]uint64{}
	add := func(r record.Record) {
		sequences[r.Event.Dataset]++
		r.Event.Sequence = sequences[r.Event.Dataset]
		r.Event.ID = fmt.Sprint(pod.UID, r.Event.Dataset, r.Event.Sequence)
		r.Meshtls.Run = "run of " + pod.UID
		r.Kubernetes = record.Kubernetes{Namespace: pod.Namespace, Pod: record.Pod{Name: pod.Name, UID: pod.UID, IP: pod.Addresses}}
		g.Add(&r)
	}
	state := func(action string, at time.Time) {
		r := record.Record{Timestamp: record.Time(at.UnixNano())}
		r.Event = record.Event{Dataset: record.DatasetTap, Action: action, Start: record.Time(captureStart.UnixNano()), End: r.Timestamp}
		r.Meshtls = record.Meshtls{Schema: record.SchemaVersion, Tap: &record.Tap{}, Coverage: &record.Coverage{Watched: &record.Watched{Packets: 1000}}}
		add(r)
	}
	state("started", captureStart.Add(-time.Minute))
	err := offline.Read(t.Context(), file, nil, func(r *record.Record) {
		if r.Event.Dataset != record.DatasetFlow {
			return
		}
		x := *r
		if x.Meshtls.Verdict == "mtls" {
			x.Meshtls.Mesh = pod.Mesh // the talks do not look like a mesh's
		}
		switch own := pod.Addresses[0]; {
		case r.Source.IP == own:
			x.Network.Direction = "egress"
		case r.Destination.IP == own:
			x.Network.Direction, x.Meshtls.Peer = "ingress", record.Peer{}
		default:
			return
		}
		add(x)
	})
	if err != nil {
		t.Fatal(err)
	}
	state("stopped", captureStart.Add(time.Hour))
}

func examplePod(ns, workload, address, mesh string, tapped bool, ports ...uint16) topology.Pod {
	return topology.Pod{
		Namespace: ns, Name: workload + "-1", UID: "uid-" + workload, Workload: topology.Workload{Namespace: ns, Kind: "Deployment", Name: workload},
		Labels: map[string]string{"app": workload}, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Tapped: tapped, Mesh: mesh, Ports: ports,
		Untapped: map[bool]string{false: "no tap runs in it"}[tapped],
	}
}

// example returns the graph of a namespace with several kinds of edges.
func example(t *testing.T) *topology.Graph {
	t.Helper()
	pods := []topology.Pod{
		examplePod("front", "web", "10.0.0.1", "istio", true),
		examplePod("shop", "checkout-service-of-the-european-market", "10.0.0.2", "istio", true, 8080),
		examplePod("shop", "checkout-service-of-the-american-market", "10.0.0.3", "istio", false, 8080),
		examplePod("batch", "legacy", "10.0.0.4", "", true),
	}
	g := topology.New(topology.Inventory{Pods: pods, Complete: true, Notes: []string{"The nodes could not be listed (no right to list them), so a node's address has no name."}})
	file := capture(t,
		talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, auth: capturetest.Presented, n: 3},
		talk{client: "10.0.0.4", server: "10.0.0.2", port: 8080, plain: true, n: 2, at: 100},
		talk{client: "10.0.0.4", server: "10.0.0.2", port: 8080, auth: capturetest.Presented, n: 1, at: 200},
		talk{client: "10.0.0.1", server: "10.0.0.3", port: 8080, auth: capturetest.Declined, n: 1, at: 300},
		talk{client: "10.0.0.1", server: "203.0.113.9", port: 443, auth: capturetest.NotRequested, n: 1, at: 400},
	)
	for i := range pods {
		if pods[i].Tapped {
			tapped(t, g, file, &pods[i])
		}
	}
	return g
}

// resultOf returns the result for a graph.
func resultOf(g *topology.Graph) *edgesResult {
	return &edgesResult{g.Answer(), g.Tally(), g.Edges(), g.Findings(), g.Untapped(), g.Unknown()}
}

// TestAligned: on a terminal, sentences and the answer of verify are wrapped between words, and what is wrapped is aligned with the text. A
// file gets the lines as they are.
func TestAligned(t *testing.T) {
	const lines = "one sentence about  a request\n  client   because of one reason; and another\n"
	for width, want := range map[int]string{
		0:  lines,
		26: "one sentence about a\nrequest\n  client   because of one\n           reason; and\n           another\n",
	} {
		out := &text{width: width}
		out.aligned(lines, 11)
		if got := out.String(); got != want {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
}

// TestEdgesText: names are whole at every width; what does not fit becomes a block of lines.
func TestEdgesText(t *testing.T) {
	r := resultOf(example(t))
	for _, width := range []int{60, 80, 200} {
		for _, wide := range []bool{false, true} {
			out := &text{width: width, wide: wide}
			out.edges(r)
			name := fmt.Sprintf("edges-%d", width)
			if wide {
				name += "-wide"
			}
			got := out.String()
			golden(t, name+".txt", got)
			for _, whole := range []string{"shop/checkout-service-of-the-european-market", "shop/checkout-service-of-the-american-market"} {
				if !strings.Contains(got, whole) {
					t.Errorf("%s has no %s", name, whole)
				}
			}
			if lines := strings.Split(strings.TrimSpace(got), "\n"); !strings.Contains(strings.Join(lines[max(0, len(lines)-4):], " "), "carried plaintext") {
				t.Errorf("%s: the answer is not at the end: %s", name, got)
			}
		}
	}
}

// TestEdgesEmpty: without records, what is not tapped is listed, and the answer says that nothing is known.
func TestEdgesEmpty(t *testing.T) {
	g := topology.New(topology.Inventory{Pods: []topology.Pod{examplePod("shop", "cart", "10.0.0.2", "", false)}})
	out := &text{width: 80}
	out.edges(resultOf(g))
	golden(t, "edges-empty.txt", out.String())
}

func TestEdgesFile(t *testing.T) {
	file := capture(t, talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, plain: true, n: 2}, talk{client: "10.0.0.1", server: "10.0.0.3", port: 8443, auth: capturetest.Presented, n: 1, at: 10})
	out, errs, status := command(t, "edges", "--from", file, "-o", "json")
	var r edgesResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != exitFine || len(r.Edges) != 2 || r.Edges[0].Verdict != "plaintext" || r.Edges[0].Connections.Plaintext != 2 {
		t.Fatalf("status %d, %v, %s %s", status, err, out, errs)
	}
	if !strings.HasPrefix(r.Answer, "1 of 2 edges between workloads carried plaintext; 1 mutual TLS") {
		t.Error(r.Answer)
	}
	for _, test := range []struct {
		args   []string
		status int
		want   string // in the output or the error
	}{
		{[]string{"--from", file}, exitFine, "1 of 2 edges between workloads carried plaintext"},
		{[]string{"--from", file, "-o", "yaml"}, exitFine, "verdict: plaintext"},
		{[]string{"--from", file, "--fail-on=plaintext-edge"}, exitFinding, "plaintext-edge"},
		{[]string{"--from", file, "--fail-on=tls-not-mutual"}, exitFine, ""},
		{[]string{"--from", file, "--fail-on=nonsense"}, exitUsage, "expected unjudged"},
		{[]string{"--from", file, "-o", "xml"}, exitUsage, "expected table"},
		{[]string{"--from", file, "--from", "taps"}, exitUsage, "cannot be combined"},
		{[]string{"--from", "kafka"}, exitUsage, "--kafka-brokers"},
		{[]string{"--from", file, "--kafka-brokers", "a:1"}, exitUsage, "--from is not kafka"},
		{[]string{"--from", file + ".missing"}, exitError, "no such file"},
		{[]string{"--from", capture(t)}, exitUnjudged, "nothing is known about any connection"},
	} {
		out, errs, status := command(t, append([]string{"edges"}, test.args...)...)
		if status != test.status || !strings.Contains(out+errs, test.want) {
			t.Errorf("%v: status %d, want %d with %q: %s %s", test.args, status, test.status, test.want, out, errs)
		}
	}
}

// recordsOf returns the records of a capture as JSON lines.
func recordsOf(t *testing.T, file string, datasets ...string) string {
	t.Helper()
	var b strings.Builder
	if err := offline.Read(t.Context(), file, nil, func(r *record.Record) {
		if slices.Contains(datasets, r.Event.Dataset) {
			line, err := json.Marshal(r)
			if err != nil {
				t.Error(err)
			}
			b.Write(append(line, '\n'))
		}
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPlaintextWithoutFinding: --fail-on=plaintext-edge also fails for plaintext of which the records have no open finding.
func TestPlaintextWithoutFinding(t *testing.T) {
	file := capture(t, talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, plain: true, n: 2})
	withdrawn := strings.ReplaceAll(recordsOf(t, file, record.DatasetFinding, record.DatasetPosture), `"state":"open"`, `"state":"withdrawn"`)
	for name, lines := range map[string]string{
		"flows": recordsOf(t, file, record.DatasetFlow), "postures": recordsOf(t, file, record.DatasetPosture), "withdrawn": withdrawn,
		"severity 0": strings.ReplaceAll(recordsOf(t, file, record.DatasetFinding), `"severity":`, `"severity":0,"x":`),
	} {
		path := filepath.Join(t.TempDir(), "records.jsonl")
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"edges"}, {"report", "-o", filepath.Join(t.TempDir(), "x.html")}} {
			if _, errs, status := command(t, append(args, "--from", path, "--fail-on=plaintext-edge")...); status != exitFinding || !strings.Contains(errs, "plaintext-edge") {
				t.Errorf("%s, %v: status %d: %s", name, args, status, errs)
			}
			if _, errs, status := command(t, append(args, "--from", path, "--fail-on=tls-not-mutual")...); status != exitFine {
				t.Errorf("%s, %v: status %d: %s", name, args, status, errs)
			}
		}
	}
}

// TestPartOfInput: if a part of the input cannot be read, the rest is shown, the answer says so, and the exit status is 1, or 3 for a finding.
func TestPartOfInput(t *testing.T) {
	mutual := recordsOf(t, capture(t, talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, auth: capturetest.Presented, n: 1}), record.DatasetFlow)
	plain := recordsOf(t, capture(t, talk{client: "10.0.0.1", server: "10.0.0.3", port: 8080, plain: true, n: 1}), record.DatasetFlow)
	for name, test := range map[string]struct {
		lines  string
		gate   string
		status int
	}{
		"whole":          {mutual, "", exitFine},
		"BOM":            {"\xef\xbb\xbf" + mutual, "", exitFine},
		"BOM, plaintext": {"\xef\xbb\xbf" + plain + mutual, "--fail-on=plaintext-edge", exitFinding},
		"cut":            {mutual + plain[:len(plain)/2], "", exitError},
		"too long":       {mutual + strings.Repeat("x", 1<<20+1) + "\n", "", exitError},
		"schema":         {mutual + strings.ReplaceAll(plain, `"schema":1`, `"schema":2`), "", exitError},
		"cut, gate":      {mutual + plain[:len(plain)/2], "--fail-on=plaintext-edge", exitError},
		"cut, finding":   {plain + plain[:len(plain)/2], "--fail-on=plaintext-edge", exitFinding},
		"cut, unjudged":  {strings.ReplaceAll(mutual, `"verdict":"mtls"`, `"verdict":"unknown"`) + plain[:9], "--fail-on=tls-not-mutual", exitError},
	} {
		path := filepath.Join(t.TempDir(), "records.jsonl")
		if err := os.WriteFile(path, []byte(test.lines), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"edges"}, {"report", "-o", "-"}} {
			args = append(args, "--from", path)
			if test.gate != "" {
				args = append(args, test.gate)
			}
			out, errs, status := command(t, args...)
			whole := name == "whole" || strings.HasPrefix(name, "BOM")
			if status != test.status || strings.Contains(strings.Join(strings.Fields(out), " "), "not all of the input could be read") == whole || strings.Contains(errs, "not all of the input") == whole {
				t.Errorf("%s, %v: status %d, want %d: %s", name, args, status, test.status, errs)
			}
		}
	}
}
