package sink

import (
	"maps"
	"math"
	"sync"
	"time"
)

// overhead is what a queued record takes besides its bytes: the item and its share of
// the slice that holds it.
const overhead = 160

// kind is a dataset in the order in which records are worth keeping.
type kind uint8

const (
	flow kind = iota
	posture
	firm    // from here on a record that was accepted is never evicted
	finding = firm
	tap     = firm + 1
	kinds   = tap + 1
)

// kindSet is a set of kinds, one bit for each.
type kindSet uint8

const allKinds kindSet = 1<<kinds - 1

func (s kindSet) has(k kind) bool { return s&(1<<k) != 0 }

func kindOf(dataset string) (kind, bool) {
	switch dataset {
	case Flow:
		return flow, true
	case Posture:
		return posture, true
	case Finding:
		return finding, true
	case Tap:
		return tap, true
	}
	return 0, false
}

// datasetOf is the reverse of kindOf.
var datasetOf = [kinds]string{flow: Flow, posture: Posture, finding: Finding, tap: Tap}

// item is a queued record.
type item struct {
	Message
	kind kind
	seq  uint64    // order of arrival
	at   time.Time // of arrival; zero for what is from the spool
	disk *entry    // where it stands in the spool; nil: it is in memory alone
}

func (m *Message) size() int { return len(m.Value) + len(m.Key) + len(m.ID) + overhead }

// Queue holds records until they are delivered, bounded by number and by bytes. A full
// queue makes room by dropping flows first, then posture, the oldest first; findings and
// the tap's state stay, and a newcomer that finds only those is dropped itself. Records
// that are being sent count too. All methods are safe for concurrent use; none blocks.
type Queue struct {
	maxRecords, maxBytes int
	wake                 chan struct{} // holds a token when something was Put

	mu             sync.Mutex
	lists          [kinds]fifo
	records, bytes int // queued and being sent
	seq            uint64
	closed         bool
	delivered      map[string]uint64
	dropped        map[string]uint64
	reasons        map[string]uint64
}

// NewQueue returns a queue that holds at most that many records and bytes (a small
// overhead for each record included). Zero or less means the defaults of 10,000 records
// and 16 MiB.
func NewQueue(records, bytes int) *Queue {
	if records <= 0 {
		records = 10_000
	}
	if bytes <= 0 {
		bytes = 16 << 20
	}
	return &Queue{
		maxRecords: records, maxBytes: bytes, wake: make(chan struct{}, 1),
		seq:       uint64(time.Now().UnixNano()), // later than all that an earlier run left in a spool
		delivered: map[string]uint64{}, dropped: map[string]uint64{}, reasons: map[string]uint64{},
	}
}

// batch returns how much of the queue one batch may hold while it is being sent, when it
// wants to hold that much: what is being sent cannot make room for an alert.
func (q *Queue) batch(records, bytes int) (int, int) {
	return max(1, min(records, q.maxRecords/4)), max(1, min(bytes, q.maxBytes/4))
}

// Put queues m and reports whether it was accepted. What m.Value points to belongs to the
// queue from then on, accepted or not.
func (q *Queue) Put(m Message) bool {
	_, ok := q.put(m)
	return ok
}

func (q *Queue) put(m Message) (p place, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k, known := kindOf(m.Dataset)
	switch {
	case !known:
		q.drop(m.Dataset, DropBadDataset)
		return p, false
	case q.closed:
		q.drop(m.Dataset, DropClosed)
		return p, false
	case m.size() > q.maxBytes:
		q.drop(m.Dataset, DropTooLarge)
		return p, false
	case !q.makeRoom(k, m.size()):
		q.drop(m.Dataset, DropQueueFull)
		return p, false
	}
	q.seq++
	q.lists[k].push(item{Message: m, kind: k, seq: q.seq, at: time.Now()})
	q.records++
	q.bytes += m.size()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return place{k, q.seq}, true
}

// Len returns how many records are queued or being sent, and the bytes that they take.
func (q *Queue) Len() (records, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.records, q.bytes
}

// Dropped returns how many records were dropped so far, by dataset.
func (q *Queue) Dropped() map[string]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.dropped)
}

// fill copies the queue's part of a Status.
func (q *Queue) fill(s *Status) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Queued, s.QueuedBytes = q.records, q.bytes
	s.Delivered, s.Dropped, s.Reasons = maps.Clone(q.delivered), maps.Clone(q.dropped), maps.Clone(q.reasons)
}

