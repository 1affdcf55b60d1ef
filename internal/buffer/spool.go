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

// SpoolConfig configures where records are stored on disk until they are acknowledged.
type SpoolConfig struct {
	Dir      string // created if it does not exist; one spool at a time locks it
	MaxBytes int64  // total size of the files; default 64 MiB, minimum 1 MiB
}

// spool keeps records on disk from shortly after Put until they are acknowledged. Its goroutine moves them out of the
// queue at once, in order. Put waits for this, but only as long as its allowance lasts. SIGKILL loses no record for
// which Put waited. Put returns earlier only if the disk is slow or there are too many records. Records are read back
// in batches.
//
// While the receiver keeps up, nothing is synced. Segments with records that are not done are synced every five
// seconds, and when the spool is closed. If a node loses power, the records of the last seconds are lost.
//
// A full spool evicts whole segments: flows first, then posture, the oldest segments first. If only findings and tap
// state are left, the spool accepts no more records. New records then wait in the queue, as they do while the disk
// fails.
type spool struct {
	dir         string
	max         int64
	segmentSize int64  // size at which a segment is full
	setting     string // name of the setting, used in reasons
	log         *slog.Logger
	queue       *queue
	ready       chan struct{} // receives a value when there may be records to send
	stop        chan struct{} // closed by close
	done        chan struct{} // closed when the goroutine has ended

	// Only the goroutine uses these fields.
	lock   *os.File
	next   uint64 // number of the next segment
	synced time.Time

	allowance allowance // how long Put may still wait for the disk

	// mu guards the fields below and the journals. A caller that needs both locks mu before the queue's mutex. mu is
	// not held while a file is read or written.
	mu        sync.Mutex
	journals  [priorities]journal
	used      int64
	recovered int
	removals  uint64             // how often files were removed while in use
	loaded    bool               // the directory was locked and read
	reason    string             // why records stay in the queue; empty if records are moved to the disk
	full      Set                // datasets for which the spool is full
	written   [priorities]uint64 // Seq of the last record that was written
	progress  chan struct{}      // closed when records were written or cannot be written; nil: no Put waits
}

const (
	spoolBatch    = 1000 // maximum number and bytes of records that are moved or read at once
	spoolBytes    = 256 << 10
	spoolTick     = time.Second     // interval of checkFiles
	spoolSync     = 5 * time.Second // interval of syncs
	minSpool      = 1 << 20
	spoolPatience = time.Second // a record that has waited longer for the disk is sent from the queue
)

var errSpoolFull = errors.New("full of records that must not be dropped")

// newSpool starts a spool that takes its records from queue. setting is the setting's name for reasons.
func newSpool(cfg SpoolConfig, queue *queue, setting string, log *slog.Logger) *spool {
	limit := max(minSpool, cmp.Or(cfg.MaxBytes, 64<<20))
	s := &spool{
		dir: cfg.Dir, max: limit, segmentSize: min(16<<20, limit/64), setting: setting, log: log, queue: queue,
		ready: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go s.run()
	return s
}

// close implements Buffer.Close.
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
			s.full = 0 // retry
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

// notify wakes the sender, and Put calls that wait for the disk.
func (s *spool) notify() {
	s.signalProgress()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// open locks and reads the directory, unless this was done before. It reports whether the spool has
// the directory.
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

// setReason stores and logs the reason for which records cannot be written. A nil reason means that
// they can be written.
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

// moveAll moves records from the queue to the disk until none is left or the spool is full.
func (s *spool) moveAll() {
	more := true
	for more {
		more = s.move()
	}
}

// move moves a batch of records from the queue to the disk. It reports whether the queue may have
// more records.
func (s *spool) move() bool {
	s.mu.Lock()
	set := spooled &^ s.full
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

// write appends items of one dataset to the dataset's last segment, in one system call.
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
		g.file.Truncate(g.size) //nolint:errcheck // bytes that remain are read as records, or as a torn record
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

// segmentFor returns the segment for the next size bytes of a dataset. It evicts segments until these
// bytes fit.
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

// evict removes segments from the journals until size more bytes fit, and returns them. s.mu must be locked.
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

// removeFinished calls journal.removeFinished and updates the spool's size. s.mu must be locked.
func (s *spool) removeFinished(j *journal, all bool) []*segment {
	out := j.removeFinished(all)
	for _, g := range out {
		s.used -= g.size
	}
	return out
}

// deleteFiles closes and deletes segments that are no longer in a journal.
func deleteFiles(segments []*segment) {
	for _, g := range segments {
		g.file.Close()
		os.Remove(g.file.Name())
	}
}
