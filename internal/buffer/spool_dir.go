package buffer

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
)

// load reads the segments that an earlier run left in the directory.
func (s *spool) load() error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}

	var found [priorities][]*segment
	for _, f := range files {
		p, number, ok := parseSegmentName(f.Name())
		if !ok || s.has(p, number) { // a segment that is in a journal already: the folder was removed and is back
			continue
		}
		g, lost, err := openSegment(filepath.Join(s.dir, f.Name()), number)
		if err != nil {
			s.log.Warn("a spool file cannot be read and is ignored", "file", f.Name(), "error", err)
			continue
		}
		s.reportDamage(g.file.Name(), p, lost)
		if g.left == 0 {
			deleteFiles([]*segment{g})
			continue
		}
		found[p] = append(found[p], g)
		s.next = max(s.next, number)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range found {
		order.Stable(found[p], func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
		for _, g := range found[p] {
			s.journals[p].add(g)
			s.used += g.size
			s.recovered += g.left
		}
	}
	s.loaded = true
	return nil
}

// has reports whether a segment is already in a journal.
func (s *spool) has(p priority, number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.journals[p].segments, func(g *segment) bool { return g.number == number })
}

func parseSegmentName(name string) (p priority, number uint64, ok bool) {
	base, found := strings.CutSuffix(name, ".spool")
	prefix, digits, cut := strings.Cut(base, "-")
	i := slices.Index(fileNames[:], prefix)
	number, err := strconv.ParseUint(digits, 16, 64)
	return priority(max(0, i)), number, found && cut && prefix != "" && i >= 0 && err == nil
}

// sync syncs segments with records that are neither synced nor done. It does nothing if the last sync was less
// than age ago.
func (s *spool) sync(age time.Duration) {
	var dirty []*segment
	s.mu.Lock()
	for p := range s.journals {
		j := &s.journals[p]
		for _, g := range j.segments {
			if g.dirty && g.left > 0 && time.Since(s.synced) >= age {
				g.dirty = false
				dirty = append(dirty, g)
			}
		}
	}
	s.mu.Unlock()

	if len(dirty) == 0 {
		return
	}
	s.synced = time.Now()
	var err error
	for _, g := range dirty {
		err = errors.Join(err, g.file.Sync())
	}
	if d, e := os.Open(s.dir); e == nil {
		err = errors.Join(err, d.Sync())
		d.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrClosed) { // a closed file: all its records were delivered meanwhile
		s.setReason(err)
	}
}

// closeFiles syncs the segments, closes them and releases the directory.
func (s *spool) closeFiles() {
	s.mu.Lock()
	var finished []*segment
	for p := range s.journals {
		finished = append(finished, s.removeFinished(&s.journals[p], true)...)
	}
	s.mu.Unlock()
	deleteFiles(finished)
	s.sync(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.journals {
		for _, g := range s.journals[p].segments {
			g.file.Close()
		}
	}
	s.lock.Close()
}

// lockName is the name of the lock file in the directory.
const lockName = "lock"

// lockDir creates the directory if it does not exist, and locks it. The lock ends at the latest when the process ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// errLocked reports that another spool has locked the directory.
var errLocked = errors.New("it is locked by another tap")
