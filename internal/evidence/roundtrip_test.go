package evidence_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// fileBytes is the largest size of a file in these tests, the default of the tap.
const fileBytes = 256 << 10

// small bounds the memory of a table, since a test creates thousands of them.
var small = flow.Config{MaxConns: 256, MaxRecent: 256 << 10}

// essence holds the values in which a capture and its evidence must agree.
func essence(j *verdict.Judged) string {
	s := string(j.Verdict)
	if j.TLS != nil {
		s += " " + j.TLS.Version + " " + j.TLS.Cipher
	}
	return s
}

// shown is a file with the values that it must show.
type shown struct {
	rule, essence, protocol string
	reasons                 []string
	file                    []byte
}

// observed runs packets through a pipeline and returns a file for each alert and, if ends is set, for each connection with a verdict at its end.
func observed(packets []flow.Packet, ends, filtered bool) (out []shown) {
	rec := evidence.NewRecorder(16 << 20)
	add := func(rule, id string, j *verdict.Judged) {
		file := rec.Encode(j.ID, &evidence.Finding{ID: id, Rule: rule, Message: "a test", Interface: "eth0"}, fileBytes)
		out = append(out, shown{rule, essence(j), j.Protocol, j.Reasons, file})
	}
	everything, err := finding.ParseExpect("0.0.0.0/0=mtls,::/0=mtls")
	if err != nil {
		panic(err)
	}
	table := small
	table.Observe = rec.Observe
	cfg := pipeline.Config{
		DefaultFilter: filtered,
		Table:         table, Ended: rec.Forget,
		Engine: finding.Config{
			Tap: "read", Window: time.Hour, Findings: true, Expect: everything, Announcements: -1, Emit: func(finding.Record) {},
			Evidence: func(a *finding.Alert) record.Evidence {
				add(a.Rule, a.ID, a.Connection)
				return record.Evidence{}
			},
		},
	}
	if ends {
		cfg.Judged = func(j *verdict.Judged) {
			if j.Ended && j.Verdict != verdict.None {
				add("end", "0", j)
			}
		}
	}
	p := pipeline.New(cfg)
	p.Add(packets...)
	p.Flush()
	return out
}

// reread returns what `tap read` finds in a file.
func reread(t *testing.T, file []byte) (out []string) {
	t.Helper()
	latest := map[uint64]verdict.Judged{}
	p := pipeline.New(pipeline.Config{Table: small, Judged: func(j *verdict.Judged) { latest[j.ID] = *j }})
	p.Add(packetsIn(t, bytes.NewReader(file))...)
	p.Flush()
	for _, j := range latest {
		out = append(out, essence(&j))
	}
	return out
}

// packetsIn returns the packets of a capture file.
func packetsIn(t *testing.T, in io.Reader) (out []flow.Packet) {
	t.Helper()
	r, err := pcapfile.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var p flow.Packet
		iface, err := r.Next(&p)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Data, p.Interface = bytes.Clone(p.Data), uint16(iface)
		p.Decapsulate = true
		out = append(out, p)
	}
}

// TestRoundTrip: `tap read` reaches the same verdict, version and cipher suite from evidence as from the capture, for each alert and at
// the end of each connection.
func TestRoundTrip(t *testing.T) {
	norace(t)
	c := comparison{t: t}
	for name, packets := range allCaptures(t) {
		c.compare(name, packets, false)
	}
	c.log()
}

// TestRoundTripAfterTLS does the same for connections with several TLS sessions, with plaintext before, between and after TLS, and with text
// in TLS records.
func TestRoundTripAfterTLS(t *testing.T) {
	norace(t)
	c := comparison{t: t}
	hard(t, c.compare)
	c.log()
}

// comparison counts the files that were compared with captures.
type comparison struct {
	t                                    *testing.T
	captures, files, inherited, overlong int
}

func (c *comparison) compare(name string, packets []flow.Packet, filtered bool) {
	c.captures++
	for _, ends := range []bool{false, true} {
		for _, x := range observed(packets, ends, filtered) {
			c.files++
			got := reread(c.t, x.file)
			switch {
			case len(got) == 1 && got[0] == x.essence:
			case slices.Contains(x.reasons, "inherited_from_full_handshake"): // the file has no other connection to inherit from
				c.inherited++
			case ends && bytes.Contains(x.file, []byte("after the first 128 KiB are left out")):
				c.overlong++
			default:
				c.t.Errorf("%s: %s: %q %s (%s), in the evidence %q", name, x.rule, x.essence, x.protocol, x.reasons, got)
			}
		}
	}
}

func (c *comparison) log() {
	c.t.Helper()
	c.t.Logf("%d captures, %d files of evidence; %d lack the connection that a resumed one inherits from, %d end before the connection",
		c.captures, c.files, c.inherited, c.overlong)
}

// allCaptures returns the packets of the captures that this project generates, by name.
func allCaptures(t *testing.T) map[string][]flow.Packet {
	t.Helper()
	all := map[string][]flow.Packet{}
	for _, pattern := range []string{"../../cmd/tap/testdata/captures/*.pcap*", "../../test/tlslab/testdata/*/*.pcap.gz", "../../test/ambient/testdata/*.pcap*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 && !strings.Contains(pattern, "ambient") {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "huge.pcap") { // not a capture
				continue
			}
			f, err := os.Open(name) //nolint:gosec // a test's own file
			if err != nil {
				t.Fatal(err)
			}
			all[strings.TrimPrefix(name, "../../")] = packetsIn(t, f)
			f.Close()
		}
	}
	for i, l := range capturetest.Logins() {
		all[fmt.Sprintf("login %d %s %s", i, l.Protocol, l.Name)] = packetsOf(l.Talk.Packets(capturetest.Options{}))
	}
	for i, s := range capturetest.ProtocolSamples {
		talk := &capturetest.Conversation{}
		if s.Client != "" {
			talk.Chunks = append(talk.Chunks, capturetest.Chunk{Data: []byte(s.Client)})
		}
		if s.Server != "" {
			talk.Chunks = append(talk.Chunks, capturetest.Chunk{FromServer: true, Data: []byte(s.Server)})
		}
		all[fmt.Sprintf("sample %d %s", i, s.Protocol)] = packetsOf(talk.Packets(capturetest.Options{}))
	}
	mixed, err := capturetest.Mixed(time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	all["mixed"] = packetsOf(mixed)
	return all
}

func packetsOf(frames []capturetest.Frame) (out []flow.Packet) {
	for _, f := range frames {
		out = append(out, flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet})
	}
	return out
}
