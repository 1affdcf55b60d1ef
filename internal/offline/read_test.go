package offline_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/offline"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// conversations returns a capture with a connection in mutual TLS, one in TLS and one in plaintext, each to a server of its own.
func conversations(t *testing.T) []byte {
	t.Helper()
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	var frames []capturetest.Frame
	add := func(server string, talks ...*capturetest.Conversation) {
		for i, talk := range talks {
			frames = append(frames, talk.Packets(capturetest.Options{
				Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(40000+i)), Server: netip.MustParseAddrPort(server), //nolint:gosec // few
				Start: start.Add(time.Duration(len(frames)) * time.Second),
			})...)
		}
	}
	for server, auth := range map[string]capturetest.ClientAuth{"10.0.0.2:8443": capturetest.Presented, "10.0.0.3:8443": capturetest.NotRequested} {
		talks, err := capturetest.TLSTalk(tls.VersionTLS13, auth, 1)
		if err != nil {
			t.Fatal(err)
		}
		add(server, talks...)
	}
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	add("10.0.0.4:8080", talk)
	var out bytes.Buffer
	if err := capturetest.WritePcap(&out, frames); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verdicts reads a file and returns the verdicts of its flows by server, and all records as lines.
func verdicts(t *testing.T, path string) (flows map[string]string, lines []byte, err error) {
	t.Helper()
	flows = map[string]string{}
	err = offline.Read(context.Background(), path, nil, func(r *record.Record) {
		if r.Event.Dataset == record.DatasetFlow {
			flows[r.Destination.IP.String()] = r.Meshtls.Verdict
		}
		lines = append(r.AppendJSON(lines), '\n')
	})
	return flows, lines, err
}

func TestCapture(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	file := conversations(t)
	if _, err := z.Write(file); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"a.pcap": file, "a.pcap.gz": zipped.Bytes()} {
		flows, lines, err := verdicts(t, write(t, name, b))
		if err != nil || flows["10.0.0.2"] != "mtls" || flows["10.0.0.3"] != "tls" || flows["10.0.0.4"] != "plaintext" {
			t.Errorf("%s: %v, %v", name, flows, err)
		}
		if !bytes.Contains(lines, []byte(`"run":"`+name+`"`)) || !bytes.Contains(lines, []byte("plaintext-edge")) || !bytes.Contains(lines, []byte("meshtls.posture")) {
			t.Errorf("%s: no run, finding or posture in %s", name, lines)
		}
		again, _, err := verdicts(t, write(t, "records.jsonl", append([]byte("time=x level=INFO msg=started\n\nkey\t"), lines...)))
		if err != nil || len(again) != 3 || again["10.0.0.4"] != "plaintext" {
			t.Errorf("its records: %v, %v", again, err)
		}
	}
}

// TestErrors: an error has the file's name and the place, and what was read before it is kept.
func TestErrors(t *testing.T) {
	file := conversations(t)
	_, lines, err := verdicts(t, write(t, "a.pcap", file))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		bytes []byte
		flows int
		want  string
	}{
		{"short.pcap", file[:len(file)-10], 3, "truncated in packet"},
		{"empty.pcap", nil, 0, "the file is empty"},
		{"noise", []byte("what is this"), 0, "line 1: not JSON"},
		{"other.json", []byte(`{"a":1}`), 0, "line 1: not a record of meshtls-tap"},
		{"damaged.jsonl", append([]byte("{\n"), lines...), 3, "line 1: not JSON"},
		{"long.jsonl", append(append(bytes.Repeat([]byte("x"), 2<<20), '\n'), lines...), 3, "line 1: longer than"},
		{"logs", []byte("time=x level=INFO\n"), 0, "no record in it"},
	} {
		flows, _, err := verdicts(t, write(t, test.name, test.bytes))
		if err == nil || !strings.Contains(err.Error(), test.name) || !strings.Contains(err.Error(), test.want) || len(flows) != test.flows {
			t.Errorf("%s: %d flows, %v", test.name, len(flows), err)
		}
	}
	if err := offline.Read(context.Background(), t.TempDir(), nil, nil); err == nil || !strings.Contains(err.Error(), "a folder") {
		t.Errorf("a folder: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := offline.Read(ctx, "-", bytes.NewReader(file), func(*record.Record) {}); err == nil || !strings.Contains(err.Error(), "interrupted after packet 0") {
		t.Errorf("interrupted: %v", err)
	}
}
