package sink

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load finds what an earlier run left.
func (s *spool) load() error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var found [kinds][]*segment
	for _, f := range files {
		k, number, ok := parseSegmentName(f.Name())
		if !ok || s.has(k, number) { // the latter where the folder was away
			continue
		}
		g, lost, err := openSegment(filepath.Join(s.dir, f.Name()), number)
		if err != nil {
			s.log.Warn("a spool file cannot be read and is left alone", "file", f.Name(), "error", err)
			continue
		}
		s.damaged(g.file.Name(), k, lost)
		if g.left == 0 {
			discard([]*segment{g})
			continue
		}
		found[k] = append(found[k], g)
		s.next = max(s.next, number)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range found {
		slices.SortFunc(found[k], func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
		for _, g := range found[k] {
			s.journals[k].put(g)
			s.used += g.size
			s.recovered += g.left
		}
	}
	s.ready = true
	return nil
}

// has reports whether a segment is in a journal already.
func (s *spool) has(k kind, number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.journals[k].segments, func(g *segment) bool { return g.number == number })
}

func parseSegmentName(name string) (k kind, number uint64, ok bool) {
	base, found := strings.CutSuffix(name, ".spool")
	prefix, digits, cut := strings.Cut(base, "-")
	i := slices.Index(kindNames[:], prefix)
	number, err := strconv.ParseUint(digits, 16, 64)
	return kind(max(0, i)), number, found && cut && i >= 0 && err == nil
}

// sync syncs what has waited for so long.
func (s *spool) sync(age time.Duration) {
	var dirty []*segment
	s.mu.Lock()
	for k := range s.journals {
		j := &s.journals[k]
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
	if err != nil && !errors.Is(err, fs.ErrClosed) { // it may have been done with meanwhile
		s.fail(err)
	}
}

// shut syncs what is left and lets go of the directory.
func (s *spool) shut() {
	s.mu.Lock()
	var finished []*segment
	for k := range s.journals {
		finished = append(finished, s.finished(&s.journals[k], true)...)
	}
	s.mu.Unlock()
	discard(finished)
	s.sync(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.journals {
		for _, g := range s.journals[k].segments {
			g.file.Close()
		}
	}
	s.lock.Close()
}

// lockName is the file in the directory that is locked.
const lockName = "lock"

// lockDir makes the directory if need be and takes the lock in it, which lasts as long
// as the process at most.
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

// CheckSpool says why a spool could not use a directory. One that is another tap's is
// fine: it is in use. setting is what the reason names.
func CheckSpool(dir, setting string) error {
	lock, err := lockDir(dir)
	if errors.Is(err, errHeld) {
		return nil
	}
	if err == nil {
		defer lock.Close()
		var g *segment
		if g, err = createSegment(dir, tap, 1<<63); err == nil {
			discard([]*segment{g})
		}
	}
	if err != nil {
		return fmt.Errorf("%w: see %s", err, setting)
	}
	return nil
}

// errHeld says that a directory is another spool's.
var errHeld = errors.New("it is held by another tap")
