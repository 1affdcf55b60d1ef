package sink

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
)

// Kafka sends records to topics in batches, from one goroutine. It repeats a batch until all
// in-sync replicas have acknowledged it. It starts to connect as soon as it is created, whether or
// not a broker is up. A topic that cannot be written to does not delay the other topics. Only Close
// interrupts an attempt, because the broker may have stored the records of an abandoned request,
// and a repetition would duplicate them.
type Kafka struct {
	*client
	buffer                   *buffer.Buffer
	writer                   *kafka.Writer
	topics                   []*topic
	batchRecords, batchBytes int // bounds of one batch

	cluster health // health of all topics together; only run uses its times

	// failedSecrets and currentSecrets are states of the secret files, as the method secrets
	// returns them. failedSecrets is the state before the last failed attempt, which these files
	// may have caused. currentSecrets is the state before the current attempt.
	failedSecrets, currentSecrets string

	closing chan struct{} // closed when Close begins
	once    sync.Once
	done    chan struct{} // closed when run has ended

	mu      sync.Mutex
	ok      bool
	down    bool
	reason  string
	class   string
	since   time.Time
	retries uint64
	quota   quota
}

// NewKafka checks cfg and starts the sink; Close ends it. A returned error is one line that names
// the setting. NewKafka returns no error for problems with brokers, host names and files. Status
// reports these problems.
func NewKafka(cfg KafkaConfig) (*Kafka, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	k := &Kafka{
		buffer: buffer.New(buffer.Config{
			Records: cfg.QueueRecords, Bytes: cfg.QueueBytes, Spool: cfg.Spool, Setting: settingSpoolDir, Log: cfg.Log,
		}),
		closing: make(chan struct{}), done: make(chan struct{}), since: time.Now(),
	}

	k.batchRecords, k.batchBytes = k.buffer.BatchLimits(cfg.BatchSize, partitionsAtOnce*cfg.BatchBytes)
	k.topics = topicsOf(&cfg, k.batchRecords)
	k.client = newClient(cfg, cfg.topicNames())
	k.reason = k.reasonf("connecting")
	k.writer = k.newWriter()

	k.cluster.notBefore = time.Now().Add(k.startDelay())
	if k.sendsSecretUnencrypted() {
		cfg.Log.Warn("the Kafka password or token is sent unencrypted", "see", settingTLS)
	}
	go k.run()
	return k, nil
}

// partitionsAtOnce bounds one batch. The batch has at most as many records as this number of full
// requests, each to a different partition.
const partitionsAtOnce = 4

func (k *Kafka) newWriter() *kafka.Writer {
	compression, _ := codec(k.cfg.Compression)
	return &kafka.Writer{
		Addr:         kafka.TCP(k.cfg.Brokers...),
		Transport:    &throttling{k.transport, k.throttle},
		Balancer:     kafka.Murmur2Balancer{}, // as in the Java client, so that both choose the same partition for a key
		RequiredAcks: kafka.RequireAll,
		Compression:  compression,
		BatchSize:    k.cfg.BatchSize,
		BatchBytes:   int64(k.cfg.BatchBytes),
		BatchTimeout: time.Millisecond, // batches are already complete
		MaxAttempts:  1,                // send repeats, after it has looked up the partition's leader again
		ReadTimeout:  k.cfg.IOTimeout,
		WriteTimeout: k.cfg.IOTimeout,
	}
}

// Put buffers m to be sent and reports whether it was accepted. m.Value then belongs to the sink. Put never waits for a
// broker. With a spool it may wait for the disk, but not longer than buffer.Buffer.Put does.
func (k *Kafka) Put(m buffer.Message) bool { return k.buffer.Put(m) }

// Status returns the state of delivery. It does not wait for a file or a broker.
func (k *Kafka) Status() Status {
	k.mu.Lock()
	s := Status{OK: k.ok, Down: k.down, Reason: k.reason, ErrorClass: k.class, Since: k.since, Retries: k.retries, Throttled: k.quota.total}
	k.mu.Unlock()
	s.Stats = k.buffer.Stats()
	return s
}

