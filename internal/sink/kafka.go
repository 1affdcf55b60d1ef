package sink

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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
	cfg                      KafkaConfig
	queue                    *Queue
	dialer                   *dialer
	transport                *kafka.Transport
	writer                   *kafka.Writer
	lanes                    []*lane
	batchRecords, batchBytes int // of one batch at most

	cluster health // of what concerns all topics; its times belong to run

	life    context.Context // ends when Close runs out of time or the queue is empty
	end     context.CancelFunc
	closing chan struct{} // closed when Close begins
	once    sync.Once
	done    chan struct{} // closed when run ended

	mu      sync.Mutex
	ok      bool
	reason  string
	since   time.Time
	retries uint64
}

// NewKafka checks cfg and starts the sink; Close ends it. An error is one line that names
// the setting. What lies outside (broker, names, files) is no error here: Status tells.
func NewKafka(cfg KafkaConfig) (*Kafka, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	k := &Kafka{
		cfg: cfg, queue: NewQueue(cfg.QueueRecords, cfg.QueueBytes),
		closing: make(chan struct{}), done: make(chan struct{}), since: time.Now(),
	}
	k.batchRecords, k.batchBytes = k.queue.batch(cfg.BatchSize, cfg.BatchBytes)
	k.lanes = lanesOf(&cfg, k.batchRecords)
	k.reason = k.say("connecting")
	k.life, k.end = context.WithCancel(context.Background())
	k.dialer = &dialer{sockets: cfg.Sockets, tls: cfg.TLS, limit: cfg.IOTimeout, life: k.life}
	k.transport = k.newTransport()
	k.writer = k.newWriter()
	if cfg.SASL != nil && cfg.TLS == nil && strings.EqualFold(cfg.SASL.Mechanism, "plain") {
		cfg.Log.Warn("the Kafka password goes over the wire in clear", "see", cfg.name(SettingTLS))
	}
	go k.run()
	return k, nil
}

func (k *Kafka) newTransport() *kafka.Transport {
	t := &kafka.Transport{
		Dial:        k.dialer.dial,
		DialTimeout: 20 * time.Second, // TCP, TLS and versions
		IdleTimeout: 9 * time.Minute,  // longer than a heartbeat, shorter than a broker's 10 min
		MetadataTTL: 5 * time.Minute,
		ClientID:    k.cfg.ClientID,
		Context:     k.life,
	}
	for _, l := range k.lanes {
		t.MetadataTopics = append(t.MetadataTopics, l.topic)
	}
	if k.cfg.SASL != nil {
		t.SASL = &login{*k.cfg.SASL}
	}
	return t
}

