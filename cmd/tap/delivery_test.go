package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
)

// TestByteSize: numbers with and without a suffix are parsed. Texts that are invalid or too large
// are rejected.
func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "1000000": 1_000_000, "64Mi": 64 << 20, "3Ki": 3 << 10, "2Gi": 2 << 30} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "Mi", "1M", "1.5Mi", "9223372036854775807Ki", "x"} {
		var b byteSize
		if b.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is taken as %d", text, b)
		}
	}
}

// TestSinkSettings: the environment determines the sink's settings.
func TestSinkSettings(t *testing.T) {
	s, err := readEnvironment([]string{
		"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=a:9092, [2001:db8::1]:9093", "TAP_KAFKA_TOPIC=tap.{namespace}.findings", "POD_NAMESPACE=shop", "POD_UID=7e1a",
		"TAP_KAFKA_SASL_MECHANISM=oauthbearer", "TAP_KAFKA_SASL_TOKEN_FILE=/token", "TAP_SPOOL_DIR=/spool", "TAP_SPOOL_MAX=67108864",
		"TAP_KAFKA_BATCH_SIZE=50", "TAP_KAFKA_BATCH_BYTES=1Mi",
	})
	if err != nil {
		t.Fatal(err)
	}
	k := s.kafka
	if !slices.Equal(k.Brokers, []string{"a:9092", "[2001:db8::1]:9093"}) || k.FindingsTopic != "tap.shop.findings" || k.PostureTopic != "meshtls-tap.posture" {
		t.Errorf("brokers and topics: %+v", k)
	}
	if k.SASL.TokenFile != "/token" || *k.Spool != (buffer.SpoolConfig{Dir: "/spool", MaxBytes: 64 << 20}) || k.BatchSize != 50 || k.BatchBytes != 1<<20 || k.Seed != "7e1a" || k.Spread != time.Minute {
		t.Errorf("%+v %+v %+v", k, k.SASL, k.Spool)
	}
	for _, bad := range []string{"TAP_SPOOL_MAX=big", "TAP_KAFKA_BATCH_BYTES=0"} {
		name, _, _ := strings.Cut(bad, "=")
		if _, err := readEnvironment([]string{bad}); err == nil || !strings.Contains(err.Error(), bad+": expected") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// lossy is a publisher with a settable count of drops.
type lossy struct {
	status sink.Status
	got    []buffer.Message
}

func (l *lossy) Put(m buffer.Message) bool                   { l.got = append(l.got, m); return true }
func (l *lossy) Status() sink.Status                         { return l.status }
func (l *lossy) Close(context.Context) (left int, err error) { return 0, nil }

// TestDropsArePublished: drops are published once delivery works again. They are published again only if there are
// new drops.
func TestDropsArePublished(t *testing.T) {
	s, err := readEnvironment([]string{"TAP_LISTEN=none"})
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	tap, err := newTap(s, streams{strings.NewReader(""), &out, &errs})
	if err != nil {
		t.Fatal(err)
	}
	tap.publisher.Close(t.Context())
	l := &lossy{status: sink.Status{Stats: buffer.Stats{Dropped: map[string]uint64{buffer.Flow: 40, buffer.Posture: 2}, Reasons: map[string]uint64{"queue_full": 42}}}}
	tap.publisher = l
	now := time.Now()
	var drops dropMonitor
	check := func(after time.Duration, want int) {
		t.Helper()
		now = now.Add(after)
		drops.check(tap, now)
		// Leave out the finding that this tap captures nothing.
		l.got = slices.DeleteFunc(l.got, func(m buffer.Message) bool { return m.Dataset != finding.DatasetTap })
		if len(l.got) != want {
			t.Errorf("%d records, want %d", len(l.got), want)
		}
	}
	check(0, 0)
	check(2*time.Second, 0) // drops are logged at once, and then once a minute at most
	if logged := errs.String(); strings.Count(logged, "records were dropped") != 1 || !strings.Contains(logged, "records=42") || !strings.Contains(logged, "queue_full 42") {
		t.Errorf("the log: %s", logged)
	}
	l.status.OK = true
	check(2*time.Second, 1)
	const want = `"reason":"42 records were dropped before they could be delivered, since the start: meshtls.flow 40, meshtls.posture 2 (queue_full 42)"`
	if len(l.got) == 1 && !strings.Contains(string(l.got[0].Value), want) {
		t.Errorf("%s", l.got[0].Value)
	}
	check(2*time.Minute, 1)
	l.status.Dropped[buffer.Flow]++
	check(2*time.Second, 2)
	if errs.Reset(); tap.flush() != nil || !strings.Contains(errs.String(), "level=WARN msg=stopped") || !strings.Contains(errs.String(), "records_dropped=43") {
		t.Errorf("at the end: %s", &errs)
	}
}

// TestUnreadOutputIsLogged: the log reports once that nobody reads standard output, and once that it is read
// again.
func TestUnreadOutputIsLogged(t *testing.T) {
	s, err := readEnvironment(nil)
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	tap, err := newTap(s, streams{strings.NewReader(""), io.Discard, &errs})
	if err != nil {
		t.Fatal(err)
	}
	tap.publisher.Close(t.Context())
	l := &lossy{status: sink.Status{OK: true}}
	tap.publisher = l
	var o outputMonitor
	now := time.Now()
	for _, reason := range []string{"", "blocked", "blocked", "blocked", ""} {
		l.status.Reason = reason
		now = now.Add(2 * time.Second)
		o.check(tap, now)
	}
	if logged := errs.String(); strings.Count(logged, "\n") != 2 || !strings.Contains(logged, "level=ERROR") || !strings.Contains(logged, "error=blocked") || !strings.HasSuffix(logged, "written again\"\n") {
		t.Errorf("the log: %s", logged)
	}
}
