package buffer

import (
	"maps"
	"math"
	"sync"
	"time"
)

// overhead is the memory of a queued record in addition to its bytes: the item and its share of the slice that holds
// it.
const overhead = 160

func (m *Message) size() int {
	n := len(m.Value) + len(m.Key) + len(m.ID) + overhead
	if m.File != nil {
		n += len(m.File.Name) + len(m.File.SHA256)
	}
	return n
}

// queue keeps records in memory, bounded by number and by bytes. A full queue evicts evidence first, then flows and posture,
// the oldest records first. It never evicts findings and the tap's state. A queue with nothing else drops a new record
// instead. Records that are being sent count too. All methods are safe for concurrent use; none blocks.
type queue struct {
	maxRecords, maxBytes int
	ready                chan struct{} // receives a value after a put

	mu             sync.Mutex
	lists          [priorities]fifo
	records, bytes int // records that are queued or being sent, and their memory
	seq            uint64
	sealed         bool
	delivered      map[string]uint64
	dropped        map[string]uint64
	reasons        map[string]uint64
}

// newQueue returns a queue with limits as in Config.
func newQueue(records, bytes int) *queue {
	if records <= 0 {
		records = 10_000
	}
	if bytes <= 0 {
		bytes = 16 << 20
	}
	return &queue{
		maxRecords: records, maxBytes: bytes, ready: make(chan struct{}, 1),
		seq:       uint64(time.Now().UnixNano()), // greater than the numbers of an earlier run in a spool
		delivered: map[string]uint64{}, dropped: map[string]uint64{}, reasons: map[string]uint64{},
	}
}

// put adds m and returns its priority and its Seq.
func (q *queue) put(m Message) (p priority, seq uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p, known := priorityOf(m.Dataset)
	switch {
	case !known:
		q.countDrop(m.Dataset, dropBadDataset)
		return p, 0, false
	case q.sealed:
		q.countDrop(m.Dataset, DropClosed)
		return p, 0, false
	case m.size() > q.maxBytes:
		q.countDrop(m.Dataset, DropTooLarge)
		return p, 0, false
	case !q.reserve(p, m.size()):
		q.countDrop(m.Dataset, dropQueueFull)
		return p, 0, false
	}

	q.seq++
	q.lists[p].push(Item{Message: m, priority: p, Seq: q.seq, at: time.Now()})
	q.records++
	q.bytes += m.size()
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return p, q.seq, true
}

// len returns the number of records that are queued or being sent, and their memory in bytes.
func (q *queue) len() (records, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.records, q.bytes
}

// fill copies the queue's part of Stats.
func (q *queue) fill(s *Stats) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Queued, s.QueuedBytes = q.records, q.bytes
	s.Delivered, s.Dropped, s.Reasons = maps.Clone(q.delivered), maps.Clone(q.dropped), maps.Clone(q.reasons)
}

// reserve evicts records of priority p or lower until one more record of size bytes fits. It evicts nothing if that
// would not be enough.
func (q *queue) reserve(p priority, size int) bool {
	needRecords, needBytes := q.records+1-q.maxRecords, q.bytes+size-q.maxBytes
	if needRecords <= 0 && needBytes <= 0 {
		return true
	}
	var haveRecords, haveBytes int
	for v := evidence; v <= p && v < firstKept; v++ {
		haveRecords += q.lists[v].len()
		haveBytes += q.lists[v].bytes
	}
	if haveRecords < needRecords || haveBytes < needBytes {
		return false
	}
	for v := evidence; v <= p && v < firstKept; v++ {
		for q.lists[v].len() > 0 && (q.records >= q.maxRecords || q.bytes+size > q.maxBytes) {
			old := q.lists[v].pop()
			q.forget(&old)
			q.countDrop(old.Dataset, dropQueueFull)
		}
	}
	return true
}

func (q *queue) countDrop(dataset, reason string) {
	q.dropped[dataset]++
	q.reasons[reason]++
}

func (q *queue) forget(it *Item) {
	q.records--
	q.bytes -= it.size()
}

// take implements Buffer.Take for records in memory. The records count as queued until they are
// passed to ack, requeue or drop.
func (q *queue) take(set Set, n, bytes int) []Item {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []Item
	for len(out) < n {
		p, ok := q.oldest(set)
		if !ok {
			break
		}
		bytes -= q.lists[p].front().size()
		if bytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, q.lists[p].pop())
	}
	return out
}

// oldest returns the dataset of the oldest record, among the datasets in set. It returns false if
// they have no records.
func (q *queue) oldest(set Set) (priority, bool) {
	best, seq := priority(0), uint64(math.MaxUint64)
	for p := range priorities {
		if l := &q.lists[p]; set.has(p) && l.len() > 0 && l.front().Seq < seq {
			best, seq = p, l.front().Seq
		}
	}
	return best, seq != math.MaxUint64
}

// waiting implements Buffer.Waiting for records in memory.
func (q *queue) waiting(set Set) (n int, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range priorities {
		if set.has(p) {
			n += q.lists[p].len()
		}
	}
	if p, ok := q.oldest(set); ok {
		since = q.lists[p].front().at
	}
	return n, since
}

// ack releases items and counts them as delivered.
func (q *queue) ack(items []Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.forget(&items[i])
		q.delivered[items[i].Dataset]++
	}
}

// drop releases items and counts them as dropped.
func (q *queue) drop(items []Item, reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.forget(&items[i])
		q.countDrop(items[i].Dataset, reason)
	}
}

// release removes items from the queue's counts, because they are in the spool now.
func (q *queue) release(items []Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.forget(&items[i])
	}
}

// countDelivered counts items from the spool as delivered.
func (q *queue) countDelivered(items []Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.delivered[items[i].Dataset]++
	}
}

// countDropped counts n records from the spool as dropped.
func (q *queue) countDropped(p priority, n int, reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped[datasetOf[p]] += uint64(n)
	q.reasons[reason] += uint64(n)
}

// requeue puts items back to where take found them. The items must be in the order in which take
// returned them.
func (q *queue) requeue(items []Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p, of := range byPriority(items) {
		q.lists[p].unshift(of)
	}
}

// seal makes every later put fail.
func (q *queue) seal() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
}

// fifo is a list of items, the oldest first.
type fifo struct {
	items []Item
	head  int
	bytes int
}

func (f *fifo) len() int     { return len(f.items) - f.head }
func (f *fifo) front() *Item { return &f.items[f.head] }

func (f *fifo) push(it Item) {
	f.items = append(f.items, it)
	f.bytes += it.size()
}

func (f *fifo) pop() Item {
	it := f.items[f.head]
	f.items[f.head] = Item{} // frees the value
	f.head++
	f.bytes -= it.size()
	if f.head*2 >= len(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	return it
}

func (f *fifo) unshift(items []Item) {
	if len(items) == 0 {
		return
	}
	for i := range items {
		f.bytes += items[i].size()
	}
	f.items = append(items, f.items[f.head:]...)
	f.head = 0
}
