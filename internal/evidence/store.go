package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// StoreConfig configures a Store. Dir, Files and Bytes must be set.
type StoreConfig struct {
	Dir   string        // created if it does not exist
	Files int           // number of files that are kept
	Bytes int           // largest size of a file; larger ones are rejected
	Age   time.Duration // files are deleted when they are older; 0: never

	Failed func(error)      // called for each file that could not be written, from the goroutine of the Store
	Now    func() time.Time // default time.Now
}

// A Store writes files to a folder in a goroutine of its own, so that the caller never waits for the disk. It deletes the oldest of its files
// beyond a number, and files beyond an age. It leaves all other files in the folder alone. It is safe for concurrent use.
type Store struct {
	cfg   StoreConfig
	queue chan file
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	stats  StoreStats
}

// StoreStats holds the counters of a Store since it was created.
type StoreStats struct {
	Written, Failed uint64
	Dropped         uint64 // files that did not fit into the queue, or were too large
	Deleted         uint64
	Files           int // files that are now in the folder
}

type file struct {
	name string
	b    []byte
}

const (
	// suffix ends the names of all files of a Store, temporary that of a file that is being written.
	suffix    = ".meshtls.pcapng"
	temporary = ".partial"
	// maxQueued bounds the files that wait for the disk.
	maxQueued = 8
	// sweepEvery is the longest time between two deletions of old files.
	sweepEvery = time.Minute
)

// NewStore starts a Store. Close ends it.
func NewStore(cfg StoreConfig) *Store {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg, queue: make(chan file, maxQueued), done: make(chan struct{})}
	go s.run()
	return s
}

// FileName returns the name of the file for a finding: the time of the finding in ns since the epoch, its rule, and the start of its event.id. Names
// sort by time.
func FileName(at int64, rule, id string) string {
	return fmt.Sprintf("%s-%s-%s%s", time.Unix(0, at).UTC().Format("20060102T150405.000000000Z"), rule, id[:min(len(id), 12)], suffix)
}

// Put queues a file and reports whether it did. It never waits. Put must not change b afterwards.
func (s *Store) Put(name string, b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && len(b) <= s.cfg.Bytes {
		select {
		case s.queue <- file{name, b}:
			return true
		default:
		}
	}
	s.stats.Dropped++
	return false
}

// Stats returns the counters.
func (s *Store) Stats() StoreStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close writes the queued files and ends the Store. It waits at most as long as given.
func (s *Store) Close(wait time.Duration) {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if !closed {
		close(s.queue)
	}
	select {
	case <-s.done:
	case <-time.After(wait):
	}
}

func (s *Store) run() {
	defer close(s.done)
	s.sweep(true)
	if err := s.probe(); err != nil && s.cfg.Failed != nil {
		s.cfg.Failed(err)
	}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case f, ok := <-s.queue:
			if !ok {
				return
			}
			s.write(f)
		case <-ticker.C:
			s.sweep(false)
		}
	}
}

// probe creates the folder and a file in it, which it deletes, so that a folder that is not writable is reported at the start.
func (s *Store) probe() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(s.cfg.Dir, "probe"+suffix+temporary)
	if err := writeWhole(path, nil); err != nil {
		return err
	}
	return os.Remove(path)
}

// write writes a file under another name and then renames it, so that no reader sees a part of it.
func (s *Store) write(f file) {
	path := filepath.Join(s.cfg.Dir, f.name)
	err := writeWhole(path+temporary, f.b)
	if errors.Is(err, fs.ErrNotExist) { // the folder was removed
		if err = os.MkdirAll(s.cfg.Dir, 0o700); err == nil {
			err = writeWhole(path+temporary, f.b)
		}
	}
	if err == nil {
		err = os.Rename(path+temporary, path)
	}
	if err != nil {
		_ = os.Remove(path + temporary)
	}
	s.mu.Lock()
	if err == nil {
		s.stats.Written++
	} else {
		s.stats.Failed++
	}
	s.mu.Unlock()
	if err != nil && s.cfg.Failed != nil {
		s.cfg.Failed(err)
	}
	s.sweep(false)
}

// writeWhole creates a file and writes b to it. It does not follow a link and does not replace a file.
func writeWhole(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return cmp.Or(err, f.Close())
}

// sweep deletes files that are too many or too old. At the start it also deletes incomplete ones, which an earlier run left.
func (s *Store) sweep(start bool) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return // the next file that is written reports it
	}
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case !e.Type().IsRegular():
		case strings.HasSuffix(name, suffix):
			names = append(names, name)
		case start && strings.HasSuffix(name, suffix+temporary):
			_ = os.Remove(filepath.Join(s.cfg.Dir, name))
		}
	}
	slices.Sort(names) // by time

	deleted := 0
	for i, name := range names {
		if i < len(names)-s.cfg.Files || s.cfg.Age > 0 && s.isOld(name) {
			if os.Remove(filepath.Join(s.cfg.Dir, name)) == nil {
				deleted++
			}
		}
	}
	s.mu.Lock()
	s.stats.Deleted += uint64(deleted)
	s.stats.Files = len(names) - deleted
	s.mu.Unlock()
}

// isOld reports whether a file was written longer ago than StoreConfig.Age.
func (s *Store) isOld(name string) bool {
	info, err := os.Stat(filepath.Join(s.cfg.Dir, name))
	return err == nil && s.cfg.Now().Sub(info.ModTime()) > s.cfg.Age
}
