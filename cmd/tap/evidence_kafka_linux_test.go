package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// evidenceTopic are the variables of a tap that sends evidence and has no folder for it.
func evidenceTopic(broker string) []string {
	return []string{
		"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=" + broker, "TAP_KAFKA_TOPIC={namespace}.findings", "TAP_KAFKA_EVIDENCE_TOPIC={namespace}.evidence", "TAP_GRACE=1m",
	}
}

// TestEvidenceTopic: a real broker gets the file of an alert, with the finding's key and identifier. Its hash is that in the finding.
func TestEvidenceTopic(t *testing.T) {
	b := kafkatest.Start(t, "plain", nil, nil)
	environ := evidenceTopic(b.Plain)
	if status, out := outcome(t, []string{"topics", "--apply", "--partitions=1"}, append(environ, "POD_NAMESPACE=shop")...); status != exitFine ||
		!strings.Contains(out, "topic shop.evidence          created with 1 partitions, cleanup.policy=delete retention.ms=604800000") {
		t.Fatalf("status %d: %s", status, out)
	}

	x, _, _ := evidentTap(t, environ...)
	var err error
	if x.publisher, err = x.newPublisher(streams{strings.NewReader(""), io.Discard, io.Discard}); err != nil {
		t.Fatal(err)
	}
	x.evidence.start()
	plainRequest(t, x)
	x.evidence.close()
	if err := x.flush(); err != nil {
		t.Fatal(err)
	}
	if s := x.publisher.Status(); s.Delivered[buffer.Evidence] != 1 || total(s.Dropped) != 0 {
		t.Fatalf("%+v", s)
	}

	ctx, cancel := context.WithTimeout(t.Context(), eventually.Limit)
	defer cancel()
	read := func(topic string) (kafka.Message, map[string]string) {
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{b.Plain}, Topic: topic})
		defer r.Close()
		for {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				t.Fatalf("%s: %v", topic, err)
			}
			headers := map[string]string{}
			for _, h := range m.Headers {
				headers[h.Key] = string(h.Value)
			}
			if headers["content-type"] != "application/json" || strings.Contains(string(m.Value), "credentials-in-clear") {
				return m, headers
			}
		}
	}
	alert, of := read("shop.findings")
	file, headers := read("shop.evidence")
	var found evident
	if err := json.Unmarshal(alert.Value, &found); err != nil {
		t.Fatal(err)
	}
	e := found.Meshtls.Evidence
	if sum := sha256.Sum256(file.Value); hex.EncodeToString(sum[:]) != e.SHA256 || len(file.Value) != e.Length || e.Length == 0 {
		t.Errorf("%d bytes with the hash %x, and the finding has %+v", len(file.Value), sum, e)
	}
	if headers["event-id"] != of["event-id"] || headers["sha256"] != e.SHA256 || headers["name"] != e.Name || headers["content-type"] != "application/x-pcapng" {
		t.Errorf("headers %q, those of the finding %q", headers, of)
	}
	if string(file.Key) != string(alert.Key) || len(file.Key) == 0 {
		t.Errorf("key %q, that of the finding %q", file.Key, alert.Key)
	}
}

// TestEvidenceIsKeptOrSent: a finding has evidence if the folder or the topic gets the file.
func TestEvidenceIsKeptOrSent(t *testing.T) {
	for _, c := range []struct {
		name     string
		environ  []string
		accepted bool // by the sink
		want     int  // findings with evidence
	}{
		{"sent", nil, true, 1},
		{"not accepted", nil, false, 0},
		{"kept", []string{"TAP_EVIDENCE_DIR=" + filepath.Join(t.TempDir(), "e")}, false, 1},
		{"strict", []string{"TAP_REDACT=strict"}, true, 0},
	} {
		x, _, _ := evidentTap(t, append(evidenceTopic("127.0.0.1:1"), c.environ...)...)
		p := &choosy{evidence: c.accepted}
		x.publisher = p
		x.evidence.start()
		plainRequest(t, x)
		x.evidence.close()
		with, sent := 0, 0
		for _, e := range findingsOf(t, &p.lossy) {
			if e.Meshtls.Evidence.Name != "" {
				with++
			}
		}
		for _, m := range p.got {
			if m.Dataset == buffer.Evidence {
				sent++
			}
		}
		wantSent := 1
		if c.name == "strict" {
			wantSent = 0
		}
		if with != c.want || sent != wantSent {
			t.Errorf("%s: %d findings with evidence, %d files sent; want %d, %d", c.name, with, sent, c.want, wantSent)
		}
	}
}

// choosy is a publisher that may refuse evidence.
type choosy struct {
	lossy
	evidence bool
}

func (c *choosy) Put(m buffer.Message) bool {
	c.lossy.Put(m)
	return m.Dataset != buffer.Evidence || c.evidence
}

// TestEvidenceTopicProblem: the topic must accept the largest file.
func TestEvidenceTopicProblem(t *testing.T) {
	s, err := readEnvironment(append(evidenceTopic("a:1"), "POD_NAMESPACE=shop"))
	if err != nil {
		t.Fatal(err)
	}
	of := func(name, limit string) error {
		return s.topicProblem(sink.Topic{Name: name, Config: map[string]string{"max.message.bytes": limit, "cleanup.policy": "delete"}})
	}
	if err := of("shop.evidence", "200000"); err == nil || !strings.Contains(err.Error(), "is too little for TAP_EVIDENCE_FILE_MAX=262144") {
		t.Error(err)
	}
	if err := of("shop.evidence", "1048588"); err != nil {
		t.Error(err)
	}
}
