package kafka_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// fleet configures the process of a fleet, which simulates taps. Clients is the number of its sinks, which have the
// settings of a tap. Each sink gets a record every ten seconds.
type fleet struct {
	Clients int
	Broker  string
	Topics  string
	Spread  time.Duration
}

// every is the time between two records of one sink of a fleet: 0.1 records/s.
const every = 10 * time.Second

// runFleet is the main function of a fleet's process. It ends at SIGTERM.
func runFleet() {
	var f fleet
	exitOn(json.Unmarshal([]byte(os.Getenv("MESHTLS_FLEET")), &f))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	sinks := make([]*sink.Kafka, f.Clients)
	var all sync.WaitGroup
	for i := range sinks {
		k, err := sink.NewKafka(sink.KafkaConfig{
			Brokers: []string{f.Broker}, FindingsTopic: f.Topics + ".findings", PostureTopic: f.Topics + ".posture", FlowsTopic: f.Topics + ".flows",
			Seed: fmt.Sprint("pod-", i), Spread: f.Spread, Compression: "none",
		})
		exitOn(err)
		sinks[i] = k
		all.Go(func() {
			o := order{Name: fmt.Sprint("pod-", i)}
			timer := time.NewTimer(rand.N(every))
			for n := 0; ; n++ {
				select {
				case <-timer.C:
				case <-ctx.Done():
					return
				}
				timer.Reset(every)
				k.Put(o.record(4*n+1, "")) // a posture record
			}
		})
	}
	out := json.NewEncoder(os.Stdout)
	for tick := time.NewTicker(time.Second); ctx.Err() == nil; <-tick.C {
		ok, dropped := 0, 0
		for _, k := range sinks {
			s := k.Status()
			if s.OK {
				ok++
			}
			dropped += sum(s.Dropped)
		}
		exitOn(out.Encode(map[string]int{"ok": ok, "dropped": dropped}))
	}
	all.Wait()
	os.Exit(0)
}

