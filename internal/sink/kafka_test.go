package sink

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/ownsockets"
)

var datasets = [...]string{buffer.Finding, buffer.Posture, buffer.Tap, buffer.Flow}

// TestKafka runs all tests that need a real broker, which is started once.
func TestKafka(t *testing.T) {
	b := startBroker(t)
	t.Run("delivery", func(t *testing.T) { testDelivery(t, b) })
	t.Run("codecs", func(t *testing.T) { testCodecs(t, b) })
	t.Run("partitions", func(t *testing.T) { testPartitions(t, b) })
	t.Run("sockets", func(t *testing.T) { testOwnSockets(t, b) })
	t.Run("too large", func(t *testing.T) { testTooLarge(t, b) })
	t.Run("clock", func(t *testing.T) { testClock(t, b) })
	t.Run("reasons", func(t *testing.T) { testReasons(t, b) })
	t.Run("unknown topic", func(t *testing.T) { testUnknownTopic(t, b) })
	t.Run("bootstrap", func(t *testing.T) { testBootstrap(t, b) })
	t.Run("token", func(t *testing.T) { testToken(t, b) })
	t.Run("ACL", func(t *testing.T) { testACL(t, b) })
	t.Run("password rotated", func(t *testing.T) { testPasswordRotated(t, b) })
	t.Run("quota", func(t *testing.T) { testQuota(t, b) })
	t.Run("spool", func(t *testing.T) { testSpool(t, b) })
	t.Run("killed", func(t *testing.T) { testKilled(t, b) })
	t.Run("down", func(t *testing.T) { testDown(t, b) })
}

// flush closes k and fails the test unless all records were sent.
func flush(t *testing.T, k *Kafka) Status {
	t.Helper()
	left, err := closeIn(t, eventually.Limit, k)
	if s := k.Status(); left != 0 || err != nil {
		t.Fatalf("left %d, %v: %+v", left, err, s)
	}
	return k.Status()
}

func testDelivery(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "delivery")
	cfg.TLS, cfg.Brokers = &TLSConfig{CAFile: b.CA}, []string{b.TLS}
	cfg.SASL = &SASLConfig{Mechanism: "SCRAM-SHA-512", Username: "tap", Password: "tap-secret"}
	k := newKafka(t, cfg)
	sent := map[string]buffer.Message{}
	for n := range 200 {
		m := sample(datasets[n%4], n)
		sent[m.ID] = m
		if !k.Put(m) {
			t.Fatal("refused")
		}
	}
	if s := flush(t, k); !s.OK || s.Reason != "" || sum(s.Delivered) != 200 || sum(s.Dropped) != 0 {
		t.Errorf("%+v", s)
	}
	topics := map[string]string{buffer.Finding: cfg.FindingsTopic, buffer.Posture: cfg.PostureTopic, buffer.Tap: cfg.PostureTopic, buffer.Flow: cfg.FlowsTopic}
	got := b.readAll(cfg)
	if len(got) != len(sent) {
		t.Errorf("%d records, want %d", len(got), len(sent))
	}
	for _, r := range got {
		m := sent[r.ID()]
		want := record{
			Topic: topics[m.Dataset], Partition: r.Partition, Key: m.Key, Headers: "schema=1,content-type=application/json,event-id=" + m.ID,
			Timestamp: fmt.Sprint(m.Time.UnixMilli()), Value: string(m.Value),
		}
		if r != want {
			t.Errorf("read %+v\nsent %+v", r, want)
		}
	}
}

func testCodecs(t *testing.T, b *broker) {
	for _, codec := range []string{"zstd", "lz4", "snappy", "gzip", "none"} {
		cfg := b.topics(t, "codec-"+codec)
		cfg.Compression = codec
		k := newKafka(t, cfg)
		for n := range 100 {
			k.Put(sample(buffer.Flow, n))
		}
		flush(t, k)
		if ids, duplicates := distinct(b.Read(cfg.FlowsTopic)); len(ids) != 100 || duplicates != 0 {
			t.Errorf("%s: %d records, %d duplicates", codec, len(ids), duplicates)
		}
	}
	testJava(t, b)
}

// testJava reads the records of testCodecs with Kafka's own Java consumer. Its decoders differ from those of
// kcat.
func testJava(t *testing.T, b *broker) {
	out := b.Tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", b.Plain, "--include", `codec-.*\.flows`,
		"--from-beginning", "--max-messages", "500", "--timeout-ms", fmt.Sprint(eventually.Limit.Milliseconds()), "--property", "print.key=true", "--property", "print.headers=true")
	got := map[string]int{}
	for line := range strings.Lines(out) {
		got[strings.TrimSuffix(line, "\n")]++
	}
	wrong := 0
	for n := range 100 {
		m := sample(buffer.Flow, n)
		want := fmt.Sprintf("schema:1,content-type:application/json,event-id:%s\t%s\t%s", m.ID, m.Key, m.Value)
		if got[want] != 5 { // once with each codec
			wrong++
		}
	}
	if wrong > 0 || len(got) != 100 {
		t.Errorf("the Java consumer read %d of 100 records otherwise: %.1000s", wrong, out)
	}
}

