package sink

import "errors"

// take returns up to n records of the kinds in set, those that came first, together no
// larger than bytes unless the first alone is.
func (s *spool) take(set kindSet, n, bytes int) (out []item) {
	for k := range kinds {
		if set.has(k) {
			s.fetch(k)
		}
	}
	for len(out) < n {
		k, ok := s.first(set)
		if !ok {
			break
		}
		ahead := &s.journals[k].ahead
		it := (*ahead)[0]
		if bytes -= it.size(); bytes < 0 && len(out) > 0 {
			break
		}
		(*ahead)[0] = item{}
		out, *ahead = append(out, it), (*ahead)[1:]
		s.fetch(k)
	}
	return out
}

// first returns the kind in set whose next record came first.
func (s *spool) first(set kindSet) (best kind, ok bool) {
	for k := range kinds {
		a := s.journals[k].ahead
		if set.has(k) && len(a) > 0 && (!ok || a[0].seq < s.journals[best].ahead[0].seq) {
			best, ok = k, true
		}
	}
	return best, ok
}

// fetch reads ahead where nothing was. What should be in a segment and cannot be read
// counts as dropped.
func (s *spool) fetch(k kind) {
	for {
		s.mu.Lock()
		j := &s.journals[k]
		g, at, end, unread := j.position()
		if len(j.ahead) > 0 || g == nil {
			s.mu.Unlock()
			return
		}
		j.busy = g
		name := g.file.Name()
		s.mu.Unlock()
		items, next := g.read(at, end, k, spoolBytes)
		lost := 0
		if next == end {
			lost = max(0, unread-len(items))
		}
		s.mu.Lock()
		j.busy = nil
		j.took(g, items, next, lost)
		s.mu.Unlock()
		s.damaged(name, k, lost)
	}
}

// damaged reports records that are lost because a file is damaged.
func (s *spool) damaged(file string, k kind, lost int) {
	if lost > 0 {
		s.log.Warn("a spool file is damaged; its other records are read", "file", file, "records_lost", lost)
		s.queue.count(k, lost, DropSpoolDamaged)
	}
}

// giveBack takes items back. They must be in take's order.
func (s *spool) giveBack(items []item) {
	by := byKind(items)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range by {
		if j := &s.journals[k]; len(by[k]) > 0 {
			j.ahead = append(by[k], j.ahead...)
		}
	}
}

// settle is done with items, has them counted, and says so in their files. Where that
// fails they are delivered again after a restart.
func (s *spool) settle(items []item, counted func([]item)) {
	by := byKind(items)
	for k := range by {
		if len(by[k]) == 0 {
			continue
		}
		s.mu.Lock()
		j := &s.journals[k]
		counted(by[k])
		moved, marks := j.settle(by[k])
		finished := s.finished(j, false)
		var updates []update
		for _, g := range moved {
			if !g.gone {
				updates = append(updates, g.moved())
			}
		}
		for _, e := range marks {
			if !e.segment.gone {
				updates = append(updates, e.mark())
			}
		}
		s.mu.Unlock()
		var err error
		for _, u := range updates {
			_, e := u.file.WriteAt(u.what, u.at)
			err = errors.Join(err, e)
		}
		discard(finished)
		if err != nil {
			s.log.Warn("a spool file cannot be written; records may come twice", "error", err)
		}
	}
}

func byKind(items []item) (by [kinds][]item) {
	for _, it := range items {
		by[it.kind] = append(by[it.kind], it)
	}
	return by
}

// holds returns how many records are on disk, and the bytes that all files take. The
// spool is locked.
func (s *spool) holds() (records int, bytes int64) {
	for k := range s.journals {
		for _, g := range s.journals[k].segments {
			records += g.left
		}
	}
	return records, s.used
}
