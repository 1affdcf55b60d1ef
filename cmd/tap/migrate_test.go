package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// way is the transport between two workloads in the replayed migration.
type way int

const (
	bySidecar way = iota // mutual TLS as Istio's sidecars speak it, with their ALPN and SNI
	byHBONE              // mutual TLS as ztunnel speaks it: h2 and no SNI, port 15008
	inPlain              // HTTP
)

// replayedTalk is a connection between two pods in the replay.
type replayedTalk struct {
	from, to netip.Addr
	service  string // a service of the namespace shop
	port     uint16
	how      way
	minute   int
}

// frames makes a request and its response between real ends, and returns them as packets.
func (d replayedTalk) frames(t *testing.T, day, nth int) []capturetest.Frame {
	t.Helper()
	host := d.service + ".shop.svc.cluster.local"
	request := func(c net.Conn) error {
		if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
			return err
		}
		_, err := io.ReadAll(c)
		return err
	}
	answer := func(c net.Conn) error { return errorsFirst(capturetest.AnswerOver(c), c.Close()) }
	client, server := request, answer
	if d.how != inPlain {
		ca, err := capturetest.NewAuthority()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Issue("spiffe://cluster.local/ns/shop/sa/"+d.service, host)
		if err != nil {
			t.Fatal(err)
		}
		own := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}} //nolint:gosec // both ends are the test's
		if d.how == bySidecar {
			own.NextProtos, own.ServerName = []string{"istio-peer-exchange", "istio"}, fmt.Sprintf("outbound_.%d_._.%s", d.port, host)
		}
		accept := own.Clone()
		accept.ClientAuth, accept.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool
		client = func(c net.Conn) error { return request(tls.Client(c, own)) }
		server = func(c net.Conn) error { return answer(tls.Server(c, accept)) }
	}
	talk, err := capturetest.Record(client, server)
	if err != nil {
		t.Fatal(err)
	}
	return talk.Packets(capturetest.Options{
		Client: netip.AddrPortFrom(d.from, uint16(40000+nth)), Server: netip.AddrPortFrom(d.to, d.port),
		Start: captureStart.Add(time.Duration(day)*24*time.Hour + time.Duration(d.minute)*time.Minute),
	})
}

func errorsFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// podAddr returns the address of pod n on a day. The address differs before and after the migration, because pods get new
// addresses when they restart.
func podAddr(day, n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(day), byte(n)}) }

var replayPods = []string{"web", "batch", "report", "jobs", "cart", "db", "pay"}

// replayed returns the connections before (day 0) or after (day 1) the migration. Before, all workloads use sidecars. After, web and
// its servers have moved to ambient. batch was left out and keeps its sidecar. report bypasses sidecar and ztunnel in plaintext.
// jobs no longer calls cart.
func replayed(day int) []replayedTalk {
	pod := func(name string) netip.Addr { return podAddr(day, 10+slices.Index(replayPods, name)) }
	cluster := netip.MustParseAddr("10.96.0.20") // the cluster IP of the service cart
	if day == 0 {
		return []replayedTalk{
			{pod("web"), pod("cart"), "cart", 8080, bySidecar, 1}, {pod("web"), pod("cart"), "cart", 8080, bySidecar, 59},
			{pod("web"), pod("db"), "db", 5432, bySidecar, 2}, {pod("web"), pod("db"), "db", 9100, inPlain, 3},
			{pod("web"), pod("pay"), "pay", 8080, inPlain, 4},
			{pod("batch"), pod("cart"), "cart", 8080, bySidecar, 5}, {pod("report"), pod("cart"), "cart", 8080, bySidecar, 6},
			{pod("jobs"), pod("cart"), "cart", 8080, bySidecar, 7}, {pod("jobs"), pod("pay"), "pay", 8080, bySidecar, 58},
		}
	}
	return []replayedTalk{
		{pod("web"), pod("cart"), "cart", 15008, byHBONE, 1}, {pod("web"), pod("cart"), "cart", 15008, byHBONE, 59},
		{pod("web"), pod("db"), "db", 15008, byHBONE, 2}, {pod("web"), pod("pay"), "pay", 15008, byHBONE, 4},
		{pod("web"), podAddr(9, 9), "stock", 8080, inPlain, 30}, // passthrough, to a pod outside the mesh
		{pod("batch"), pod("cart"), "cart", 8080, bySidecar, 5}, {pod("report"), cluster, "cart", 80, inPlain, 6},
		{pod("jobs"), pod("pay"), "pay", 8080, bySidecar, 58},
	}
}

