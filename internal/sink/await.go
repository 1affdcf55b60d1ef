package sink

import (
	"sync"
	"time"
)

// place is where a record stands: the order of its arrival among those of its kind.
type place struct {
	kind kind
	seq  uint64
}

// What Put may wait for the disk: a tenth of the time, and so long at once.
const (
	waitShare = 10
	waitMost  = 50 * time.Millisecond
)

// allowance is how long Put may still wait for the disk, so that one that is slow or hangs
// costs capture next to nothing. The zero value has all of it.
type allowance struct {
	mu    sync.Mutex
	spent time.Duration
	at    time.Time // when spent was right
}

// left returns what there is.
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

// await waits until a record is on the disk, where SIGKILL of the tap cannot reach it: as
// long as the allowance lasts, and not at all while the spool cannot take it.
func (s *spool) await(p place) {
	begun := time.Now()
	limit := s.allowance.left(begun)
	if limit <= 0 {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for out := false; !out; {
		moved := s.pending(p)
		if moved == nil {
			break
		}
		select {
		case <-moved:
		case <-timer.C:
			out = true
		}
	}
	s.allowance.spend(time.Since(begun))
}

// pending returns what is closed at the spool's next step, nil where there is nothing to
// wait for.
func (s *spool) pending(p place) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored[p.kind] >= p.seq || s.reason != "" || s.full.has(p.kind) {
		return nil
	}
	if s.moved == nil {
		s.moved = make(chan struct{})
	}
	return s.moved
}

// stepped lets those go on who wait.
func (s *spool) stepped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}