// TestFleet restarts the broker of 2,000 taps. The taps must spread their reconnections over a minute.
func TestFleet(t *testing.T) {
	skipUnlessFull(t)
	kafkatest.Require(t)
	p := pod(t)
	b := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress, "HEAP=512m", "PROPERTIES=max.connections.per.ip=20000"}, nil)
	b.Create("fleet.findings", "fleet.posture", "fleet.flows")
	const clients = 2000
	text, err := json.Marshal(fleet{clients, b.Plain, "fleet", time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	cmd := podCommand(p, "MESHTLS_FLEET="+string(text), os.Args[0])
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var mu sync.Mutex
	last := map[string]int{}
	go func() {
		for in := json.NewDecoder(out); ; {
			now := map[string]int{}
			if in.Decode(&now) != nil {
				return
			}
			mu.Lock()
			last = now
			mu.Unlock()
		}
	}()
	ok := func() int { mu.Lock(); defer mu.Unlock(); return last["ok"] }
	_, port, _ := net.SplitHostPort(b.Plain)
	run(t, "nft", "add table inet count; add chain inet count out { type filter hook output priority 0; }; add rule inet count out oifname host0 tcp sport "+port+" tcp flags & (syn|ack) == (syn|ack) counter")
	t.Cleanup(func() { exec.Command("nft", "delete", "table", "inet", "count").Run() })
	spread := func(what string) {
		t.Helper()
		counts := accepts(t, eventually.Limit, func() bool { return ok() == clients })
		t.Logf("%s: %s", what, describe(counts))
		if ok() != clients {
			t.Errorf("%d of %d taps are connected", ok(), clients)
		}
		if took := len(counts) - quietSeconds; took > 90 { // the taps spread their connections over a minute; half a minute more is allowed
			t.Errorf("they took %d s", took)
		}
	}
	spread("2000 taps start at once")
	cpu := cpuTime(t, b.PID)
	idle := time.Now()
	time.Sleep(10 * time.Second)
	t.Logf("2000 taps at 0.1 records/s each: the broker takes %.0f%% of a core", 100*(cpuTime(t, b.PID)-cpu)/time.Since(idle).Seconds())
	b.Stop()
	time.Sleep(20 * time.Second)
	b.Start()
	spread("after a broker restart of 20 s and more")
	mu.Lock()
	defer mu.Unlock()
	if last["dropped"] != 0 {
		t.Errorf("%d records dropped", last["dropped"])
	}
}

// quietSeconds is the time without a new connection after which accepts stops counting.
const quietSeconds = 15

// accepts counts the connections that the broker accepts in each second. It ends when no connection has arrived for
// quietSeconds and well returns true, or after limit.
func accepts(t *testing.T, limit time.Duration, well func() bool) (counts []int) {
	t.Helper()
	count := func() int {
		m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(run(t, "nft", "list", "chain", "inet", "count", "out"))
		n, _ := strconv.Atoi(m[1])
		return n
	}
	before, quiet := count(), 0
	for end := time.Now().Add(limit); time.Now().Before(end) && (quiet < quietSeconds || !well()); {
		time.Sleep(time.Second)
		now := count()
		counts = append(counts, now-before)
		quiet++
		if now != before {
			quiet = 0
		}
		before = now
	}
	return counts
}

// describe summarizes how connections were spread over time. counts has the number of connections in each second.
func describe(counts []int) string {
	total, most, half, nearly := 0, 0, 0, 0
	for _, n := range counts {
		total += n
		most = max(most, n)
	}
	seen := 0
	for i, n := range counts {
		seen += n
		if seen <= total/2 {
			half = i + 1
		}
		if seen <= total*95/100 {
			nearly = i + 1
		}
	}
	return fmt.Sprintf("%d connections, at most %d in one second, half of them after %d s, 95%% after %d s; by second %v", total, most, half, nearly, counts)
}

// cpuTime returns the CPU time that a process has used, in seconds (proc_pid_stat(5), utime and stime in ticks of 10 ms).
func cpuTime(t *testing.T, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return float64(user+system) / 100
}

// TestIdle counts the requests of a tap without records. It also compares the tap's memory with few topics on the
// broker and with 5,000 more.
func TestIdle(t *testing.T) {
	skipUnlessFull(t)
	kafkatest.Require(t)
	p := pod(t)
	way := newProxy(t)
	b := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress, "ADVERTISE=" + way.address(), "HEAP=768m", "PROPERTIES=log.index.size.max.bytes=65536"}, nil)
	way.to(b.Plain)
	b.Create("idle.findings", "idle.posture", "idle.flows")
	memory := func() int {
		d := startDriver(t, p, order{Name: "idle", Brokers: []string{way.address()}, Topics: "idle", Rate: 20, Size: size})
		eventually.True(t, "it delivers", func() bool { r, _ := d.now(); return r.Status.OK && sum(r.Status.Delivered) > 200 }, d.state, b.Log)
		r := d.end()
		return max(r.RSS, d.maxRSS)
	}
	few := memory()
	for n := 0; n < 5000; n += 250 {
		b.Admin(func(ctx context.Context, c *kafka.Client) error {
			r := &kafka.CreateTopicsRequest{}
			for i := range 250 {
				r.Topics = append(r.Topics, kafka.TopicConfig{Topic: fmt.Sprint("other-", n+i), NumPartitions: 1, ReplicationFactor: 1})
			}
			_, err := c.CreateTopics(ctx, r)
			return err
		})
	}
	many := memory()
	k, err := sink.NewKafka(sink.KafkaConfig{
		Brokers: []string{way.address()}, FindingsTopic: "idle.findings", PostureTopic: "idle.posture", FlowsTopic: "idle.flows", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close(t.Context())
	eventually.True(t, "connected", func() bool { return k.Status().OK }, k.Status, b.Log)
	requests := func() (n int) {
		way.mu.Lock()
		defer way.mu.Unlock()
		for _, x := range way.requests {
			n += x
		}
		return n
	}
	const watched = 5 * time.Minute
	before := requests()
	time.Sleep(watched)
	asked := requests() - before
	way.mu.Lock()
	defer way.mu.Unlock()
	t.Logf("idle for %v: %d requests, %.4f/s; for the metadata of all topics in all: %d; RSS %d kB, with 5,000 topics on the broker %d kB; by API key %v",
		watched, asked, float64(asked)/watched.Seconds(), way.all, few, many, way.requests)
	if way.all != 0 || float64(asked)/watched.Seconds() > 0.05 || way.requests[metadataKey] == 0 {
		t.Errorf("%d requests, %d for all topics", asked, way.all)
	}
	if many-few > 4<<10 {
		t.Errorf("5,000 topics cost %d kB", many-few)
	}
}