// replayRecords returns the records of all pods' taps before or after the migration: findings, postures, and the taps' own records
// at their start and end.
func replayRecords(t *testing.T, day int) []byte {
	t.Helper()
	var out bytes.Buffer
	start := captureStart.Add(time.Duration(day) * 24 * time.Hour)
	for i, name := range replayPods {
		addr := podAddr(day, 10+i)
		id := finding.Identity{
			Namespace: "shop", Pod: name + "-0", UID: fmt.Sprintf("%s-%d", name, day), IPs: []netip.Addr{addr}, WorkloadKind: "Deployment", WorkloadName: name, Run: "1", Version: "test",
		}
		if day == 0 || name == "batch" {
			id.LocalProxy = "istio"
		}
		p := pipeline.New(pipeline.Config{Judge: verdict.Config{Local: []netip.Prefix{netip.PrefixFrom(addr, 32)}}, Engine: finding.Config{
			Tap: id.UID, Identity: id, Window: 10 * time.Minute, Interval: time.Hour, Delay: 3 * time.Minute, Findings: true, Posture: true,
			Emit: func(r finding.Record) {
				schematest.Check(t, r.Value)
				out.Write(append(r.Value, '\n'))
			},
		}})
		p.Do(func(l *pipeline.Locked) { l.Engine.Started(start.UnixNano(), finding.SelfTest{}) })
		for nth, d := range replayed(day) {
			if d.from == addr || d.to == addr {
				feedFrames(p, d.frames(t, day, nth))
			}
		}
		p.Flush()
		p.Do(func(l *pipeline.Locked) {
			l.Engine.Flush(start.Add(time.Hour).UnixNano())
			l.Engine.Stopped(start.Add(time.Hour).UnixNano(), "signal")
		})
	}
	return out.Bytes()
}

func feedFrames(p *pipeline.Pipeline, frames []capturetest.Frame) {
	for _, f := range frames {
		p.Do(func(l *pipeline.Locked) { l.Tick(f.Time.UnixNano()) }) // like the loop of a live tap
		p.Add(packetOf(f))
	}
}

// replayCapture returns a pod's capture before or after the migration.
func replayCapture(t *testing.T, day int, pod string) []byte {
	t.Helper()
	addr := podAddr(day, 10+slices.Index(replayPods, pod))
	var frames []capturetest.Frame
	for nth, d := range replayed(day) {
		if d.from == addr || d.to == addr {
			frames = append(frames, d.frames(t, day, nth)...)
		}
	}
	slices.SortStableFunc(frames, func(a, b capturetest.Frame) int { return a.Time.Compare(b.Time) })
	var b bytes.Buffer
	if err := capturetest.WritePcap(&b, frames); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAs runs tap read and compares its output with a golden file.
func readAs(t *testing.T, golden string, status int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := command(context.Background(), append([]string{"read"}, args...), nil, streams{strings.NewReader(""), &out, &errs}); got != status {
		t.Errorf("exit status %d, want %d: %s", got, status, &errs)
	}
	if golden == "" {
		return errs.String()
	}
	file := filepath.Join("testdata", "migration", golden)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // testdata is readable by everyone
			t.Fatal(err)
		}
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%s differs; write it anew with -update and read the difference. Got:\n%s", file, &out)
	}
	return errs.String()
}

