package sink

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// Kafka sends records to topics, for as long as it takes: acknowledged by all in-sync
// replicas, in batches, from one goroutine. It begins to connect when it is made and
// needs no broker for that. A topic that cannot be written to does not hold up the others.
// No attempt is cut short but by Close: a request given up may have been delivered, and
// repeating it makes duplicates.
type Kafka struct {
	*client
	queue                    backlog
	writer                   *kafka.Writer
	lanes                    []*lane
	batchRecords, batchBytes int // of one batch at most

	cluster health // of what concerns all topics; its times belong to run
	files   string // the state of the secrets before the attempt that failed last, which they may be to blame for
	tried   string // the same before the attempt that goes on

	closing chan struct{} // closed when Close begins
	once    sync.Once
	done    chan struct{} // closed when run ended

	mu      sync.Mutex
	ok      bool
	down    bool
	reason  string
	class   string
	since   time.Time
	retries uint64
	quota   quota
}

// NewKafka checks cfg and starts the sink; Close ends it. An error is one line that names
// the setting. What lies outside (broker, names, files) is no error here: Status tells.
func NewKafka(cfg KafkaConfig) (*Kafka, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	k := &Kafka{
		queue:   backlog{Queue: NewQueue(cfg.QueueRecords, cfg.QueueBytes)},
		closing: make(chan struct{}), done: make(chan struct{}), since: time.Now(),
	}
	k.batchRecords, k.batchBytes = k.queue.batch(cfg.BatchSize, partitionsAtOnce*cfg.BatchBytes)
	k.lanes = lanesOf(&cfg, k.batchRecords)
	k.client = newClient(cfg, cfg.topics())
	k.reason = k.say("connecting")
	k.writer = k.newWriter()
	k.cluster.notBefore = time.Now().Add(k.startDelay())
	if k.openly() {
		cfg.Log.Warn("the Kafka password or token goes over the wire in clear", "see", cfg.name(SettingTLS))
	}
	if cfg.Spool != nil {
		k.queue.spool = newSpool(*cfg.Spool, k.queue.Queue, cfg.name(SettingSpoolDir), cfg.Log)
	}
	go k.run()
	return k, nil
}

// partitionsAtOnce is for how many partitions a batch may hold a full request.
const partitionsAtOnce = 4

func (k *Kafka) newWriter() *kafka.Writer {
	compression, _ := codec(k.cfg.Compression)
	return &kafka.Writer{
		Addr:         kafka.TCP(k.cfg.Brokers...),
		Transport:    &throttling{k.transport, k.throttle},
		Balancer:     kafka.Murmur2Balancer{}, // as Java's: other clients find the same partition
		RequiredAcks: kafka.RequireAll,
		Compression:  compression,
		BatchSize:    k.cfg.BatchSize,
		BatchBytes:   int64(k.cfg.BatchBytes),
		BatchTimeout: time.Millisecond, // batches come whole
		MaxAttempts:  1,                // attempt repeats, and asks anew who leads the partition
		ReadTimeout:  k.cfg.IOTimeout,
		WriteTimeout: k.cfg.IOTimeout,
	}
}

// Put queues m to be sent; see Queue.Put. With a spool it waits until m is on the disk, a
// tenth of the time and 50 ms at once at most; never for a broker.
func (k *Kafka) Put(m Message) bool { return k.queue.Put(m) }

// Status returns how delivery stands. It waits for no file and no broker.
func (k *Kafka) Status() Status {
	k.mu.Lock()
	s := Status{OK: k.ok, Down: k.down, Reason: k.reason, Fault: k.class, Since: k.since, Retries: k.retries, Throttled: k.quota.total}
	k.mu.Unlock()
	k.queue.fill(&s)
	return s
}

// Close refuses further records and sends what is queued until ctx is done, then closes
// all connections, moves what is left to the spool if there is one, and lets go of that.
// It returns how many records were left in memory alone (the broker may have those of an
// unanswered request) and, if any, ctx's error; Status tells how many are spooled.
func (k *Kafka) Close(ctx context.Context) (left int, err error) {
	k.queue.close()
	first := false
	k.once.Do(func() { first = true; close(k.closing) })
	select {
	case <-k.done:
	case <-ctx.Done():
		k.end()
		k.dialer.closeAll()
		<-k.done
	}
	if s := k.queue.spool; s != nil && first {
		s.close()
	}
	if left, _ = k.queue.Queue.Len(); left > 0 {
		err = context.Cause(ctx)
	}
	return left, err
}

