package sink

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

// SpoolConfig says where records wait on disk until the broker has acknowledged them.
type SpoolConfig struct {
	Dir      string // made if it is not there; one sink at a time has it
	MaxBytes int64  // of all files; default 64 MiB, 1 MiB at least
}

// spool keeps records on disk from shortly after they are Put until they are settled.
// Its goroutine moves them out of the queue at once, in order, and Put waits for that as
// long as its allowance lasts: SIGKILL costs none of what it returned for, but where the
// disk is slow or the records are too many for waiting. They are read back in batches.
//
// Nothing is synced while the broker keeps up. What has waited for five seconds is, and
// all of it when the sink is closed: a node that loses power loses the last seconds.
//
// A full spool makes room as a full queue does, by whole segments: flows go first, then
// posture, the oldest first; with alerts and tap state alone it takes no more, and what
// comes then waits in the queue. So it does while the disk fails.
type spool struct {
	dir     string
	max     int64
	segment int64 // size at which a segment is full
	name    string
	log     *slog.Logger
	queue   *Queue
	wake    chan struct{} // holds a token when something can be sent
	stop    chan struct{}
	done    chan struct{}

	// Of the goroutine alone.
	lock   *os.File
	next   uint64 // number of the next segment
	synced time.Time

	allowance allowance // of Put's, to wait for the disk

	mu        sync.Mutex // taken before the queue's, never after it
	journals  [kinds]journal
	used      int64
	recovered int
	removals  uint64        // times that files were removed while the spool had them
	ready     bool          // the directory is held and was read
	reason    string        // why records stay in the queue; empty if they do not
	full      kindSet       // kinds that there was no room for
	stored    [kinds]uint64 // the last record that was written, by its place
	moved     chan struct{} // closed at the next step; nil: nobody waits for it
}

// What the spool's goroutine moves and how often it looks after the rest.
const (
	spoolBatch   = 1000
	spoolBytes   = 256 << 10
	spoolTick    = time.Second
	spoolSync    = 5 * time.Second
	minSpool     = 1 << 20
	spoolPatient = time.Second // what has waited longer for the disk is sent from the queue
)

var errSpoolFull = errors.New("full of what may not be dropped")

// newSpool starts a spool that takes its records from queue. name is the setting that
// reasons name.
func newSpool(cfg SpoolConfig, queue *Queue, name string, log *slog.Logger) *spool {
	limit := max(minSpool, cmp.Or(cfg.MaxBytes, 64<<20))
	s := &spool{
		dir: cfg.Dir, max: limit, segment: min(16<<20, limit/64), name: name, log: log, queue: queue,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go s.run()
	return s
}

// close moves what is left in the queue to the disk, syncs it and lets go of the
// directory. It waits two seconds for that at most: a disk that hangs must not hold up
// the end of a pod.
func (s *spool) close() {
	close(s.stop)
	select {
	case <-s.done:
	case <-time.After(2 * time.Second):
	}
}

func (s *spool) run() {
	defer close(s.done)
	ticker := time.NewTicker(spoolTick)
	defer ticker.Stop()
	for {
		if s.opened() {
			s.moveAll()
		}
		s.tell()
		select {
		case <-s.queue.wake:
		case <-ticker.C:
			s.watch()
			s.sync(spoolSync)
			s.mu.Lock()
			s.full = 0 // try again
			s.mu.Unlock()
		case <-s.stop:
			if s.lock != nil {
				s.watch()
			}
			if s.lock != nil {
				s.moveAll()
				s.shut()
			}
			return
		}
	}
}

// tell wakes the sender, and lets those go on who wait in Put.
func (s *spool) tell() {
	s.stepped()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// opened reports whether the directory is this spool's, and tries to make it so.
func (s *spool) opened() bool {
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
	s.fail(err)
	return err == nil
}

// fail notes why records cannot be written, nil that they can.
func (s *spool) fail(err error) {
	reason := ""
	if err != nil {
		reason = fmt.Sprintf("spool %s: %v: see %s; records wait in memory", s.dir, err, s.name)
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
	set := allKinds &^ s.full
	s.mu.Unlock()
	items := s.queue.take(set, spoolBatch, int(min(spoolBytes, s.segment)))
	if len(items) == 0 {
		return false
	}
	by := byKind(items)
	again := true
	var errs error
	for k := range by {
		err := s.write(kind(k), by[k])
		if err == nil {
			continue
		}
		s.queue.giveBack(by[k])
		errs = cmp.Or(errs, err)
		if again = again && errors.Is(err, errSpoolFull); again {
			s.mu.Lock()
			s.full |= 1 << k
			s.mu.Unlock()
		}
	}
	s.fail(errs)
	s.tell()
	return again
}

// write appends items of one kind in one write.
func (s *spool) write(k kind, items []item) error {
	if len(items) == 0 {
		return nil
	}
	var size int64
	for i := range items {
		size += itemLength(&items[i])
	}
	g, err := s.room(k, size)
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
	s.journals[k].added(g, len(items), size)
	s.used += size
	s.stored[k] = items[len(items)-1].seq
	s.queue.moved(items)
	s.mu.Unlock()
	g.writeCount()
	return nil
}

// room returns a segment that size more bytes fit into, and makes room for them.
func (s *spool) room(k kind, size int64) (*segment, error) {
	s.mu.Lock()
	j := &s.journals[k]
	g := j.last()
	fresh := g == nil || g.sealed || g.orphan || g.size > segmentHeader && g.size+size > s.segment
	need := size
	if fresh {
		need += segmentHeader
	}
	evicted, err := s.evict(k, need)
	if g != nil && slices.Contains(evicted, g) {
		fresh = true
	}
	s.mu.Unlock()
	discard(evicted)
	if err != nil || !fresh {
		return g, err
	}
	s.next++
	if g, err = createSegment(s.dir, k, s.next); err != nil {
		return nil, err
	}
	s.mu.Lock()
	j.put(g)
	s.used += g.size
	finished := s.finished(j, false)
	s.mu.Unlock()
	discard(finished)
	return g, nil
}

// evict takes out segments until size more bytes fit. The spool is locked.
func (s *spool) evict(k kind, size int64) (out []*segment, err error) {
	for v := flow; v <= k && v < firm; v++ {
		for s.used+size > s.max {
			g := s.journals[v].evict()
			if g == nil {
				break
			}
			s.used -= g.size
			s.queue.count(v, g.left, DropSpoolFull)
			out = append(out, g)
		}
	}
	if s.used+size > s.max {
		err = errSpoolFull
	}
	return out, err
}

// finished takes out the journal's segments that hold nothing any more. The spool is
// locked.
func (s *spool) finished(j *journal, all bool) []*segment {
	out := j.finished(all)
	for _, g := range out {
		s.used -= g.size
	}
	return out
}

// discard removes segments that are in no journal any more.
func discard(segments []*segment) {
	for _, g := range segments {
		g.file.Close()
		os.Remove(g.file.Name())
	}
}