func (k *Kafka) newWriter() *kafka.Writer {
	compression, _ := codec(k.cfg.Compression)
	return &kafka.Writer{
		Addr:         kafka.TCP(k.cfg.Brokers...),
		Transport:    k.transport,
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

// Put queues m to be sent; see Queue.Put.
func (k *Kafka) Put(m Message) bool { return k.queue.Put(m) }

// Status returns how delivery stands.
func (k *Kafka) Status() Status {
	k.mu.Lock()
	s := Status{OK: k.ok, Reason: k.reason, Since: k.since, Retries: k.retries}
	k.mu.Unlock()
	k.queue.fill(&s)
	return s
}

// Close refuses further records and sends what is queued until ctx is done, then closes
// all connections. It returns how many records were left (the broker may have those of
// an unanswered request) and, if any, ctx's error.
func (k *Kafka) Close(ctx context.Context) (left int, err error) {
	k.queue.close()
	k.once.Do(func() { close(k.closing) })
	select {
	case <-k.done:
	case <-ctx.Done():
		k.end()
		k.dialer.closeAll()
		<-k.done
	}
	if left, _ = k.queue.Len(); left > 0 {
		err = context.Cause(ctx)
	}
	return left, err
}

// run sends until it is told to end, and leaves nothing of its own behind.
func (k *Kafka) run() {
	defer close(k.done)
	closing := k.closing
	for !k.finished() {
		wait := time.Hour
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
		case <-k.queue.wake:
		case <-k.life.Done():
		case <-closing:
			closing = nil
			k.hurry()
		}
		timer.Stop()
	}
	k.end()
	k.transport.CloseIdleConnections()
	k.dialer.closeAll()
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
	n, _ := k.queue.Len()
	return n == 0 && k.isClosing()
}

// hurry makes every lane try at once: there is little time left.
func (k *Kafka) hurry() {
	k.cluster.notBefore = time.Time{}
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
	for _, t := range []time.Time{l.notBefore, k.cluster.notBefore} {
		if t.After(ready) {
			ready = t
		}
	}
	return time.Until(ready)
}

// attempt sends one batch of the lane, or, when none waits, asks whether it could.
func (k *Kafka) attempt(l *lane) {
	items := k.queue.take(l.kinds, l.limit, k.batchBytes)
	if len(items) == 0 {
		k.conclude(l, k.probe(l))
		return
	}
	l.used = true
	failed, err := k.write(l, items)
	if err == nil {
		l.limit = min(l.limit*2, k.batchRecords)
		k.conclude(l, nil)
		return
	}
	if large, ok := errors.AsType[kafka.MessageTooLargeError](err); ok {
		k.oversize(l, failed, large)
		return
	}
	if reason, ok := perRecord(err); ok {
		k.narrow(l, failed, reason, err)
		return
	}
	k.queue.giveBack(failed)
	k.conclude(l, err)
}

// write sends items, settles those that were acknowledged and returns the others with
// the first error.
func (k *Kafka) write(l *lane, items []item) (failed []item, err error) {
	err = k.writer.WriteMessages(k.life, k.messages(l.topic, items)...)
	if err == nil {
		k.queue.settle(items)
		return nil, nil
	}
	if each, ok := errors.AsType[kafka.WriteErrors](err); ok {
		return k.sort(items, each)
	}
	return items, err
}

// oversize drops the record that made the writer refuse items before it sent anything.
func (k *Kafka) oversize(l *lane, items []item, large kafka.MessageTooLargeError) {
	if i := slices.IndexFunc(items, func(it item) bool { return it.seq == large.Message.WriterData }); i >= 0 {
		k.lose(l, items[i:i+1], DropTooLarge, large)
		items = slices.Delete(items, i, i+1)
	}
	k.queue.giveBack(items)
}

// sort settles the items that have no error and returns the others with the first one.
func (k *Kafka) sort(items []item, errs []error) (failed []item, first error) {
	var sent []item
	for i := range items {
		if errs[i] == nil {
			sent = append(sent, items[i])
			continue
		}
		failed = append(failed, items[i])
		first = cmp.Or(first, errs[i])
	}
	k.queue.settle(sent)
	return failed, first
}

func (k *Kafka) messages(topic string, items []item) []kafka.Message {
	out := make([]kafka.Message, len(items))
	for i := range items {
		it := &items[i]
		out[i] = kafka.Message{
			Topic: topic, Value: it.Value, Time: it.Time, WriterData: it.seq,
			Headers: []kafka.Header{
				{Key: "schema", Value: []byte(k.cfg.Schema)},
				{Key: "content-type", Value: []byte("application/json")},
				{Key: "event-id", Value: []byte(it.ID)},
			},
		}
		if it.Key != "" {
			out[i].Key = []byte(it.Key)
		}
	}
	return out
}

// narrow deals with a batch that was refused for what it holds: smaller batches find the
// record that is to blame, and that one is dropped.
func (k *Kafka) narrow(l *lane, failed []item, reason string, err error) {
	if len(failed) == 1 {
		k.lose(l, failed, reason, err)
		return
	}
	k.queue.giveBack(failed)
	l.limit = max(1, len(failed)/2)
}

func (k *Kafka) lose(l *lane, items []item, reason string, err error) {
	k.queue.lose(items, reason)
	for i := range items {
		k.cfg.Log.Warn("record dropped", "topic", l.topic, "dataset", items[i].Dataset, "event_id", items[i].ID,
			"bytes", len(items[i].Value), "reason", reason, "error", err)
	}
}

// probe asks for the lane's topic without writing.
func (k *Kafka) probe(l *lane) error {
	c := kafka.Client{Addr: k.writer.Addr, Transport: k.transport}
	r, err := c.Metadata(k.life, &kafka.MetadataRequest{Topics: []string{l.topic}})
	if err != nil {
		return err
	}
	for _, t := range r.Topics {
		if t.Name == l.topic {
			return t.Error
		}
	}
	return kafka.UnknownTopicOrPartition
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
	h := &k.cluster
	if f.topic {
		k.cluster.succeed() // the cluster answered
		h = &l.health
	}
	h.fail(f, k.backoff(f, h.failures))
	k.publish(1)
}

// quick is how often a topic's fault is met with a fast retry before a slow one: a topic
// that was just created is not known to each broker at once.
const quick = 2

// backoff returns how long to wait after the failure with that number, from 0 on.
func (k *Kafka) backoff(f fault, failures int) time.Duration {
	d := k.cfg.SlowBackoff
	if !f.slow || f.topic && failures < quick {
		d = min(k.cfg.MinBackoff<<min(failures, 20), k.cfg.MaxBackoff)
	}
	if k.isClosing() {
		d = min(d, 500*time.Millisecond)
	}
	return d/2 + rand.N(d)
}

// publish makes Status of what is known of the cluster and the lanes.
func (k *Kafka) publish(retries uint64) {
	var reasons []string
	ok := k.cluster.ok
	if k.cluster.reason != "" {
		reasons = append(reasons, k.cluster.reason)
	}
	for _, l := range k.lanes {
		ok = ok && (l.ok || !l.used)
		if l.reason != "" && k.cluster.ok {
			reasons = append(reasons, l.reason)
		}
	}
	reason := strings.Join(reasons, "; ")
	k.mu.Lock()
	k.retries += retries
	changed := ok != k.ok || reason != k.reason && reason != ""
	if changed {
		k.ok, k.reason, k.since = ok, reason, time.Now()
	}
	k.mu.Unlock()
	switch {
	case changed && ok:
		k.cfg.Log.Info("records are delivered", "brokers", k.cfg.Brokers)
	case changed:
		k.cfg.Log.Warn("records are not delivered", "reason", reason)
	}
}
