package buffer

import (
	"slices"
	"time"
)

// journal is the list of a dataset's segments, oldest first. The spool's goroutine appends to the last segment, and
// the sender reads. The spool's mutex guards all fields except ahead. No method accesses a file.
type journal struct {
	segments []*segment
	reading  uint64    // number of the segment to read next, or lower if that segment was removed
	at       int64     // offset to read at; 0: the segment's cursor
	busy     *segment  // the segment that is being read
	unread   int       // number of records not yet read
	since    time.Time // when the oldest unread record arrived, or an earlier time; zero: it arrived in an earlier run
	ahead    []Item    // records read and not yet taken, or requeued; only for the sender
	window   []*entry  // records read and not done, in order
}

// add adds a segment of an earlier run, or an empty one.
func (j *journal) add(s *segment) {
	j.segments = append(j.segments, s)
	j.unread += s.left
}

// last returns the segment to which records are appended. It returns nil if there is no such
// segment.
func (j *journal) last() *segment {
	if len(j.segments) == 0 {
		return nil
	}
	return j.segments[len(j.segments)-1]
}

// appended records that n records with a total of size bytes were appended to s.
func (j *journal) appended(s *segment, n int, size int64) {
	if j.unread == 0 {
		j.since = time.Now()
	}
	s.size += size
	s.count += uint32(n)
	s.left += n
	s.dirty = true
	j.unread += n
}

// position returns where to read next: the segment, the offset in it, the end of its records, and the number of its
// unread records. s is nil if all records are read.
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

// advance records that items were read from s up to offset next. lost is the number of records before next that could
// not be read. If the file has changed, there may be more items than expected.
func (j *journal) advance(s *segment, items []Item, next int64, lost int) {
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

// ack marks the records of items as done. It returns the segments whose cursor advanced. It also returns the done
// records that the cursor has not passed, because an older record is not done.
func (j *journal) ack(items []Item) (advanced []*segment, marks []*entry) {
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
		if len(advanced) == 0 || advanced[len(advanced)-1] != e.segment {
			advanced = append(advanced, e.segment)
		}
	}
	for _, e := range j.window {
		if e.done && !e.marked {
			e.marked = true
			marks = append(marks, e)
		}
	}
	return advanced, marks
}

// removeFinished removes and returns the segments whose records are all done. It keeps the last segment, unless all
// is set.
func (j *journal) removeFinished(all bool) []*segment {
	var out []*segment
	for i := 0; i < len(j.segments); {
		s := j.segments[i]
		if s.left > 0 || s == j.busy || s == j.last() && !all {
			i++
			continue
		}
		j.remove(i)
		s.removed = true
		out = append(out, s)
	}
	return out
}

// evict removes and returns the oldest segment that is not being read. The records in it are lost. It returns nil
// if there is no such segment.
func (j *journal) evict() *segment {
	for i, s := range j.segments {
		if s.pinned == 0 && s != j.busy && s.left > 0 {
			j.unread -= s.left
			j.remove(i)
			s.removed = true
			return s
		}
	}
	return nil
}

func (j *journal) remove(i int) { j.segments = slices.Delete(j.segments, i, i+1) }
