package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// spread is the time over which the taps of a fleet distribute their reconnections to brokers that were unreachable.
const spread = time.Minute

// byteSize is a number of bytes. Its text may have one of the suffixes Ki, Mi and Gi, as in Kubernetes.
type byteSize int64

// UnmarshalText parses a text such as 1000000 or 64Mi.
func (b *byteSize) UnmarshalText(text []byte) error {
	digits, shift := string(text), 0
	for i, suffix := range []string{"Ki", "Mi", "Gi"} {
		if d, ok := strings.CutSuffix(digits, suffix); ok {
			digits, shift = d, 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>shift {
		return errors.New("expected a number of bytes, such as 1000000 or 64Mi")
	}
	*b = byteSize(n << shift)
	return nil
}

// Set is for flags.
func (b *byteSize) Set(text string) error { return b.UnmarshalText([]byte(text)) }

// String returns the number of bytes.
func (b *byteSize) String() string { return strconv.FormatInt(int64(*b), 10) }

// setSink sets the settings of the sink. The sink itself checks the values of Kafka's settings when it is created.
func (s *settings) setSink() error {
	switch s.Sink {
	case "stdout":
		return nil
	case "kafka":
	default:
		return errors.New("expected stdout or kafka")
	}

	s.publishToKafka = true
	s.kafka = sink.KafkaConfig{
		Brokers: variables.List(s.Brokers), FindingsTopic: s.topic(s.Topic), PostureTopic: s.topic(s.PostureTopic), FlowsTopic: s.topic(s.FlowsTopic),
		Compression: s.Compression, BatchTimeout: s.BatchTimeout, BatchSize: s.BatchSize, BatchBytes: int(s.BatchBytes),
		Seed: s.PodUID, Spread: spread, Schema: s.format.header,
	}

	if s.FilesTopic != "none" && s.redact != finding.RedactStrict {
		s.kafka.EvidenceTopic = s.topic(s.FilesTopic)
	}

	if s.TLS || s.CAFile+s.CertFile+s.KeyFile+s.ServerName != "" {
		s.kafka.TLS = &sink.TLSConfig{CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, ServerName: s.ServerName}
	}

	if s.Mechanism != "" {
		s.kafka.SASL = &sink.SASLConfig{
			Mechanism: s.Mechanism, Username: s.Username, Password: s.Password, PasswordFile: s.PasswordFile, TokenFile: s.TokenFile,
		}
	}

	if s.SpoolDir != "" {
		s.kafka.Spool = &buffer.SpoolConfig{Dir: s.SpoolDir, MaxBytes: int64(s.SpoolMax)}
	}
	return nil
}

// checkTLS returns an error if TAP_KAFKA_TLS, whose value is given, contradicts other settings of TLS. TLS is used then.
func (s *settings) checkTLS(value string) error {
	if value == "" || s.TLS || s.kafka.TLS == nil {
		return nil
	}
	return errors.New("expected true, because another TAP_KAFKA_TLS_ variable is set")
}

// destination returns the name of the sink in use, as TAP_SINK, or none.
func (s *settings) destination() string {
	if s.noSink != "" {
		return "none"
	}
	return s.Sink
}

// topic replaces {namespace} in a topic's name by the pod's namespace. If the namespace is unknown, the name does not change and
// the sink rejects it.
func (s *settings) topic(name string) string {
	if s.PodNamespace == "" {
		return name
	}
	return strings.ReplaceAll(name, "{namespace}", s.PodNamespace)
}

// identity returns the identity of the tap and its pod for records.
func (s *settings) identity() finding.Identity {
	return finding.Identity{
		Version: version, Run: runID(),
		Pod: s.PodName, Namespace: s.PodNamespace, UID: s.PodUID, IPs: s.podIPs,
		Node: s.NodeName, ServiceAccount: s.ServiceAccount, Cluster: s.Cluster,
		WorkloadKind: s.WorkloadKind, WorkloadName: s.WorkloadName, LocalProxy: s.LocalProxy, Ambient: s.Ambient, DeclaredSkip: s.declaredSkip,
	}
}

// message returns a record in the form that sinks deliver.
func message(r finding.Record) buffer.Message {
	return buffer.Message{Dataset: r.Dataset, ID: r.ID, Key: r.Key, Value: r.Value, Time: time.Unix(0, r.Time)}
}

// newPublisher creates the sink. It returns an error only for invalid settings.
func (t *tap) newPublisher(std streams) (publisher, error) {
	if t.noSink != "" {
		return newDiscard(t.noSink), nil
	}
	if !t.publishToKafka {
		return sink.NewJSONLines(std.out, sink.JSONLinesConfig{}), nil
	}

	cfg := t.kafka
	cfg.Sockets, cfg.Log = t.sockets, t.log
	k, err := sink.NewKafka(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w%s", errUsage, err, seeHelp)
	}
	return k, nil
}

// flush closes the sink. The sink has the time TAP_GRACE to deliver the remaining records. If the brokers are known to be
// unreachable, it has no time, because the end of a pod must not wait for brokers.
func (t *tap) flush() error {
	grace, before := t.Grace, t.publisher.Status()
	if before.Down {
		grace = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	left, err := t.publisher.Close(ctx)

	s := t.publisher.Status()
	level := slog.LevelInfo
	attributes := []any{"records_lost", left, "records_spooled", s.Spooled}
	if left > 0 {
		level = slog.LevelWarn
		attributes = append(attributes, t.lostAttributes(err, grace, &before)...)
	}

	if n := total(s.Dropped); n > 0 {
		level = slog.LevelWarn
		attributes = append(attributes, "records_dropped", n, "since_start", counts(s.Dropped), "reasons", counts(s.Reasons))
	}

	t.log.Log(ctx, level, "stopped", attributes...)
	return nil
}

// lostAttributes returns the attributes of a log entry about records that were lost at the end: the reason, and the settings that would
// have helped. err is the error of the sink's Close, and before its state before that.
func (t *tap) lostAttributes(err error, grace time.Duration, before *sink.Status) []any {
	var attributes []any
	var see []string
	if before.Down {
		attributes = append(attributes, "error", "not waited for, because records cannot be delivered: "+before.Reason)
	} else {
		attributes = append(attributes, "error", err, "grace", grace)
		see = append(see, "TAP_GRACE")
	}
	if t.publishToKafka {
		see = append(see, "TAP_SPOOL_DIR")
	}
	if len(see) > 0 {
		attributes = append(attributes, "see", strings.Join(see, ", "))
	}
	return attributes
}

// dropMonitor reports how many records the sink had to drop. It logs them when they are dropped, and publishes a record once the
// sink delivers again.
type dropMonitor struct {
	logged    uint64    // drops that are logged
	published uint64    // drops that are in a record
	removed   uint64    // removals of spool files that are in a record
	next      time.Time // time of the next check
	nextLog   time.Time // time from which drops may be logged again
}

// dropsEvery is the shortest time between two reports of drops, in the log and in records.
const dropsEvery = time.Minute

// check reads the sink's counts. The caller must not hold the pipeline's lock.
func (d *dropMonitor) check(t *tap, now time.Time) {
	if now.Before(d.next) {
		return
	}
	s := t.publisher.Status()
	d.next = now.Add(time.Second)
	if s.SpoolRemovals > d.removed {
		d.removed = s.SpoolRemovals
		t.degraded(now, fmt.Sprintf("files of the spool %s were removed while it was in use: a tap that is killed before they are written again loses their records", t.SpoolDir))
	}

	n := total(s.Dropped)
	if n > d.logged && !now.Before(d.nextLog) {
		t.log.Warn("records were dropped before they could be delivered", "records", n-d.logged, "since_start", counts(s.Dropped), "reasons", counts(s.Reasons))
		d.logged, d.nextLog = n, now.Add(dropsEvery)
	}

	if !s.OK || n <= d.published {
		return
	}

	reason := fmt.Sprintf("%d records were dropped before they could be delivered, since the start: %s (%s)", n-d.published, counts(s.Dropped), counts(s.Reasons))
	d.published, d.next = n, now.Add(dropsEvery)
	t.degraded(now, reason)
}

// outputMonitor logs when standard output is no longer read, and when it is read again. The sink for Kafka logs such changes itself.
type outputMonitor struct {
	next   time.Time // time of the next check
	reason string    // the reason that was logged last
}

func (o *outputMonitor) check(t *tap, now time.Time) {
	if t.publishToKafka || now.Before(o.next) {
		return
	}
	o.next = now.Add(time.Second)
	s := t.publisher.Status()
	switch s.Reason {
	case o.reason:
	case "":
		t.log.Info("records are written again")
	default:
		t.log.Error("records are not written", "error", s.Reason, "records_waiting", s.Queued)
	}
	o.reason = s.Reason
}

// degraded publishes a record that the tap sees or delivers less than it should, with the reason. The caller must not
// hold the pipeline's lock.
func (t *tap) degraded(now time.Time, reason string) {
	t.pipeline.Do(func(p *pipeline.Locked) { p.Engine.Degraded(now.UnixNano(), reason) })
}

func total(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

// counts formats the counts that are not 0, sorted by name.
func counts(m map[string]uint64) string {
	var out []string
	for name, n := range m {
		if n > 0 {
			out = append(out, fmt.Sprintf("%s %d", name, n))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
