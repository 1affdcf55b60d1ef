package kafka_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// scenarios runs scenarios with the same broker.
type scenarios struct {
	t      *testing.T
	pod    int
	broker *kafkatest.Broker
}

func newScenarios(t *testing.T, env ...string) *scenarios {
	t.Helper()
	kafkatest.Require(t)
	p := pod(t)
	return &scenarios{t, p, kafkatest.Start(t, "plain", append(env, "ADDRESS="+hostAddress), nil)}
}

// run runs one scenario. If the scenario proves nothing, run repeats it, up to three times in all. A scenario that is
// not short runs only with MESHTLS_KAFKA=full.
func (s *scenarios) run(name string, short bool, may expected, f func(w *world)) {
	s.t.Run(name, func(t *testing.T) {
		if !short {
			skipUnlessFull(t)
		}
		const attempts = 3
		for n := 1; ; n++ {
			w := newWorld(t, fmt.Sprintf("%s.%d", name, n), s.broker, s.pod)
			f(w)
			w.waitDelivered()
			void := w.account(may)
			if void == "" {
				return
			}
			if t.Logf("attempt %d of %d shows nothing: %s", n, attempts, void); n == attempts || full() {
				t.Error(void)
				return
			}
		}
	})
}

// TestFaults inflicts one fault after the other on a broker while drivers and a tap deliver to it.
func TestFaults(t *testing.T) {
	s := newScenarios(t)
	b := s.broker
	s.run("nothing", true, expected{}, func(w *world) { w.pollFor(3 * time.Second) })
	s.run("restart", true, expected{}, func(w *world) {
		b.Stop()
		w.pollFor(3 * time.Second)
		b.Start()
	})
	s.run("killed", false, expected{duplicates: true}, func(w *world) {
		b.Kill()
		w.pollFor(3 * time.Second)
		b.Start()
	})
	s.run("killed-with-tap", true, expected{duplicates: true, unsent: 5}, func(w *world) {
		b.Kill()
		w.pollFor(3 * time.Second)
		w.killSpooler()
		w.pollFor(3 * time.Second)
		b.Start()
	})
	for _, seconds := range []time.Duration{5, 30, 120} {
		d := seconds * time.Second
		s.run("frozen-"+d.String(), seconds == 5, expected{duplicates: seconds > 5, dropped: seconds > 30}, func(w *world) {
			b.Freeze()
			w.pollFor(d)
			b.Thaw()
		})
	}
	for name, rule := range map[string]string{
		"cut-to":   "add rule inet cut in iifname host0 tcp dport %s drop",
		"cut-from": "add rule inet cut out oifname host0 tcp sport %s drop",
		"cut-both": "add rule inet cut in iifname host0 tcp dport %[1]s drop; add rule inet cut out oifname host0 tcp sport %[1]s drop",
	} {
		s.run(name, name == "cut-both", expected{duplicates: true}, func(w *world) {
			disconnect(w.t, b, rule)
			w.pollFor(12 * time.Second)
			reconnect(w.t)
		})
	}
	s.run("cut-40s", false, expected{duplicates: true}, func(w *world) {
		disconnect(w.t, b, "add rule inet cut in iifname host0 tcp dport %s drop")
		w.pollFor(40 * time.Second)
		reconnect(w.t)
	})
	s.run("topic-deleted", false, expected{}, func(w *world) {
		var topics []string
		for _, d := range w.drivers {
			topics = append(topics, d.Topics+".findings", d.Topics+".posture")
		}
		w.recreateTopics(topics)
	})
}

// disconnect drops packets between the pod and the broker.
func disconnect(t *testing.T, b *kafkatest.Broker, rule string) {
	t.Helper()
	t.Cleanup(func() { exec.Command("nft", "delete", "table", "inet", "cut").Run() }) // reconnects the pod if the test fails before it has done so
	_, port, _ := net.SplitHostPort(b.Plain)
	run(t, "nft", "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add chain inet cut out { type filter hook output priority 0; }; "+fmt.Sprintf(rule, port))
}

func reconnect(t *testing.T) { t.Helper(); run(t, "nft", "delete table inet cut") }

