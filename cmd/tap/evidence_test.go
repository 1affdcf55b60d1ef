package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// evidentTap returns a tap with evidence whose records are in the result.
func evidentTap(t *testing.T, environ ...string) (x *tap, l *lossy, log *eventually.Output) {
	t.Helper()
	s, err := readEnvironment(append([]string{"TAP_EXPECT=0.0.0.0/0=mtls", "POD_IPS=10.0.0.1", "POD_NAMESPACE=shop", "POD_NAME=web-1", "TAP_WORKLOAD_NAME=web"}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	log = &eventually.Output{}
	if x, err = newTap(s, streams{strings.NewReader(""), io.Discard, log}); err != nil {
		t.Fatal(err)
	}
	x.publisher.Close(t.Context())
	l = &lossy{}
	x.publisher = l
	return x, l, log
}

// plainRequest adds a request in plaintext to a tap.
func plainRequest(t *testing.T, x *tap) {
	t.Helper()
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	var iface uint16
	x.pipeline.Do(func(p *pipeline.Locked) { iface = p.AddInterface("eth0") })
	for _, f := range talk.Packets(capturetest.Options{Start: time.Now()}) {
		x.pipeline.Add(flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet, Interface: iface})
	}
}

// evident is the part of a record that describes evidence.
type evident struct {
	Meshtls struct {
		Evidence struct {
			Name, SHA256 string
			Length       int
		}
	}
}

// findingsOf returns the alerts about connections.
func findingsOf(t *testing.T, l *lossy) (out []evident) {
	t.Helper()
	for _, m := range l.got {
		if m.Dataset != buffer.Finding || !bytes.Contains(m.Value, []byte(`"kind":"alert"`)) {
			continue
		}
		if !bytes.Contains(m.Value, []byte("credentials-in-clear")) {
			continue // the tap captures nothing
		}
		var e evident
		if err := json.Unmarshal(m.Value, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// TestEvidence: the tap writes a file for an alert, and the alert has its name, SHA-256 and length. The file has the packets, and the names of both ends.
func TestEvidence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	x, l, _ := evidentTap(t, "TAP_EVIDENCE_DIR="+dir)
	x.evidence.start()
	plainRequest(t, x)
	eventually.True(t, "the file is written", func() bool { return x.evidence.store.Stats().Written == 1 })
	x.evidence.close()

	found := findingsOf(t, l)
	if len(found) != 1 {
		t.Fatalf("%d findings", len(found))
	}
	e := found[0].Meshtls.Evidence
	file, err := os.ReadFile(filepath.Join(dir, e.Name))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != e.SHA256 || len(file) != e.Length {
		t.Errorf("%d bytes with the hash %x, and the finding has %+v", len(file), sum, e)
	}
	for _, want := range []string{"finding ", "credentials-in-clear", "shop/web", "eth0", "meshtls-tap " + version} {
		if !bytes.Contains(file, []byte(want)) {
			t.Errorf("the file lacks %q", want)
		}
	}
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var p flow.Packet
	for err == nil {
		_, err = r.Next(&p)
	}
	if !errors.Is(err, io.EOF) || r.Packets() < 4 {
		t.Errorf("%v after %d packets", err, r.Packets())
	}

	var page strings.Builder
	x.metrics(&page)
	for _, want := range []string{"meshtls_tap_evidence_files 1\n", "meshtls_tap_evidence_written_total 1\n", "meshtls_tap_evidence_failed_total 0\n"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
}

// TestEvidenceFails: a folder that cannot be used does not delay or prevent findings. It is logged and counted.
func TestEvidenceFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x, l, log := evidentTap(t, "TAP_EVIDENCE_DIR="+filepath.Join(file, "folder"))
	x.evidence.start()
	defer x.evidence.close()
	plainRequest(t, x)
	if n := len(findingsOf(t, l)); n != 1 {
		t.Errorf("%d findings", n)
	}
	eventually.True(t, "the failure is counted", func() bool { return x.evidence.store.Stats().Failed == 1 })
	if text := log.String(); strings.Count(text, "evidence could not be stored; see TAP_EVIDENCE_DIR") != 1 {
		t.Errorf("the log: %s", text)
	}
}

// TestNoEvidence: without a folder nothing is stored and nothing observes packets. With TAP_REDACT=strict the folder has no effect, and the tap
// says so.
func TestNoEvidence(t *testing.T) {
	for _, environ := range [][]string{nil, {"TAP_EVIDENCE_DIR=/x", "TAP_REDACT=strict"}} {
		x, l, _ := evidentTap(t, environ...)
		if cfg := x.pipelineConfig(); x.evidence != nil || cfg.Table.Observe != nil || cfg.Ended != nil || cfg.Engine.Evidence != nil || x.limits.Evidence != 0 {
			t.Errorf("%q: packets are stored", environ)
		}
		x.evidence.start()
		plainRequest(t, x)
		x.evidence.close()
		if found := findingsOf(t, l); len(found) != 1 || found[0].Meshtls.Evidence.Name != "" {
			t.Errorf("%q: %+v", environ, found)
		}
		const doubt = "TAP_EVIDENCE_DIR: no effect, because TAP_REDACT is strict, and TLS handshakes contain names"
		if len(environ) > 0 && !slices.Contains(x.doubtful, doubt) {
			t.Errorf("%q", x.doubtful)
		}
	}
}

// TestEvidenceSettings: bounds that cannot be used are invalid.
func TestEvidenceSettings(t *testing.T) {
	_, err := readEnvironment([]string{"TAP_EVIDENCE_FILES=0", "TAP_EVIDENCE_FILE_MAX=1Ki", "TAP_EVIDENCE_AGE=1s"})
	for _, want := range []string{
		"TAP_EVIDENCE_FILES=0: expected a number of 1 or more, such as 64", "TAP_EVIDENCE_FILE_MAX=1Ki: expected 16Ki or more", "TAP_EVIDENCE_AGE=1s: expected a minute or more, such as 24h",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
