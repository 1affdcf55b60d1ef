package migration

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// sequence is the set of sequence numbers (event.sequence) that were seen of one run and dataset. They
// count from 1 without a gap, so gaps reveal missing records.
type sequence struct {
	pages      map[uint64]*[pageSize / 64]uint64
	low, high  uint64
	seen       uint64 // distinct numbers
	incomplete bool   // numbers beyond maxPages were not stored
}

// pageSize is the number of sequence numbers in one page: 512 bytes.
const pageSize = 4096

// isRepeated adds a record's sequence number, and reports whether it was seen before.
func (s *Side) isRepeated(u *run, r *record.Record) bool {
	q := u.sequences[r.Event.Dataset]
	if q == nil {
		if len(u.sequences) >= 8 { // more datasets than the 4 that exist
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

// missing returns how many numbers are missing between the lowest and the highest. If the input contains
// the start of the run, the lowest is 1.
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
