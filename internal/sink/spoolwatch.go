package sink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// errRemoved says that the spool's folder is not the one that it locked.
var errRemoved = errors.New("the folder was removed while it was in use")

// watch looks whether the spool's files are still in its folder. Where the folder is gone
// the spool makes it anew, at the next opened; where a segment is gone, records in it are
// still read, and watch copies them into the folder. Until that is done a reason says so.
func (s *spool) watch() {
	if s.lock == nil {
		return
	}
	if !isAt(s.lock, filepath.Join(s.dir, lockName)) {
		s.lock.Close()
		s.lock = nil
		s.fail(errRemoved)
		s.orphans()
		s.noteRemoval()
		s.opened()
	} else if s.orphans() {
		s.noteRemoval()
	}
	if s.lock != nil {
		s.rescue()
	}
}

func (s *spool) noteRemoval() {
	s.mu.Lock()
	s.removals++
	s.mu.Unlock()
	s.log.Warn("files of the spool were removed while it was in use", "dir", s.dir)
}

// isAt reports whether an open file is the one with a name.
func isAt(f *os.File, name string) bool {
	a, err := f.Stat()
	b, e := os.Stat(name)
	return err == nil && e == nil && os.SameFile(a, b)
}

// orphans looks for segments whose files are gone, and reports whether there are more
// than before. It asks the disk, which may hang, without the lock.
func (s *spool) orphans() (more bool) {
	for _, g := range s.each(func(*segment) bool { return true }) {
		there := isAt(g.file, g.file.Name())
		s.mu.Lock()
		if !g.gone && g.orphan == there {
			more = more || !there
			g.orphan = !there
		}
		s.mu.Unlock()
	}
	return more
}

// each returns the segments that a condition holds for.
func (s *spool) each(is func(*segment) bool) (out []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.journals {
		for _, g := range s.journals[k].segments {
			if is(g) {
				out = append(out, g)
			}
		}
	}
	return out
}

// loose says how many records are in no file of the folder, empty if all are. The spool
// is locked.
func (s *spool) loose() string {
	n := 0
	for k := range s.journals {
		for _, g := range s.journals[k].segments {
			if g.orphan {
				n += g.left
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("spool %s: files were removed while they were in use: %d records are lost if the tap is killed: see %s", s.dir, n, s.name)
}

// rescue copies segments whose files are gone into the folder. One that is being read
// waits for the next time.
func (s *spool) rescue() {
	for _, g := range s.each(func(g *segment) bool { return g.orphan && g.left > 0 }) {
		if err := s.restore(g); err != nil {
			s.log.Warn("a spool file that was removed cannot be written again", "file", g.file.Name(), "error", err)
		}
	}
}

// restore writes a segment's file again. Marks that come meanwhile are lost: those
// records may come twice.
func (s *spool) restore(g *segment) error {
	f, err := os.OpenFile(g.file.Name(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, io.NewSectionReader(g.file, 0, g.size)); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.journals {
		if g == s.journals[k].busy {
			f.Close()
			return nil
		}
	}
	if g.gone { // done with meanwhile
		f.Close()
		return os.Remove(f.Name())
	}
	old := g.file
	g.file, g.orphan, g.sealed, g.dirty = f, false, true, true
	return old.Close()
}
