package buffer

import (
	"cmp"
	"log/slog"
	"time"
)

// Message is one finished record.
type Message struct {
	Dataset string    // Finding, Posture, Tap or Flow; records of any other are refused and counted
	ID      string    // event.id; the same for the same record however often it is sent
	Key     string    // keeps the records of one edge on one partition; may be empty
	Value   []byte    // JSON without a line break; belongs to the buffer from Put on
	Time    time.Time // becomes the Kafka timestamp; brokers refuse records over an hour ahead
}

// Item is a buffered record, as Take returns it.
type Item struct {
	Message
	Seq uint64 // order of arrival, also across restarts

	priority priority
	at       time.Time // of arrival; zero if it was read from the spool
	disk     *entry    // its place in the spool; nil: it is in memory alone
}

// The reasons for which records are dropped, in Stats.Reasons.
const (
	DropTooLarge = "too_large" // larger than the queue, the request or the broker allows
	DropClosed   = "closed"    // Put after Seal, or the reader of the output is gone

	dropQueueFull    = "queue_full"    // the queue was full and the record among the least important ones
	dropBadDataset   = "bad_dataset"   // Message.Dataset is none of the four
	dropSpoolFull    = "spool_full"    // the spool was full and the record among the least important ones
	dropSpoolDamaged = "spool_damaged" // a file of the spool was damaged; at least that many are lost
)

// Config bounds a buffer.
type Config struct {
	Records int // in memory at most; zero or less: 10,000
	Bytes   int // in memory at most, a small overhead for each record included; zero or less: 16 MiB

	Spool   *SpoolConfig // nil: records wait in memory alone
	Setting string       // the spool's setting, which reasons name
	Log     *slog.Logger // reports each change of the spool's state once; needed with Spool
}

// Stats is a snapshot of a buffer. Its maps belong to the caller.
type Stats struct {
	Queued      int // records accepted, neither delivered nor dropped; includes those being sent
	QueuedBytes int // memory that those in memory take, overhead included

	Spooled     int    // those of them that are on disk, and survive the process
	SpoolBytes  int64  // size of the spool's files
	SpoolReason string // one line: why records are not spooled; empty if they are, or need not be
	Recovered   int    // records that an earlier run left in the spool: queued here without a Put

	SpoolRemovals uint64 // times that the spool's folder, or a file in it, was removed while it was in use

	Delivered map[string]uint64 // acknowledged records, by dataset
	Dropped   map[string]uint64 // by dataset
	Reasons   map[string]uint64 // the same drops by reason
}

// Buffer is a queue with or without a spool. Records of one dataset leave it in order of
// arrival.
type Buffer struct {
	queue *queue
	spool *spool // nil: none
}

// New returns a buffer, and starts its spool if there is one. End it with Close.
func New(cfg Config) *Buffer {
	b := &Buffer{queue: newQueue(cfg.Records, cfg.Bytes)}
	if cfg.Spool != nil {
		b.spool = newSpool(*cfg.Spool, b.queue, cfg.Setting, cfg.Log)
	}
	return b
}

// Put adds m and reports whether it was accepted. m.Value belongs to the buffer from then
// on, accepted or not. With a spool Put waits until the record is on disk, but not for more
// than a tenth of the time and 50 ms at once; see spool.waitWritten.
func (b *Buffer) Put(m Message) bool {
	p, seq, ok := b.queue.put(m)
	if ok && b.spool != nil {
		b.spool.waitWritten(p, seq)
	}
	return ok
}

// Ready receives a value when there may be something new to send. One value can stand for
// several records.
func (b *Buffer) Ready() <-chan struct{} {
	if b.spool == nil {
		return b.queue.ready
	}
	return b.spool.ready
}

// Recheck returns how long a sender may rely on Ready alone. With a spool it must look again after that time, because
// records become ready without notice when the disk hangs. ok is false without a spool.
func (b *Buffer) Recheck() (_ time.Duration, ok bool) { return spoolPatience, b.spool != nil }

// BatchLimits returns how many records and bytes a sender that wants that many may take at
// once: records that are being sent cannot be evicted for an alert.
func (b *Buffer) BatchLimits(records, bytes int) (int, int) {
	return max(1, min(records, b.queue.maxRecords/4)), max(1, min(bytes, b.queue.maxBytes/4))
}

// Take returns up to n records of the datasets in set, in order of arrival, together no
// larger than bytes unless the first alone is.
func (b *Buffer) Take(set Set, n, bytes int) []Item {
	if b.spool != nil {
		if items := b.spool.take(set, n, bytes); len(items) > 0 {
			return items
		}
		set = b.bypass(set)
	}
	return b.queue.take(set, n, bytes)
}

// bypass returns the datasets in set that are sent from memory although there is a spool:
// those that it cannot write or is too slow for, once all older records are out of it.
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
		stuck := s.reason != "" || s.full.has(p) || !oldest[p].IsZero() && time.Since(oldest[p]) > spoolPatience
		if j := &s.journals[p]; set.has(p) && stuck && j.unread == 0 && len(j.ahead) == 0 {
			out |= 1 << p
		}
	}
	return out
}

// Waiting returns how many records of the datasets in set Take can return now, and since
// when the first one waits; zero: since an earlier run.
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

// Requeue puts items back where Take found them. They must be in Take's order.
func (b *Buffer) Requeue(items []Item) {
	inMemory, spooled := split(items)
	b.queue.requeue(inMemory)
	if len(spooled) > 0 {
		b.spool.requeue(spooled)
	}
}

// split divides items into those that are in memory alone and those from the spool.
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

// Unspooled returns how many records are in memory alone.
func (b *Buffer) Unspooled() int {
	n, _ := b.queue.len()
	return n
}

// Stats returns a snapshot. It waits for no disk.
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

// Close moves the records that are in memory alone to the spool if there is one, syncs it
// and releases its folder. It waits for that for two seconds at most: a disk that hangs must
// not delay the end of a pod. Call it once, after the last Take.
func (b *Buffer) Close() {
	if b.spool != nil {
		b.spool.close()
	}
}
