package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// SpoolConfig says where records wait on disk until they are acknowledged.
type SpoolConfig struct {
	Dir      string // created if it does not exist; one spool at a time locks it
	MaxBytes int64  // of all files; default 64 MiB, 1 MiB at least
}

// spool keeps records on disk from shortly after Put until they are acknowledged. Its
// goroutine moves them out of the queue at once, in order, and Put waits for that as long as
// its allowance lasts. SIGKILL loses no record that Put waited for; Put returns earlier
// only where the disk is slow or the records are too many. Records are read back in batches.
//
// Nothing is synced while the receiver keeps up. Records that have waited for five seconds
// are, and all records when the spool is closed: a node that loses power loses the last
// seconds.
//
// A full spool evicts whole segments: flows first, then posture, the oldest first. When only
// findings and tap state are left it accepts no more, and new records wait in the queue. So
// they do while the disk fails.
type spool struct {
	dir         string
	max         int64
	segmentSize int64  // at which a segment is full
	setting     string // that reasons name
	log         *slog.Logger
	queue       *queue
	ready       chan struct{} // has a token when something can be sent
	stop        chan struct{} // closed by close
	done        chan struct{} // closed when the goroutine has ended

	// For the goroutine alone.
	lock   *os.File
	next   uint64 // number of the next segment
	synced time.Time

	allowance allowance // how long Put may wait for the disk

	// mu guards the fields below and the journals. It is locked before the queue's mutex,
	// never after it, and not while a file is read or written.
	mu        sync.Mutex
	journals  [priorities]journal
	used      int64
	recovered int
	removals  uint64             // times that files were removed while the spool had them
	loaded    bool               // the directory is locked and was read
	reason    string             // why records stay in the queue; empty if they do not
	full      Set                // datasets that there was no room for
	written   [priorities]uint64 // Seq of the last record that was written
	progress  chan struct{}      // closed when records were written or cannot be; nil: nobody waits for it
}

const (
	spoolBatch    = 1000 // records and bytes that are moved or read at once
	spoolBytes    = 256 << 10
	spoolTick     = time.Second     // how often the files are checked
	spoolSync     = 5 * time.Second // how long a record waits until it is synced
	minSpool      = 1 << 20
	spoolPatience = time.Second // a record that has waited longer for the disk is sent from the queue
)

var errSpoolFull = errors.New("full of what may not be dropped")