// Close refuses further records, sends the buffered ones until ctx is done, and closes all
// connections. It then closes the buffer, which moves the remaining records to the spool if there
// is one. It returns how many records are left only in memory, and ctx's error if there are any.
// The broker may have received some of them in an unanswered request. Status reports how many
// records are spooled.
func (k *Kafka) Close(ctx context.Context) (left int, err error) {
	k.buffer.Seal()
	first := false
	k.once.Do(func() { first = true; close(k.closing) })
	select {
	case <-k.done:
	case <-ctx.Done():
		k.end()
		k.dialer.closeAll()
		<-k.done
	}
	if first {
		k.buffer.Close()
	}
	if left = k.buffer.Unspooled(); left > 0 {
		err = context.Cause(ctx)
	}
	return left, err
}

// run sends records until Close ends it, and then closes all connections.
func (k *Kafka) run() {
	defer close(k.done)
	closing := k.closing
	for !k.finished() {
		wait := k.maxWait()
		for _, t := range k.topics {
			d := k.due(t)
			if d <= 0 {
				k.send(t)
			}
			wait = min(wait, d)
		}

		if wait <= 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-k.buffer.Ready():
		case <-k.life.Done():
		case <-closing:
			closing = nil
			k.retryNow()
		}
		timer.Stop()
		k.retryWithNewSecrets()
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
	return k.isClosing() && k.buffer.Stats().Queued == 0
}

// due returns the time until the next attempt to send to t. If the time is zero or less, the
// attempt is due now.
func (k *Kafka) due(t *topic) time.Duration {
	n, since := k.buffer.Waiting(t.datasets)
	closing := k.isClosing()
	ready := time.Time{}
	switch {
	case n == 0 && (closing || !t.used || t.ok && k.cluster.ok):
		return time.Hour
	case n > 0 && n < t.limit && !closing:
		ready = since.Add(k.cfg.BatchTimeout)
	}
	cluster := k.cluster.notBefore
	if n > 0 && t.datasets.Has(buffer.Finding) {
		cluster = k.cluster.urgent
	}
	for _, other := range []time.Time{t.notBefore, cluster, k.throttledUntil()} {
		if other.After(ready) {
			ready = other
		}
	}
	return time.Until(ready)
}

// conclude records the result of an attempt, and when the next attempt may begin.
func (k *Kafka) conclude(t *topic, err error) {
	if k.life.Err() != nil {
		return // Close interrupted the attempt, which shows nothing about the broker
	}
	if err == nil {
		k.cluster.succeed()
		t.succeed()
		k.updateStatus(0)
		return
	}

	// The transport's cached leaders, brokers and addresses may be out of date.
	k.transport.CloseIdleConnections()
	f := k.diagnose(err, t.name)
	if f.oneTopic {
		k.cluster.succeed() // the cluster answered
		t.fail(f, k.backoff(f, t.failures))
	} else {
		k.failedSecrets = k.currentSecrets // the state before the attempt: if a file has changed since, either version may have been used
		wait := k.backoff(f, k.cluster.failures)
		k.cluster.fail(f, wait)
		k.cluster.notBefore = k.retrySlot(f, k.cluster.urgent)
	}
	k.updateStatus(1)
}

// updateStatus derives Status from the health of the cluster and the topics.
func (k *Kafka) updateStatus(retries uint64) {
	var reasons []string
	ok, class := k.cluster.ok, k.cluster.class
	if k.cluster.reason != "" {
		reasons = append(reasons, k.cluster.reason)
	}
	for _, t := range k.topics {
		ok = ok && (t.ok || !t.used)
		if t.reason != "" && k.cluster.ok {
			reasons = append(reasons, t.reason)
			class = cmp.Or(class, t.class)
		}
	}

	k.mu.Lock()
	if slow := k.slowed(); slow != "" && k.cluster.ok {
		reasons = append(reasons, slow)
		class = cmp.Or(class, classQuota)
	}
	reason := strings.Join(reasons, "; ")
	if reason == "" && !ok {
		reason = k.reason // the reason stays until an attempt has a result
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
