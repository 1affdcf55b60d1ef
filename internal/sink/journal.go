package sink

import (
	"slices"
	"time"
)

// journal is what the spool holds of one kind: its segments, the oldest first. The last
// one is written to by the spool's goroutine; records are read by the sink's. All of it
// is guarded by the spool's lock, and nothing here touches a file.
type journal struct {
	segments []*segment
	reading  uint64   // number of the segment to read in, or the next one there is
	at       int64    // and where; 0: from its cursor on
	busy     *segment // is being read from right now
	unread   int
	since    time.Time // when the oldest unread record came, or earlier; zero: in an earlier run
	ahead    []item    // read and not taken, or given back; for the sink's goroutine alone
	window   []*entry  // read and not settled, in order
}

// put adds a segment of an earlier run or an empty one.
func (j *journal) put(s *segment) {
	j.segments = append(j.segments, s)
	j.unread += s.left
}

// last returns the segment to append to, nil if there is none.
func (j *journal) last() *segment {
	if len(j.segments) == 0 {
		return nil
	}
	return j.segments[len(j.segments)-1]
}

// added notes that n records of size bytes in all were appended to s.
func (j *journal) added(s *segment, n int, size int64) {
	if j.unread == 0 {
		j.since = time.Now()
	}
	s.size += size
	s.count += uint32(n)
	s.left += n
	s.dirty = true
	j.unread += n
}

// position returns where to read next, how far records reach there and how many of them
// are unread; nil at the end.
func (j *journal) position() (s *segment, at, end int64, unread int) {
	for _, s := range j.segments {
		if s.number < j.reading {
			continue
		}
		if s.number > j.reading || j.at == 0 {
			j.reading, j.at = s.number, s.cursor
		}
		if j.at < s.size {
			return s, j.at, s.size, s.left - s.pinned
		}
	}
	return nil, 0, 0, 0
}

// took notes that items were read from s up to next, and that lost records up to there
// could not be read. There may be more items than were expected, of a file that changed.
func (j *journal) took(s *segment, items []item, next int64, lost int) {
	more := max(0, s.pinned+len(items)-s.left)
	s.left += more - lost
	s.pinned += len(items)
	j.unread += more - lost - len(items)
	j.at = next
	j.ahead = append(j.ahead, items...)
	for i := range items {
		j.window = append(j.window, items[i].disk)
	}
}

// settle notes that the records of items are done. It returns the segments whose cursor
// moved and the records that are done while an older one is not.
func (j *journal) settle(items []item) (moved []*segment, marks []*entry) {
	for i := range items {
		e := items[i].disk
		e.done = true
		e.segment.left--
		e.segment.pinned--
	}
	for len(j.window) > 0 && j.window[0].done {
		e := j.window[0]
		j.window[0], j.window = nil, j.window[1:]
		e.segment.cursor, e.segment.index = e.end, e.index+1
		if len(moved) == 0 || moved[len(moved)-1] != e.segment {
			moved = append(moved, e.segment)
		}
	}
	for _, e := range j.window {
		if e.done && !e.recorded {
			e.recorded = true
			marks = append(marks, e)
		}
	}
	return moved, marks
}

// finished takes out the segments that hold nothing any more; the last one only if all
// is set.
func (j *journal) finished(all bool) []*segment {
	var out []*segment
	for i := 0; i < len(j.segments); {
		s := j.segments[i]
		if s.left > 0 || s == j.busy || s == j.last() && !all {
			i++
			continue
		}
		j.remove(i)
		s.gone = true
		out = append(out, s)
	}
	return out
}

// evict takes out the oldest segment that nobody reads, nil if there is none. What it
// still holds is lost.
func (j *journal) evict() *segment {
	for i, s := range j.segments {
		if s.pinned == 0 && s != j.busy && s.left > 0 {
			j.unread -= s.left
			j.remove(i)
			s.gone = true
			return s
		}
	}
	return nil
}

func (j *journal) remove(i int) { j.segments = slices.Delete(j.segments, i, i+1) }
