package buffer

import (
	"cmp"
	"log/slog"
	"time"
)

// Message is one finished record.
type Message struct {
	Dataset string    // Finding, Posture, Tap, Flow or Evidence; records of other datasets are refused and counted
	ID      string    // event.id; the same each time a record is sent
	Key     string    // records with the same key go to the same partition; may be empty
	Value   []byte    // JSON without a line break, except for Evidence; nobody changes it after Put
	Time    time.Time // Kafka timestamp; brokers refuse records more than an hour in the future
	File    *File     // set for Evidence only
}

// File describes the file that is the value of a Message of the dataset Evidence.
type File struct {
	Name   string
	SHA256 string // in hexadecimal
}

// Item is a buffered record, as Take returns it.
type Item struct {
	Message
	Seq uint64 // increases in order of arrival, also across restarts

	priority priority
	at       time.Time // time of arrival; zero if read from the spool
	disk     *entry    // the record's position in the spool; nil: it is only in memory
}

// Reasons for dropped records: the keys of Stats.Reasons.
const (
	DropTooLarge = "too_large" // larger than the queue, the request or the broker allows
	DropClosed   = "closed"    // Put after Seal, or nobody reads the output any more

	dropQueueFull    = "queue_full"    // the queue was full and the record was among the least important ones
	dropBadDataset   = "bad_dataset"   // Message.Dataset is unknown
	dropSpoolFull    = "spool_full"    // the spool was full and the record was among the least important ones
	dropSpoolDamaged = "spool_damaged" // a file of the spool was damaged; the count is a lower bound
)

// Config bounds a buffer.
type Config struct {
	Records int // maximum number in memory; zero or less: 10,000
	Bytes   int // maximum memory, including a small overhead for each record; zero or less: 16 MiB

	Spool   *SpoolConfig // nil: records are kept only in memory
	Setting string       // name of the setting for the spool, used in reasons
	Log     *slog.Logger // logs each change of the spool's state once; required with Spool
}

// Stats is a snapshot of a buffer. Its maps belong to the caller.
type Stats struct {
	Queued      int // records accepted and neither delivered nor dropped, including those being sent
	QueuedBytes int // memory of the records in memory, overhead included

	Spooled     int    // records of Queued that are on disk and survive the process
	SpoolBytes  int64  // size of the spool's files
	SpoolReason string // why records are not spooled, one line; empty if they are, or if there is no spool
	Recovered   int    // records that an earlier run left in the spool, in addition to those that Put added

	SpoolRemovals uint64 // how often the spool's folder or a file in it was removed while in use

	Delivered map[string]uint64 // acknowledged records, by dataset
	Dropped   map[string]uint64 // dropped records, by dataset
	Reasons   map[string]uint64 // the same records, by reason
}

// Buffer is a queue with or without a spool. Records of one dataset are delivered in order of arrival.
type Buffer struct {
	queue *queue
	spool *spool // nil: no spool
}

// New returns a buffer and starts its spool, if configured. The caller must call Close.
func New(cfg Config) *Buffer {
	b := &Buffer{queue: newQueue(cfg.Records, cfg.Bytes)}
	if cfg.Spool != nil {
		b.spool = newSpool(*cfg.Spool, b.queue, cfg.Setting, cfg.Log)
	}
	return b
}

// Put adds m and reports whether it was accepted. The buffer owns m.Value afterwards, accepted or not. With a spool,
// Put waits until the record is on disk, unless it is evidence. It waits at most a tenth of the time overall, and at most 50 ms in one call
// (see spool.waitWritten).
func (b *Buffer) Put(m Message) bool {
	p, seq, ok := b.queue.put(m)
	if ok && b.spool != nil && spooled.has(p) {
		b.spool.waitWritten(p, seq)
	}
	return ok
}

// Ready returns a channel that receives a value when there may be new records to send. One value can stand for several
// records.
func (b *Buffer) Ready() <-chan struct{} {
	if b.spool == nil {
		return b.queue.ready
	}
	return b.spool.ready
}

// Recheck returns how long a sender may rely on Ready alone. With a spool the sender must check again after that time,
// because Ready does not report records that become ready while the disk hangs. ok is false without a spool.
func (b *Buffer) Recheck() (_ time.Duration, ok bool) { return spoolPatience, b.spool != nil }

