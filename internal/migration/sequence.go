package migration

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// sequence is the sequence numbers (event.sequence) of one run and dataset that were seen.
// They count from 1 without a gap, which reveals missing records.
type sequence struct {
	pages      map[uint64]*[pageSize / 64]uint64
	low, high  uint64
	seen       uint64 // distinct numbers
	incomplete bool   // there was no room for all of them
}

// pageSize is how many sequence numbers one page has: 512 bytes.
const pageSize = 4096

// isRepeated notes a record's sequence number, and reports whether it was seen before.
func (s *Side) isRepeated(u *run, r *record.Record) bool {
	q := u.sequences[r.Event.Dataset]
	if q == nil {
		if len(u.sequences) >= 8 { // datasets; there are 4
			return false
		}
		q = &sequence{pages: map[uint64]*[pageSize / 64]uint64{}}
		u.sequences[r.Event.Dataset] = q
	}
	n := r.Event.Sequence
	page := q.pages[n/pageSize]
	if page == nil {
		if s.pages >= maxPages {
			q.incomplete = true
			return false
		}
		s.pages++
		page = new([pageSize / 64]uint64)
		q.pages[n/pageSize] = page
	}
	word, bit := &page[n%pageSize/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return true
	}
	*word |= bit
	q.seen++
	if q.low == 0 || n < q.low {
		q.low = n
	}
	q.high = max(q.high, n)
	return false
}

// missing returns how many numbers are missing between those that were seen. begun reports
// whether the input reaches back to the start of the run, whose numbers begin with 1.
func (q *sequence) missing(begun bool) uint64 {
	low := q.low
	if begun {
		low = min(low, 1)
	}
	if q.seen == 0 || q.high < low {
		return 0
	}
	return q.high - low + 1 - q.seen
}