// run sends until it is told to end, and leaves nothing of its own behind.
func (k *Kafka) run() {
	defer close(k.done)
	closing := k.closing
	for !k.finished() {
		wait := k.patience()
		for _, l := range k.lanes {
			d := k.due(l)
			if d <= 0 {
				k.attempt(l)
			}
			wait = min(wait, d)
		}
		if wait <= 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-k.queue.woken():
		case <-k.life.Done():
		case <-closing:
			closing = nil
			k.hurry()
		}
		timer.Stop()
		k.noticeFiles()
	}
	k.close()
	k.writer.Close()
}

func (k *Kafka) isClosing() bool {
	select {
	case <-k.closing:
		return true
	default:
		return false
	}
}

func (k *Kafka) finished() bool {
	if k.life.Err() != nil {
		return true
	}
	return k.isClosing() && k.queue.total() == 0
}

// hurry makes every lane try at once: there is little time left.
func (k *Kafka) hurry() {
	k.cluster.notBefore, k.cluster.urgent = time.Time{}, time.Time{}
	for _, l := range k.lanes {
		l.notBefore = time.Time{}
	}
}

// due returns how long the lane has still to wait; zero or less means now.
func (k *Kafka) due(l *lane) time.Duration {
	n, since := k.queue.waiting(l.kinds)
	closing := k.isClosing()
	ready := time.Time{}
	switch {
	case n == 0 && (closing || !l.used || l.ok && k.cluster.ok):
		return time.Hour
	case n > 0 && n < l.limit && !closing:
		ready = since.Add(k.cfg.BatchTimeout)
	}
	cluster := k.cluster.notBefore
	if n > 0 && l.kinds.has(finding) {
		cluster = k.cluster.urgent
	}
	for _, t := range []time.Time{l.notBefore, cluster, k.throttledUntil()} {
		if t.After(ready) {
			ready = t
		}
	}
	return time.Until(ready)
}

// conclude notes how an attempt ended and when the next may begin.
func (k *Kafka) conclude(l *lane, err error) {
	if k.life.Err() != nil {
		return // cut short by Close: says nothing about the broker
	}
	if err == nil {
		k.cluster.succeed()
		l.succeed()
		k.publish(0)
		return
	}
	// What the transport knows may be out of date: leaders, brokers, a failed look-up.
	k.transport.CloseIdleConnections()
	f := k.diagnose(err, l.topic)
	if f.topic {
		k.cluster.succeed() // the cluster answered
		l.fail(f, k.backoff(f, l.failures))
	} else {
		k.files = k.tried // of a secret that changed during the attempt it is not known which one was used
		wait := k.backoff(f, k.cluster.failures)
		k.cluster.fail(f, wait)
		k.cluster.notBefore = k.slot(f, k.cluster.urgent)
	}
	k.publish(1)
}

// publish makes Status of what is known of the cluster and the lanes.
func (k *Kafka) publish(retries uint64) {
	var reasons []string
	ok, class := k.cluster.ok, k.cluster.class
	if k.cluster.reason != "" {
		reasons = append(reasons, k.cluster.reason)
	}
	for _, l := range k.lanes {
		ok = ok && (l.ok || !l.used)
		if l.reason != "" && k.cluster.ok {
			reasons = append(reasons, l.reason)
			class = cmp.Or(class, l.class)
		}
	}
	k.mu.Lock()
	if slow := k.slowed(); slow != "" && k.cluster.ok {
		reasons = append(reasons, slow)
		class = cmp.Or(class, FaultQuota)
	}
	reason := strings.Join(reasons, "; ")
	if reason == "" && !ok {
		reason = k.reason // until it is known
	}
	k.retries += retries
	changed := ok != k.ok || reason != k.reason
	if changed {
		k.ok, k.reason, k.class, k.since = ok, reason, class, time.Now()
	}
	k.down = !k.cluster.ok && k.cluster.reason != ""
	k.mu.Unlock()
	switch {
	case changed && ok && reason == "":
		k.cfg.Log.Info("records are delivered", "brokers", k.cfg.Brokers)
	case changed && ok:
		k.cfg.Log.Warn("records are delivered slowly", "reason", reason)
	case changed:
		k.cfg.Log.Warn("records are not delivered", "reason", reason)
	}
}