// newSpool starts a spool that takes its records from queue. setting is what reasons name.
func newSpool(cfg SpoolConfig, queue *queue, setting string, log *slog.Logger) *spool {
	limit := max(minSpool, cmp.Or(cfg.MaxBytes, 64<<20))
	s := &spool{
		dir: cfg.Dir, max: limit, segmentSize: min(16<<20, limit/64), setting: setting, log: log, queue: queue,
		ready: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go s.run()
	return s
}

// close is Buffer.Close.
func (s *spool) close() {
	close(s.stop)
	select {
	case <-s.done:
	case <-time.After(2 * time.Second):
	}
}

// run is the spool's goroutine.
func (s *spool) run() {
	defer close(s.done)
	ticker := time.NewTicker(spoolTick)
	defer ticker.Stop()
	for {
		if s.open() {
			s.moveAll()
		}
		s.notify()
		select {
		case <-s.queue.ready:
		case <-ticker.C:
			s.checkFiles()
			s.sync(spoolSync)
			s.mu.Lock()
			s.full = 0 // try again
			s.mu.Unlock()
		case <-s.stop:
			if s.lock != nil {
				s.checkFiles()
			}
			if s.lock != nil {
				s.moveAll()
				s.closeFiles()
			}
			return
		}
	}
}

// notify wakes the sender, and the calls of Put that wait for the disk.
func (s *spool) notify() {
	s.signalProgress()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// open locks and reads the directory unless that was done, and reports whether the spool has it.
func (s *spool) open() bool {
	if s.lock != nil {
		return true
	}
	lock, err := lockDir(s.dir)
	if err == nil {
		s.lock = lock
		if err = s.load(); err != nil {
			s.lock = nil
			lock.Close()
		}
	}
	s.setReason(err)
	return err == nil
}

// setReason records why records cannot be written; nil: they can.
func (s *spool) setReason(err error) {
	reason := ""
	if err != nil {
		reason = fmt.Sprintf("spool %s: %v: see %s; records wait in memory", s.dir, err, s.setting)
	}
	s.mu.Lock()
	changed := reason != s.reason
	s.reason = reason
	s.mu.Unlock()
	switch {
	case changed && err != nil:
		s.log.Warn("records are not spooled", "reason", reason)
	case changed:
		s.log.Info("records are spooled", "dir", s.dir)
	}
}

// moveAll moves all records that fit from the queue to the disk.
func (s *spool) moveAll() {
	more := true
	for more {
		more = s.move()
	}
}

// move moves some records from the queue to the disk and reports whether there may be
// more.
func (s *spool) move() bool {
	s.mu.Lock()
	set := All &^ s.full
	s.mu.Unlock()

	items := s.queue.take(set, spoolBatch, int(min(spoolBytes, s.segmentSize)))
	if len(items) == 0 {
		return false
	}
	again := true
	var first error
	for p, of := range byPriority(items) {
		err := s.write(priority(p), of)
		if err == nil {
			continue
		}
		s.queue.requeue(of)
		first = cmp.Or(first, err)
		if again = again && errors.Is(err, errSpoolFull); again {
			s.mu.Lock()
			s.full |= 1 << p
			s.mu.Unlock()
		}
	}
	s.setReason(first)
	s.notify()
	return again
}

// write appends items of one dataset to its last segment, in one write.
func (s *spool) write(p priority, items []Item) error {
	if len(items) == 0 {
		return nil
	}
	var size int64
	for i := range items {
		size += itemLength(&items[i])
	}
	g, err := s.segmentFor(p, size)
	if err != nil {
		return err
	}
	buf := make([]byte, 0, size)
	for i := range items {
		buf = appendItem(buf, &items[i], g.count+uint32(i))
	}
	if _, err := g.file.WriteAt(buf, g.size); err != nil {
		g.file.Truncate(g.size) //nolint:errcheck // what stays there is read as records, or as torn
		return err
	}
	s.mu.Lock()
	s.journals[p].appended(g, len(items), size)
	s.used += size
	s.written[p] = items[len(items)-1].Seq
	s.queue.release(items)
	s.mu.Unlock()
	g.writeCount()
	return nil
}

// segmentFor returns the segment that the next size bytes go to, and evicts others until
// they fit.
func (s *spool) segmentFor(p priority, size int64) (*segment, error) {
	s.mu.Lock()
	j := &s.journals[p]
	g := j.last()
	fresh := g == nil || g.sealed || g.orphan || g.size > segmentHeader && g.size+size > s.segmentSize
	need := size
	if fresh {
		need += segmentHeader
	}
	evicted, err := s.evict(p, need)
	if g != nil && slices.Contains(evicted, g) {
		fresh = true
	}
	s.mu.Unlock()
	deleteFiles(evicted)
	if err != nil || !fresh {
		return g, err
	}
	s.next++
	if g, err = createSegment(s.dir, p, s.next); err != nil {
		return nil, err
	}
	s.mu.Lock()
	j.add(g)
	s.used += g.size
	finished := s.removeFinished(j, false)
	s.mu.Unlock()
	deleteFiles(finished)
	return g, nil
}

// evict takes out segments until size more bytes fit. The spool is locked.
func (s *spool) evict(p priority, size int64) (out []*segment, err error) {
	for v := flow; v <= p && v < firstKept; v++ {
		for s.used+size > s.max {
			g := s.journals[v].evict()
			if g == nil {
				break
			}
			s.used -= g.size
			s.queue.countDropped(v, g.left, dropSpoolFull)
			out = append(out, g)
		}
	}
	if s.used+size > s.max {
		err = errSpoolFull
	}
	return out, err
}

// removeFinished is journal.removeFinished. The spool is locked.
func (s *spool) removeFinished(j *journal, all bool) []*segment {
	out := j.removeFinished(all)
	for _, g := range out {
		s.used -= g.size
	}
	return out
}

// deleteFiles closes and deletes segments that are in no journal any more.
func deleteFiles(segments []*segment) {
	for _, g := range segments {
		g.file.Close()
		os.Remove(g.file.Name())
	}
}