func writeTemp(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestMigration replays a migration from sidecars to ambient. One workload has moved, one was left out, one fell back to plaintext,
// and one stopped calling a service. The records are from real handshakes, and of the default datasets.
func TestMigration(t *testing.T) {
	before, after := replayRecords(t, 0), replayRecords(t, 1)
	a, b := writeTemp(t, "before.jsonl", before), writeTemp(t, "after.jsonl.gz", zipped(t, after))
	readAs(t, "replay.txt", exitHit, "--before", a, "--after", b, "--output=text")
	readAs(t, "replay.json", exitHit, "--before", a, "--after", b, "--output=json")

	// Repeated records, and records of one tap in several files, change nothing.
	lines := bytes.SplitAfter(after, []byte("\n"))
	half := len(lines) / 2
	c, d := writeTemp(t, "1.jsonl", bytes.Join(lines[half-3:], nil)), writeTemp(t, "2.jsonl", bytes.Join(lines[:half], nil))
	readAs(t, "repeated.txt", exitHit, "--before", a, "--after", c, "--after", d, "--output=text")

	// In reverse, an edge that used HBONE and is plaintext afterwards has lost mutual TLS, at any port.
	readAs(t, "back.txt", exitHit, "--before", b, "--after", a, "--output=text")
}

// TestMigrationOfCaptures: edges of captures are matched by addresses, and by the names in the packets.
func TestMigrationOfCaptures(t *testing.T) {
	web := [2]string{writeTemp(t, "before.pcap", replayCapture(t, 0, "web")), writeTemp(t, "after.pcap.gz", zipped(t, replayCapture(t, 1, "web")))}
	readAs(t, "captures.txt", exitBlind, "--before", web[0], "--after", web[1], "--output=text", "--local=10.1.0.10,10.1.1.10")

	// The same capture is on both sides, so the pods keep their addresses, and edges are matched by
	// address.
	var same bytes.Buffer
	var frames []capturetest.Frame
	for nth, d := range replayed(1) {
		if d.from == podAddr(1, 10) {
			d.from = podAddr(0, 10)
			if d.to != podAddr(9, 9) {
				to := d.to.As4()
				to[2] = 0
				d.to = netip.AddrFrom4(to)
			}
			frames = append(frames, d.frames(t, 1, nth)...)
		}
	}
	if err := capturetest.WritePcap(&same, frames); err != nil {
		t.Fatal(err)
	}
	readAs(t, "addresses.txt", exitFine, "--before", web[0], "--after", writeTemp(t, "same.pcap", same.Bytes()), "--output=text", "--local=10.1.0.10")

	report := [2]string{writeTemp(t, "before.pcap", replayCapture(t, 0, "report")), writeTemp(t, "after.pcap", replayCapture(t, 1, "report"))}
	readAs(t, "restarted.txt", exitBlind, "--before", report[0], "--after", report[1], "--output=text", "--local=10.1.0.12,10.1.1.12")
}

// TestMigrationFiles: an error in an input is reported with its position. The data before the error
// still counts.
func TestMigrationFiles(t *testing.T) {
	before := replayRecords(t, 0)
	a := writeTemp(t, "before.jsonl", before)
	after := replayRecords(t, 1)
	broken := writeTemp(t, "broken.jsonl", append([]byte("time=2026 level=INFO msg=x\nnot a record\n"), after...))
	if errs := readAs(t, "broken.txt", exitHit, "--before", a, "--after", broken, "--output=text"); !strings.Contains(errs, "broken.jsonl: line 2: not JSON") {
		t.Errorf("standard error: %s", errs)
	}
	if errs := readAs(t, "", exitError, "--before", a, "--after", filepath.Join(t.TempDir(), "none"), "--output=text"); !strings.Contains(errs, "no such file") {
		t.Errorf("standard error: %s", errs)
	}
	if errs := readAs(t, "", exitError, "--before", a, "--after", writeTemp(t, "empty", nil)); !strings.Contains(errs, "empty: the file is empty") {
		t.Errorf("standard error: %s", errs)
	}
	half := zipped(t, after)
	if errs := readAs(t, "", exitHit, "--before", a, "--after", writeTemp(t, "cut.gz", half[:len(half)-20])); !strings.Contains(errs, "unexpected EOF") {
		t.Errorf("standard error: %s", errs)
	}
	capture := replayCapture(t, 1, "web")
	if errs := readAs(t, "", exitError, "--before", a, "--after", writeTemp(t, "cut.pcap", capture[:len(capture)-20])); !strings.Contains(errs, "cut.pcap: truncated in packet") {
		t.Errorf("standard error: %s", errs)
	}
}

// TestMigrationSchema: the output of --output=json conforms to the schema.
func TestMigrationSchema(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "schema", "migration.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("migration.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("migration.json")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "migration", "replay.json"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(golden))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Error(err)
	}
}

// TestMigrationOfClusters: records of two clusters on one side are an error, because workloads of the same name would be mixed. The
// output also reports sides that may be swapped, and input without records.
func TestMigrationOfClusters(t *testing.T) {
	before, after := replayRecords(t, 0), replayRecords(t, 1)
	of := func(records []byte, cluster string) []byte {
		return bytes.ReplaceAll(records, []byte(`"orchestrator":{"type":"kubernetes"`), []byte(`"orchestrator":{"type":"kubernetes","cluster":{"name":"`+cluster+`"}`))
	}
	a, b := writeTemp(t, "a", of(before, "one")), writeTemp(t, "b", of(after, "two"))
	if errs := readAs(t, "", exitHit, "--before", a, "--after", b); errs != "" {
		t.Errorf("one cluster on each side: %s", errs)
	}
	c := writeTemp(t, "c", of(before, "two"))
	if errs := readAs(t, "", exitError, "--before", a, "--before", c, "--after", a); !strings.Contains(errs, `--before: records of several clusters (["one" "two"])`) {
		t.Errorf("two clusters: %q", errs)
	}
	if errs := readAs(t, "", exitHit, "--before", b, "--after", a); !strings.Contains(errs, "note: --after starts earlier than --before") {
		t.Errorf("swapped sides: %q", errs)
	}
	if errs := readAs(t, "", exitError, "--before", a, "--after", writeTemp(t, "blank", []byte("\n\n"))); !strings.Contains(errs, "no record in it") {
		t.Errorf("blank lines: %q", errs)
	}
}