// recreateTopics deletes topics and creates them again later. Before that it reads their records, which count as
// arrived.
func (w *world) recreateTopics(topics []string) {
	w.t.Helper()
	for _, d := range w.drivers {
		d.pause()
	}
	for _, d := range w.drivers {
		before, changed := -1, time.Now()
		eventually.True(w.t, d.Name+" has sent all", func() bool {
			r, put := d.now()
			if r.Put != before || r.Put != put {
				before, changed = r.Put, time.Now()
			}
			return time.Since(changed) > time.Second && r.Status.Queued == 0 // ten reports were printed since the change
		}, w.state)
	}
	w.before = w.broker.Read(topics...)
	w.broker.Delete(topics...)
	for _, d := range w.drivers {
		d.pause()
	}
	w.waitNoticed()
	w.pollFor(3 * time.Second)
	w.broker.Create(topics...)
}

// TestDownAtStart starts drivers and tap before the broker.
func TestDownAtStart(t *testing.T) {
	skipUnlessFull(t)
	s := newScenarios(t)
	w := &world{t: t, broker: s.broker, pod: s.pod}
	w.create("down")
	s.broker.Stop()
	w.launch("down")
	w.pollFor(3 * time.Minute)
	for _, d := range w.drivers {
		if r, _ := d.now(); !r.Status.Down || !strings.Contains(r.Status.Reason, "connection refused: see TAP_KAFKA_BROKERS") {
			t.Errorf("%s: %+v", d.Name, r.Status)
		}
	}
	if text := w.tap.get("/readyz"); !strings.Contains(text, "connection refused: see TAP_KAFKA_BROKERS") {
		t.Errorf("/readyz: %q", text)
	}
	s.broker.Start()
	w.waitDelivered()
	w.conclude(expected{dropped: true}) // 36,000 records are put, but the queue has room for 10,000
}

// TestAway stops the broker for ten minutes while 200 records/s are put. Meanwhile the driver with a spool is killed.
func TestAway(t *testing.T) {
	skipUnlessFull(t)
	s := newScenarios(t)
	w := newWorld(t, "away", s.broker, s.pod)
	s.broker.Kill()
	w.pollFor(5 * time.Minute)
	w.killSpooler()
	w.pollFor(5 * time.Minute)
	s.broker.Start()
	w.waitDelivered()
	w.conclude(expected{duplicates: true, dropped: true})
}

// TestSlow limits the bandwidth to the broker.
func TestSlow(t *testing.T) {
	skipUnlessFull(t)
	kafkatest.Require(t)
	p := pod(t)
	slow := newProxy(t)
	b := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress, "ADVERTISE=" + slow.address()}, nil)
	slow.to(b.Plain)
	direct := b.Plain
	b.Plain = slow.address()
	w := newWorld(t, "slow", b, p)
	slow.rate.Store(600)
	w.pollFor(40 * time.Second)
	waiting, _ := w.drivers[0].now()
	t.Logf("at 600 bytes/s: %d records wait", waiting.Status.Queued)
	slow.rate.Store(0)
	w.waitDelivered()
	b.Plain = direct
	w.conclude(expected{duplicates: true, dropped: true})
}

// TestDiskFull fills the broker's disk, so that the broker ends. Then it frees the disk again.
func TestDiskFull(t *testing.T) {
	skipUnlessFull(t)
	kafkatest.Require(t)
	p := pod(t)
	b := kafkatest.New(t, "plain", []string{"ADDRESS=" + hostAddress, "PROPERTIES=log.index.size.max.bytes=1048576"}, nil)
	data := filepath.Join(b.Dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=200m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { b.Kill(); syscall.Unmount(data, syscall.MNT_DETACH) })
	b.Start()
	w := newWorld(t, "full", b, p)
	f, err := os.Create(filepath.Join(data, "filler"))
	for err == nil {
		_, err = f.Write(make([]byte, 1<<16))
	}
	f.Close()
	w.waitNoticed()
	w.pollFor(10 * time.Second)
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	b.Start()
	w.waitDelivered()
	w.conclude(expected{duplicates: true})
}

// TestThreeBrokers kills the leader of some partitions. Then it restarts each broker in turn, as an upgrade does.
func TestThreeBrokers(t *testing.T) {
	skipUnlessFull(t)
	kafkatest.Require(t)
	p := pod(t)
	one := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress}, nil)
	two := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress, "JOIN=" + one.Dir, "NODE=2"}, nil)
	three := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress, "JOIN=" + one.Dir, "NODE=3"}, nil)
	w := &world{t: t, broker: one, pod: p, replicas: 3, brokers: []string{one.Plain, two.Plain, three.Plain}}
	w.create("three")
	w.launch("three")
	w.waitDelivered()
	two.Kill()
	w.pollFor(10 * time.Second)
	w.waitDelivered() // two brokers are running
	two.Start()
	w.inSync(two, three, one)
	three.Freeze()
	w.pollFor(10 * time.Second)
	w.waitDelivered()
	three.Thaw()
	w.inSync(two, three, one)
	for _, b := range []*kafkatest.Broker{two, three} {
		b.Stop()
		w.pollFor(5 * time.Second)
		b.Start()
		w.inSync(two, three, one)
	}
	w.waitDelivered()
	w.conclude(expected{duplicates: true})
}

