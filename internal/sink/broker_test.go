package sink

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// broker is a real Apache Kafka, run by test/kafka/kafka.sh. KAFKA_SH names another script.
type broker struct {
	script, dir    string
	plain, tls, ca string
}

// startBroker starts a broker that lives as long as the test. Without what it takes the
// test is skipped, or fails where CI or MESHTLS_REQUIRE_ALL says that all must run.
func startBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{script: os.Getenv("KAFKA_SH"), dir: t.TempDir()}
	if b.script == "" {
		b.script = filepath.Join("..", "..", "test", "kafka", "kafka.sh")
	}
	absent := t.Skipf
	if os.Getenv("CI") != "" || os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		absent = t.Fatalf
	}
	if testing.Short() {
		t.Skip("a real broker takes a minute: not with -short")
	}
	for _, program := range []string{"java", "kcat"} {
		if _, err := exec.LookPath(program); err != nil {
			absent("%v: on Debian or Ubuntu: apt-get install default-jre-headless kcat", err)
		}
	}
	if out, err := exec.Command(b.script, "tool", "org.apache.kafka.common.utils.AppInfoParser").CombinedOutput(); bytes.Contains(out, []byte("kafka.sh resolve")) {
		absent("%v: %s", err, out)
	}
	t.Cleanup(func() { b.do(t, "kill") })
	b.start(t)
	return b
}

func (b *broker) do(t *testing.T, command string, args ...string) string {
	t.Helper()
	cmd := exec.Command(b.script, append([]string{command, b.dir}, args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprint("OWNER=", os.Getpid()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kafka.sh %s: %v\n%s", command, err, out)
	}
	return string(out)
}

func (b *broker) start(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(b.do(t, "start", "tls")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "PLAIN":
			b.plain = value
		case "TLS":
			b.tls = value
		case "CA":
			b.ca = value
		}
	}
}

func (b *broker) kill(t *testing.T) { t.Helper(); b.do(t, "kill") }

// topics creates prefix.findings, .posture and .flows with three partitions each and
// returns a configuration that uses them.
func (b *broker) topics(t *testing.T, prefix string) KafkaConfig {
	t.Helper()
	cfg := KafkaConfig{
		Brokers: []string{b.plain}, FindingsTopic: prefix + ".findings", PostureTopic: prefix + ".posture", FlowsTopic: prefix + ".flows",
		MaxBackoff: 4 * time.Second,
	}
	b.create(t, cfg.FindingsTopic, cfg.PostureTopic, cfg.FlowsTopic)
	return cfg
}

func (b *broker) create(t *testing.T, topics ...string) {
	t.Helper()
	tr := &kafka.Transport{}
	defer tr.CloseIdleConnections()
	c := kafka.Client{Addr: kafka.TCP(b.plain), Transport: tr}
	r := &kafka.CreateTopicsRequest{}
	for _, topic := range topics {
		r.Topics = append(r.Topics, kafka.TopicConfig{Topic: topic, NumPartitions: 3, ReplicationFactor: 1})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	res, err := c.CreateTopics(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	for topic, err := range res.Errors {
		if err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
	}
}

// record is what an independent client (kcat, on librdkafka) reads back.
type record struct {
	topic, partition, key, headers, timestamp, value string
}

func (r record) id() string {
	_, id, _ := strings.Cut(r.headers, "event-id=")
	return id
}

// read returns all that is in the topics now.
func (b *broker) read(t *testing.T, topics ...string) []record {
	t.Helper()
	var out []record
	for _, topic := range topics {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, "kcat", "-b", b.plain, "-C", "-t", topic, "-o", "beginning", "-e", "-q",
			"-f", `%t\t%p\t%k\t%h\t%T\t%s\n`)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		text, err := cmd.Output()
		cancel()
		if err != nil {
			t.Fatalf("kcat: %v: %s", err, stderr.String())
		}
		for line := range strings.Lines(string(text)) {
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 6)
			if len(f) != 6 {
				t.Fatalf("kcat printed %q", line)
			}
			out = append(out, record{f[0], f[1], f[2], f[3], f[4], f[5]})
		}
	}
	return out
}

// readAll reads the three topics of cfg.
func (b *broker) readAll(t *testing.T, cfg KafkaConfig) []record {
	t.Helper()
	return b.read(t, cfg.FindingsTopic, cfg.PostureTopic, cfg.FlowsTopic)
}

// distinct counts the different event ids, and what is there more than once.
func distinct(records []record) (ids map[string]bool, duplicates int) {
	ids = map[string]bool{}
	for _, r := range records {
		if ids[r.id()] {
			duplicates++
		}
		ids[r.id()] = true
	}
	return ids, duplicates
}

// sample is a record as the tap makes them, near enough.
func sample(dataset string, n int) Message {
	id := fmt.Sprintf("%s-%d", dataset, n)
	return Message{
		Dataset: dataset, ID: id, Key: fmt.Sprintf("edge-%d", n%7), Time: time.Now().Truncate(time.Millisecond),
		Value: fmt.Appendf(nil, `{"event":{"id":%q,"dataset":%q,"sequence":%d},"message":"é \"quoted\""}`, id, dataset, n),
	}
}
