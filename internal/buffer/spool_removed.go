package buffer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// errRemoved reports that the folder at the spool's path is not the folder that the spool locked.
var errRemoved = errors.New("the folder was removed while it was in use")

// checkFiles checks whether the spool's files are still in its folder. If the folder was removed, it is created again,
// now or at the next open. If a segment was removed, its records can still be read, and checkFiles copies them into
// the folder. Until then, Stats.SpoolReason reports them.
func (s *spool) checkFiles() {
	if s.lock == nil {
		return
	}
	if !isAt(s.lock, filepath.Join(s.dir, lockName)) {
		s.lock.Close()
		s.lock = nil
		s.setReason(errRemoved)
		s.findOrphans()
		s.noteRemoval()
		s.open()
	} else if s.findOrphans() {
		s.noteRemoval()
	}
	if s.lock != nil {
		s.restoreOrphans()
	}
}

func (s *spool) noteRemoval() {
	s.mu.Lock()
	s.removals++
	s.mu.Unlock()
	s.log.Warn("files of the spool were removed while it was in use", "dir", s.dir)
}

// isAt reports whether an open file is the file at a path.
func isAt(f *os.File, name string) bool {
	a, err := f.Stat()
	b, e := os.Stat(name)
	return err == nil && e == nil && os.SameFile(a, b)
}

// findOrphans marks segments whose files were removed, and reports whether there are more such segments than before.
// It does not hold the lock while it accesses the disk, because the disk may hang.
func (s *spool) findOrphans() (more bool) {
	for _, g := range s.segments(func(*segment) bool { return true }) {
		exists := isAt(g.file, g.file.Name())
		s.mu.Lock()
		if !g.removed && g.orphan == exists {
			more = more || !exists
			g.orphan = !exists
		}
		s.mu.Unlock()
	}
	return more
}

// segments calls the function is for each segment, and returns the segments for which the function returns true.
func (s *spool) segments(is func(*segment) bool) (out []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.journals {
		for _, g := range s.journals[p].segments {
			if is(g) {
				out = append(out, g)
			}
		}
	}
	return out
}

// removedReason returns a reason with the number of records that are in no file of the folder. It returns "" if there
// are no such records. s.mu must be locked.
func (s *spool) removedReason() string {
	n := 0
	for p := range s.journals {
		for _, g := range s.journals[p].segments {
			if g.orphan {
				n += g.left
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("spool %s: files were removed while they were in use: %d records are lost if the tap is killed: see %s", s.dir, n, s.setting)
}

// restoreOrphans writes removed segments into the folder again. A segment that is being read waits for the next call.
func (s *spool) restoreOrphans() {
	for _, g := range s.segments(func(g *segment) bool { return g.orphan && g.left > 0 }) {
		if err := s.restore(g); err != nil {
			s.log.Warn("a spool file that was removed cannot be written again", "file", g.file.Name(), "error", err)
		}
	}
}

// restore writes a segment's file again. Marks that are written at the same time are lost, so the records that
// they mark may be delivered twice.
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
	for p := range s.journals {
		if g == s.journals[p].busy {
			f.Close()
			return nil
		}
	}

	if g.removed { // all records were delivered meanwhile
		f.Close()
		return os.Remove(f.Name())
	}
	old := g.file
	g.file, g.orphan, g.sealed, g.dirty = f, false, true, true
	return old.Close()
}