// makeRoom evicts until one more record of kind k and of size bytes fits. It evicts
// nothing when that would not be enough.
func (q *Queue) makeRoom(k kind, size int) bool {
	needRecords, needBytes := q.records+1-q.maxRecords, q.bytes+size-q.maxBytes
	if needRecords <= 0 && needBytes <= 0 {
		return true
	}
	var haveRecords, haveBytes int
	for v := flow; v <= k && v < firm; v++ {
		haveRecords += q.lists[v].len()
		haveBytes += q.lists[v].bytes
	}
	if haveRecords < needRecords || haveBytes < needBytes {
		return false
	}
	for v := flow; v <= k && v < firm; v++ {
		for q.lists[v].len() > 0 && (q.records >= q.maxRecords || q.bytes+size > q.maxBytes) {
			old := q.lists[v].pop()
			q.forget(&old)
			q.drop(old.Dataset, DropQueueFull)
		}
	}
	return true
}

func (q *Queue) drop(dataset, reason string) {
	q.dropped[dataset]++
	q.reasons[reason]++
}

func (q *Queue) forget(it *item) {
	q.records--
	q.bytes -= it.size()
}

// take removes up to n records of the kinds in set, in order of arrival, together no
// larger than bytes unless the first alone is. They count as queued until settle,
// giveBack or lose is told of each.
func (q *Queue) take(set kindSet, n, bytes int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []item
	for len(out) < n {
		k, ok := q.oldest(set)
		if !ok {
			break
		}
		bytes -= q.lists[k].front().size()
		if bytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, q.lists[k].pop())
	}
	return out
}

// oldest returns the kind in set whose first record arrived first.
func (q *Queue) oldest(set kindSet) (kind, bool) {
	best, seq := kind(0), uint64(math.MaxUint64)
	for k := range q.lists {
		if l := &q.lists[k]; set.has(kind(k)) && l.len() > 0 && l.front().seq < seq {
			best, seq = kind(k), l.front().seq
		}
	}
	return best, seq != math.MaxUint64
}

// waiting returns how many records of the kinds in set wait, and since when the first does.
func (q *Queue) waiting(set kindSet) (n int, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for k := range q.lists {
		if set.has(kind(k)) {
			n += q.lists[k].len()
		}
	}
	if k, ok := q.oldest(set); ok {
		since = q.lists[k].front().at
	}
	return n, since
}

// settle counts items as delivered.
func (q *Queue) settle(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.forget(&items[i])
		q.delivered[items[i].Dataset]++
	}
}

// lose counts items as dropped.
func (q *Queue) lose(items []item, reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.forget(&items[i])
		q.drop(items[i].Dataset, reason)
	}
}

// moved says that the queue holds items no more.
func (q *Queue) moved(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.forget(&items[i])
	}
}

// delivers counts items as delivered.
func (q *Queue) delivers(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range items {
		q.delivered[items[i].Dataset]++
	}
}

// count counts n records of a kind as dropped.
func (q *Queue) count(k kind, n int, reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped[datasetOf[k]] += uint64(n)
	q.reasons[reason] += uint64(n)
}

// giveBack puts items back where take found them. They must be in take's order.
func (q *Queue) giveBack(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var by [kinds][]item
	for _, it := range items {
		by[it.kind] = append(by[it.kind], it)
	}
	for k := range by {
		q.lists[k].unshift(by[k])
	}
}

// close makes every later Put fail.
func (q *Queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// fifo is a list of items, the oldest first.
type fifo struct {
	items []item
	head  int
	bytes int
}

func (f *fifo) len() int     { return len(f.items) - f.head }
func (f *fifo) front() *item { return &f.items[f.head] }

func (f *fifo) push(it item) {
	f.items = append(f.items, it)
	f.bytes += it.size()
}

func (f *fifo) pop() item {
	it := f.items[f.head]
	f.items[f.head] = item{} // lets go of what it points to
	f.head++
	f.bytes -= it.size()
	if f.head*2 >= len(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	return it
}

func (f *fifo) unshift(items []item) {
	if len(items) == 0 {
		return
	}
	for i := range items {
		f.bytes += items[i].size()
	}
	f.items = append(items, f.items[f.head:]...)
	f.head = 0
}