// testPartitions: the sink writes each key to the same partition as kcat does with the rule of the
// Java client.
func testPartitions(t *testing.T, b *broker) {
	cfg := b.topics(t, "partitions")
	k := newKafka(t, cfg)
	var input bytes.Buffer
	for n := range 90 {
		m := sample(buffer.Finding, n)
		m.Key = fmt.Sprintf("edge-%d", n%30)
		fmt.Fprintf(&input, "%s\tx\n", m.Key)
		k.Put(m)
	}
	flush(t, k)
	b.Create("partitions.kcat")
	cmd := exec.Command("kcat", "-b", b.Plain, "-P", "-t", "partitions.kcat", "-K", `\t`, "-X", "partitioner=murmur2_random")
	cmd.Stdin = &input
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kcat: %v: %s", err, out)
	}
	of, used := map[string]string{}, map[string]bool{}
	for _, r := range b.Read(cfg.FindingsTopic, "partitions.kcat") {
		if p, ok := of[r.Key]; ok && p != r.Partition {
			t.Errorf("%s is on partitions %s and %s", r.Key, p, r.Partition)
		}
		of[r.Key], used[r.Partition] = r.Partition, true
	}
	if len(of) != 30 || len(used) != 3 {
		t.Errorf("%d keys on %d partitions, want 30 on 3", len(of), len(used))
	}
}

// testOwnSockets: the sink's connections are registered while they are open.
func testOwnSockets(t *testing.T, b *broker) {
	cfg := b.topics(t, "sockets")
	cfg.Sockets = &ownsockets.Sockets{}
	k := newKafka(t, cfg)
	eventually.True(t, "connected", func() bool { return k.Status().OK }, k.Status, b.Log)
	ports := map[uint16]bool{}
	k.dialer.mu.Lock()
	for c := range k.dialer.open {
		ports[netip.MustParseAddrPort(c.LocalAddr().String()).Port()] = true
	}
	k.dialer.mu.Unlock()
	owned := func(after time.Duration) (n int) {
		for port := range ports {
			if cfg.Sockets.OwnedAt(port, time.Now().Add(after)) {
				n++
			}
		}
		return n
	}
	if n := owned(time.Minute); n == 0 || n != len(ports) {
		t.Errorf("%d of %d ports are known", n, len(ports))
	}
	flush(t, k)
	eventually.True(t, "no port owned after Close", func() bool { return owned(time.Minute) == 0 })
}

// testClock sends several records, one of them with a time in the future. Only that record is dropped, with the
// reason bad_time.
func testClock(t *testing.T, b *broker) {
	cfg := b.topics(t, "clock")
	k := newKafka(t, cfg)
	for n := range 21 {
		m := sample(buffer.Finding, n)
		m.Key = "edge"
		if n == 10 {
			m.Time = m.Time.Add(3 * time.Hour)
		}
		k.Put(m)
	}
	s := flush(t, k)
	if ids, duplicates := distinct(b.Read(cfg.FindingsTopic)); len(ids) != 20 || duplicates != 0 || s.Reasons[dropBadTime] != 1 {
		t.Errorf("%d arrived, %d duplicates: %+v", len(ids), duplicates, s)
	}
}

// testTooLarge sends several records. The broker refuses one of them and accepts the others.
func testTooLarge(t *testing.T, b *broker) {
	for name, limit := range map[string]int{"client": 1_000_000, "broker": 4_000_000} {
		cfg := b.topics(t, "large-"+name)
		cfg.BatchBytes, cfg.Compression = limit, "none"
		k := newKafka(t, cfg)
		for n := range 21 {
			m := sample(buffer.Finding, n)
			m.Key = "edge"
			if n == 10 {
				noise := make([]byte, 750_000)
				rand.Read(noise)
				m.Value = fmt.Appendf(nil, "%q", hex.EncodeToString(noise))
			}
			k.Put(m)
		}
		s := flush(t, k)
		ids, duplicates := distinct(b.Read(cfg.FindingsTopic))
		if len(ids) != 20 || duplicates != 0 || ids[sample(buffer.Finding, 10).ID] || s.Reasons[buffer.DropTooLarge] != 1 || s.Delivered[buffer.Finding] != 20 {
			t.Errorf("%s: %d arrived, %d duplicates: %+v", name, len(ids), duplicates, s)
		}
	}
}