// inSync waits until all replicas of each partition are in sync again.
func (w *world) inSync(brokers ...*kafkatest.Broker) {
	w.t.Helper()
	eventually.True(w.t, "all replicas are in sync", func() bool {
		behind := 0
		w.broker.Admin(func(ctx context.Context, c *kafka.Client) error {
			m, err := c.Metadata(ctx, &kafka.MetadataRequest{})
			if err != nil {
				behind++
				return nil //nolint:nilerr // the request is repeated
			}
			for _, topic := range m.Topics {
				for _, p := range topic.Partitions {
					if len(p.Isr) < len(brokers) {
						behind++
					}
				}
			}
			return nil
		})
		return behind == 0
	}, w.state)
}

// TestChance inflicts random faults. It prints its seed; MESHTLS_SEED sets the seed.
func TestChance(t *testing.T) {
	skipUnlessFull(t)
	s := newScenarios(t)
	seeds := []uint64{1, 2, 3, 4}
	if text := os.Getenv("MESHTLS_SEED"); text != "" {
		seeds = seeds[:1]
		fmt.Sscan(text, &seeds[0])
	}
	const steps = 12
	for _, seed := range seeds {
		s.run(fmt.Sprint("seed-", seed), true, expected{duplicates: true, dropped: true, unsent: 5 * steps}, func(w *world) {
			w.chance(rand.New(rand.NewPCG(seed, 9)), steps)
		})
	}
}

// chance inflicts steps random faults, one after the other.
func (w *world) chance(r *rand.Rand, steps int) {
	b, up := w.broker, true
	var done []string
	pause := func() { w.pollFor(time.Duration(r.IntN(4000)) * time.Millisecond) }
	for range steps {
		what := []string{"kill", "stop", "freeze", "cut", "kill the spooler"}[r.IntN(5)]
		done = append(done, what)
		switch {
		case what == "kill the spooler":
			w.killSpooler()
		case !up:
			b.Start()
			up = true
		case what == "kill":
			b.Kill()
			up = false
		case what == "stop":
			b.Stop()
			up = false
		case what == "freeze":
			b.Freeze()
			pause()
			b.Thaw()
		case what == "cut":
			disconnect(w.t, b, "add rule inet cut in iifname host0 tcp dport %s drop")
			pause()
			reconnect(w.t)
		}
		pause()
	}
	if !up {
		b.Start()
	}
	w.t.Log(strings.Join(done, ", "))
}

// TestSlowWay: if the network is so slow that a full batch would exceed IOTimeout, smaller batches are delivered.
func TestSlowWay(t *testing.T) {
	skipUnlessFull(t)
	kafkatest.Require(t)
	pod(t) // the new pod's interface has hostAddress
	slow := newProxy(t)
	b := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress, "ADVERTISE=" + slow.address()}, nil)
	slow.to(b.Plain)
	b.Create("way")
	cfg := sink.KafkaConfig{
		Brokers: []string{slow.address()}, FindingsTopic: "way", PostureTopic: "way", FlowsTopic: "way",
		Compression: "none", IOTimeout: 2 * time.Second, MaxBackoff: time.Second,
	}
	k, err := sink.NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close(t.Context())
	eventually.True(t, "connected", func() bool { return k.Status().OK }, k.Status, b.Log)
	slow.rate.Store(50_000)
	records := payloads(2000) // 2 MB
	for i := range records {
		k.Put(records[i])
	}
	begun := time.Now()
	eventually.True(t, "all is delivered", func() bool { return k.Status().Queued == 0 }, k.Status, b.Log)
	s := k.Status()
	slow.rate.Store(0)
	ids, duplicates := kafkatest.Distinct(b.Read("way"))
	t.Logf("2 MB at 50 kB/s, answers within 2 s: put %d, arrived %d, duplicates %d, retries %d, in %v", len(records), len(ids), duplicates, s.Retries, time.Since(begun).Round(time.Second))
	if len(ids) != len(records) {
		t.Errorf("%+v", s)
	}
}
