package buffer

import (
	"sync"
	"time"
)

// Bounds of the time for which Put waits for the disk.
const (
	waitShare = 10                    // Put waits at most one tenth of the time overall
	waitMost  = 50 * time.Millisecond // one call of Put waits at most this long
)

// allowance bounds how long Put may still wait for the disk. It ensures that a slow or hanging disk hardly delays the
// capture. The zero value is a full allowance.
type allowance struct {
	mu    sync.Mutex
	spent time.Duration
	at    time.Time // time of the last computation of spent
}

// left returns the remaining allowance. If the result is zero or less, Put must not wait.
func (a *allowance) left(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spent = max(0, a.spent-now.Sub(a.at)/waitShare)
	a.at = now
	return waitMost - a.spent
}

func (a *allowance) spend(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spent += d
}

// waitWritten waits until a record is on disk, where SIGKILL of the tap does not lose it. It waits at most as long as
// the allowance lasts, and not at all while the spool cannot write the record.
func (s *spool) waitWritten(p priority, seq uint64) {
	begun := time.Now()
	limit := s.allowance.left(begun)
	if limit <= 0 {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for out := false; !out; {
		progress := s.progressAfter(p, seq)
		if progress == nil {
			break
		}
		select {
		case <-progress:
		case <-timer.C:
			out = true
		}
	}
	s.allowance.spend(time.Since(begun))
}

// progressAfter returns a channel that is closed at the spool's next progress. It returns nil if the record is on
// disk or cannot be written.
func (s *spool) progressAfter(p priority, seq uint64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written[p] >= seq || s.reason != "" || s.full.has(p) {
		return nil
	}
	if s.progress == nil {
		s.progress = make(chan struct{})
	}
	return s.progress
}

// signalProgress wakes Put calls that wait for the disk.
func (s *spool) signalProgress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress != nil {
		close(s.progress)
		s.progress = nil
	}
}
