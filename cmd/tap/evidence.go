package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// leastEvidence is the least size of a file of evidence, in bytes.
const leastEvidence = 16 << 10

// checkEvidence returns an error for each variable of evidence that cannot be used, by name.
func (s *settings) checkEvidence(bad func(name string, err error)) {
	if s.EvidenceFiles < 1 {
		bad("TAP_EVIDENCE_FILES", errors.New("expected a number of 1 or more, such as 64"))
	}
	if s.EvidenceMax < leastEvidence {
		bad("TAP_EVIDENCE_FILE_MAX", errors.New("expected 16Ki or more"))
	}
	if s.EvidenceAge < time.Minute {
		bad("TAP_EVIDENCE_AGE", errors.New("expected a minute or more, such as 24h"))
	}
}

// noEvidence returns why no evidence is stored or sent, "" if it is.
func (s *settings) noEvidence() string {
	switch {
	case s.redact == finding.RedactStrict && (s.EvidenceDir != "" || s.FilesTopic != "none"):
		return "TAP_REDACT is strict, and TLS handshakes contain names"
	case s.EvidenceDir == "" && (s.kafka.EvidenceTopic == "" || s.noSink != ""):
		return "neither TAP_EVIDENCE_DIR nor TAP_KAFKA_EVIDENCE_TOPIC is set"
	}
	return ""
}

// evidenceOf stores and sends evidence for the findings of a live capture. It is nil if it does neither.
type evidenceOf struct {
	tap      *tap
	recorder *evidence.Recorder
	store    *evidence.Store // nil until start, and without a folder
	nextLog  time.Time       // time from which a failure may be logged again; used only by the goroutine of store
}

// start starts to write files.
func (e *evidenceOf) start() {
	if e == nil || e.tap.EvidenceDir == "" {
		return
	}
	s := &e.tap.settings
	e.store = evidence.NewStore(evidence.StoreConfig{
		Dir: s.EvidenceDir, Files: s.EvidenceFiles, Bytes: int(s.EvidenceMax), Age: s.EvidenceAge, Failed: e.failed,
	})
}

// close writes the queued files, within a second or the time TAP_GRACE.
func (e *evidenceOf) close() {
	if e != nil && e.store != nil {
		e.store.Close(min(e.tap.Grace, time.Second))
	}
}

// failed logs that a file could not be written, at most once a minute.
func (e *evidenceOf) failed(err error) {
	now := time.Now()
	if now.Before(e.nextLog) {
		return
	}
	e.nextLog = now.Add(time.Minute)
	e.tap.log.Warn("evidence could not be stored; see TAP_EVIDENCE_DIR", "error", err)
}

// add stores and sends the evidence for an alert. The caller holds the pipeline's lock.
func (e *evidenceOf) add(a *finding.Alert) finding.Evidence {
	if e.store == nil && e.tap.kafka.EvidenceTopic == "" {
		return finding.Evidence{}
	}
	x := describe(a, e.tap.localName())
	x.Filter = e.tap.filter.String()
	for _, i := range e.tap.live.Interfaces() {
		if i.Name() == a.Connection.Interface {
			s := i.Stats()
			x.Received, x.Dropped, x.Counted = s.Packets, s.Drops, true
		}
	}
	file := e.recorder.Encode(a.Connection.ID, &x, int(e.tap.EvidenceMax))
	name := evidence.FileName(a.Connection.Last, a.Rule, a.ID)
	if file == nil {
		return finding.Evidence{}
	}
	out := stored(name, file)
	kept := e.store != nil && e.store.Put(name, file)
	if e.tap.kafka.EvidenceTopic != "" {
		kept = e.tap.publisher.Put(buffer.Message{
			Dataset: buffer.Evidence, ID: a.ID, Key: a.Key, Value: file, Time: time.Unix(0, a.Connection.Last), File: &buffer.File{Name: name, SHA256: out.SHA256},
		}) || kept
	}
	if !kept {
		return finding.Evidence{}
	}
	return out
}

// localName returns the name of the pod's workload, empty if it is unknown.
func (s *settings) localName() string {
	name := s.WorkloadName
	if name == "" {
		name = s.PodName
	}
	if name == "" || s.PodNamespace == "" {
		return name
	}
	return s.PodNamespace + "/" + name
}

// describe returns the description of an alert for its file. local is the name of the pod's workload.
func describe(a *finding.Alert, local string) evidence.Finding {
	j := a.Connection
	x := evidence.Finding{
		ID: a.ID, Rule: a.Rule, Message: a.Message, Application: "meshtls-tap " + version, Interface: j.Interface,
	}
	own, peer := j.Source.Addr, j.Destination.Addr
	if j.Direction == verdict.DirectionIngress {
		own, peer = peer, own
	}
	add := func(a netip.Addr, name string) {
		if name = strings.Map(printable, name); name != "" && a.IsValid() && name != a.Unmap().String() {
			x.Names = append(x.Names, evidence.Name{Addr: a.Unmap().WithZone(""), Name: name})
		}
	}
	if j.Direction != "" {
		add(own, local)
	}
	add(peer, j.PeerName)
	return x
}

// printable drops the characters that cannot be in a name.
func printable(r rune) rune {
	if r <= ' ' || r == 0x7f {
		return -1
	}
	return r
}

// stored returns the description of a file for the record of its finding.
func stored(name string, file []byte) finding.Evidence {
	sum := sha256.Sum256(file)
	return finding.Evidence{Name: name, SHA256: hex.EncodeToString(sum[:]), Length: uint64(len(file))}
}

// Bounds of `tap read --evidence`.
const (
	readEvidenceBytes = 64 << 20  // of stored packets
	readEvidenceFile  = 256 << 10 // of a file
	readEvidenceFiles = 1000      // files that a run writes
)

// readEvidence writes evidence for the findings of `tap read`. It is nil if none is wanted.
type readEvidence struct {
	dir      string
	recorder *evidence.Recorder
	files    int
	left     int   // alerts without a file, because there are too many
	failed   error // the first error
}

// storeEvidence has a pipeline's packets stored, if --evidence is set.
func (r *reading) storeEvidence(cfg *pipeline.Config) {
	if r.o.evidence == "" {
		return
	}
	r.evidence = &readEvidence{dir: r.o.evidence, recorder: evidence.NewRecorder(readEvidenceBytes)}
	cfg.Table.Observe, cfg.Ended, cfg.Engine.Evidence = r.evidence.recorder.Observe, r.evidence.recorder.Forget, r.evidence.add
}

// result returns an error if a file is missing.
func (e *readEvidence) result() error {
	switch {
	case e == nil:
		return nil
	case e.failed == nil && e.left > 0:
		return fmt.Errorf("--evidence: %d alerts have no file, because a run writes at most %d", e.left, readEvidenceFiles)
	}
	return e.failed
}

// add writes the evidence for an alert.
func (e *readEvidence) add(a *finding.Alert) finding.Evidence {
	x := describe(a, "")
	file := e.recorder.Encode(a.Connection.ID, &x, readEvidenceFile)
	if file == nil || e.failed != nil {
		return finding.Evidence{}
	}
	if e.files == readEvidenceFiles {
		e.left++
		return finding.Evidence{}
	}
	e.files++
	name := evidence.FileName(a.Connection.Last, a.Rule, a.ID)
	if e.failed = os.MkdirAll(e.dir, 0o700); e.failed == nil {
		e.failed = os.WriteFile(filepath.Join(e.dir, name), file, 0o600)
	}
	if e.failed != nil {
		return finding.Evidence{}
	}
	return stored(name, file)
}