func testReasons(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "reasons")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("nope\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, login := &TLSConfig{CAFile: b.CA}, SASLConfig{Mechanism: "scram-sha-512", Username: "tap", Password: "tap-secret"}
	wrong, unknown, fromFile, plain := login, login, login, login
	wrong.Password, unknown.Username = "nope", "nobody"
	plain.Mechanism, plain.Password = "plain", "nope"
	fromFile.Password, fromFile.PasswordFile = "", file
	for _, c := range []struct {
		name, broker string
		tls          *TLSConfig
		sasl         *SASLConfig
		want, class  string
	}{
		{"password", b.TLS, ca, &wrong, "refused the user name or password: see TAP_KAFKA_SASL_USERNAME and TAP_KAFKA_SASL_PASSWORD", classLogin},
		{"user", b.TLS, ca, &unknown, "refused the user name or password", classLogin},
		{"password file", b.TLS, ca, &fromFile, "TAP_KAFKA_SASL_PASSWORD_FILE", classLogin},
		{"plain password", b.TLS, ca, &plain, "refused the user name or password", classLogin},
		{"CA", b.TLS, &TLSConfig{}, &login, "unknown authority: see TAP_KAFKA_TLS_CA_FILE", classTLS},
		{"no login", b.TLS, ca, nil, "may require a login: see TAP_KAFKA_SASL_MECHANISM", classClosed},
		{"no TLS", b.TLS, nil, &login, "expects TLS on this port: set TAP_KAFKA_TLS", classTLS},
		{"TLS to a plain port", b.Plain, ca, nil, "does not speak TLS on this port (EOF): unset TAP_KAFKA_TLS", classTLS},
		{"login on a plain port", b.Plain, nil, &login, "does not offer this SASL mechanism on this port: see TAP_KAFKA_SASL_MECHANISM", classLogin},
	} {
		cfg := cfg
		cfg.Brokers, cfg.TLS, cfg.SASL = []string{c.broker}, c.tls, c.sasl
		k := newKafka(t, cfg)
		eventually.True(t, c.name+": "+c.want, func() bool { return strings.Contains(k.Status().Reason, c.want) }, k.Status, b.Log)
		if s := k.Status(); s.OK || s.ErrorClass != c.class {
			t.Errorf("%s: OK %t, error class %q, want %q", c.name, s.OK, s.ErrorClass, c.class)
		}
		k.Put(sample(buffer.Finding, 1))
		if left, _ := closeIn(t, 20*time.Millisecond, k); left != 1 {
			t.Errorf("%s: left %d", c.name, left)
		}
	}
}

// testUnknownTopic: while one topic does not exist, records reach the other topics. The missing topic gets its
// records once it exists.
func testUnknownTopic(t *testing.T, b *broker) {
	cfg := b.topics(t, "unknown")
	cfg.FindingsTopic, cfg.SlowBackoff = "unknown.later", time.Second
	k := newKafka(t, cfg)
	const want = `topic "unknown.later" does not exist or may not be described: create it or see TAP_KAFKA_TOPIC`
	for n := range 20 {
		k.Put(sample(buffer.Finding, n))
		k.Put(sample(buffer.Tap, n))
	}
	eventually.True(t, want, func() bool {
		s := k.Status()
		return strings.HasSuffix(s.Reason, want) && !s.OK && s.Delivered[buffer.Tap] == 20 && s.Delivered[buffer.Finding] == 0
	}, k.Status, b.Log)
	b.Create("unknown.later")
	eventually.True(t, "delivered to the new topic", func() bool { s := k.Status(); return s.OK && s.Queued == 0 }, k.Status, b.Log)
	flush(t, k)
	if ids, duplicates := distinct(b.Read("unknown.later")); len(ids) != 20 || duplicates != 0 {
		t.Errorf("%d arrived, %d duplicates", len(ids), duplicates)
	}
}

// testKilled kills the broker (SIGKILL) in the middle of a stream.
func testKilled(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "killed")
	cfg.QueueRecords, cfg.QueueBytes = 1e6, 1<<30 // enough for the time that a broker may need to start
	k := newKafka(t, cfg)
	stop, produced := make(chan struct{}), make(chan int)
	go func() { // 400 records/s until stop is closed
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			if n%4 == 0 {
				select {
				case <-tick.C:
				case <-stop:
					produced <- n
					return
				}
			}
			k.Put(sample(datasets[n%4], n))
		}
	}()
	eventually.True(t, "the stream flows", func() bool { return sum(k.Status().Delivered) > 500 }, k.Status, b.Log)
	b.Kill()
	eventually.True(t, "the fault shows", func() bool { return !k.Status().OK }, k.Status)
	down := k.Status()
	b.Start()
	eventually.True(t, "the stream flows again", func() bool { s := k.Status(); return s.OK && sum(s.Delivered) > sum(down.Delivered)+500 }, k.Status, b.Log)
	close(stop)
	n := <-produced
	s := flush(t, k)
	ids, duplicates := distinct(b.readAll(cfg))
	t.Logf("put %d, arrived %d, duplicates %d, dropped %v, retries %d", n, len(ids), duplicates, s.Dropped, s.Retries)
	if len(ids) != n || sum(s.Dropped) != 0 {
		t.Errorf("%d of %d arrived: %+v", len(ids), n, s)
	}
}