// BatchLimits returns how many records and bytes a sender may take at once. The results are at most the given numbers.
// A batch must not be too large, because records that are being sent cannot be evicted for an alert.
func (b *Buffer) BatchLimits(records, bytes int) (int, int) {
	return max(1, min(records, b.queue.maxRecords/4)), max(1, min(bytes, b.queue.maxBytes/4))
}

// Take returns up to n records of the datasets in set, in order of arrival. Their total size is at most bytes. Only a
// single larger record exceeds it, and is returned alone.
func (b *Buffer) Take(set Set, n, bytes int) []Item {
	if b.spool != nil {
		if items := b.spool.take(set, n, bytes); len(items) > 0 {
			return items
		}
		set = b.bypass(set)
	}
	return b.queue.take(set, n, bytes)
}

// bypass returns the datasets in set that are sent from memory in spite of a spool. These are evidence, and datasets for which
// the spool cannot write or is too slow, and has no older records left.
func (b *Buffer) bypass(set Set) (out Set) {
	var oldest [priorities]time.Time
	for p := range priorities {
		if n, since := b.queue.waiting(1 << p); n > 0 {
			oldest[p] = since
		}
	}
	s := b.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range priorities {
		stuck := !spooled.has(p) || s.reason != "" || s.full.has(p) || !oldest[p].IsZero() && time.Since(oldest[p]) > spoolPatience
		if j := &s.journals[p]; set.has(p) && stuck && j.unread == 0 && len(j.ahead) == 0 {
			out |= 1 << p
		}
	}
	return out
}

// Waiting returns how many records of the datasets in set Take can return now, and when the first of them arrived. The
// time is zero if the record arrived in an earlier run.
func (b *Buffer) Waiting(set Set) (n int, since time.Time) {
	if b.spool == nil {
		return b.queue.waiting(set)
	}
	n, since = b.queue.waiting(b.bypass(set))
	s := b.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range priorities {
		j := &s.journals[p]
		if !set.has(p) || j.unread+len(j.ahead) == 0 {
			continue
		}
		at := j.since
		if len(j.ahead) > 0 {
			at = time.Time{}
		}
		if n == 0 || at.Before(since) {
			since = at
		}
		n += j.unread + len(j.ahead)
	}
	return n, since
}

// Ack counts items as delivered and releases them.
func (b *Buffer) Ack(items []Item) {
	inMemory, spooled := split(items)
	b.queue.ack(inMemory)
	if len(spooled) > 0 {
		b.spool.ack(spooled, func(of []Item) { b.queue.countDelivered(of) })
	}
}

// Drop counts items as dropped for a reason and releases them.
func (b *Buffer) Drop(items []Item, reason string) {
	inMemory, spooled := split(items)
	b.queue.drop(inMemory, reason)
	if len(spooled) > 0 {
		b.spool.ack(spooled, func(of []Item) { b.queue.countDropped(of[0].priority, len(of), reason) })
	}
}

// Requeue puts items back to where Take found them. The items must be in the order in which Take
// returned them.
func (b *Buffer) Requeue(items []Item) {
	inMemory, spooled := split(items)
	b.queue.requeue(inMemory)
	if len(spooled) > 0 {
		b.spool.requeue(spooled)
	}
}

// split divides items into those only in memory and those from the spool.
func split(items []Item) (inMemory, spooled []Item) {
	for _, it := range items {
		if it.disk == nil {
			inMemory = append(inMemory, it)
		} else {
			spooled = append(spooled, it)
		}
	}
	return inMemory, spooled
}

// Unspooled returns the number of records that are only in memory.
func (b *Buffer) Unspooled() int {
	n, _ := b.queue.len()
	return n
}

// Stats returns a snapshot. It does not wait for the disk.
func (b *Buffer) Stats() (st Stats) {
	s := b.spool
	if s == nil {
		b.queue.fill(&st)
		return st
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.queue.fill(&st)
	st.Spooled, st.SpoolBytes = s.usage()
	st.Queued += st.Spooled
	st.SpoolReason, st.Recovered, st.SpoolRemovals = cmp.Or(s.reason, s.removedReason()), s.recovered, s.removals
	return st
}

// Seal makes every later Put fail.
func (b *Buffer) Seal() { b.queue.seal() }

// Close moves records that are only in memory to the spool, if there is one, except for evidence. It syncs the spool and releases its
// folder. It waits at most two seconds for this, because a disk that hangs must not delay the end of a pod. It must be
// called once, after the last Take.
func (b *Buffer) Close() {
	if b.spool != nil {
		b.spool.close()
	}
}
