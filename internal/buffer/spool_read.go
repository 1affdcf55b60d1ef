package buffer

import "errors"

// take implements Buffer.Take for records on disk.
func (s *spool) take(set Set, n, bytes int) (out []Item) {
	for p := range priorities {
		if set.has(p) {
			s.readAhead(p)
		}
	}
	for len(out) < n {
		p, ok := s.oldest(set)
		if !ok {
			break
		}
		ahead := &s.journals[p].ahead
		it := (*ahead)[0]
		if bytes -= it.size(); bytes < 0 && len(out) > 0 {
			break
		}
		(*ahead)[0] = Item{}
		out, *ahead = append(out, it), (*ahead)[1:]
		s.readAhead(p)
	}
	return out
}

// oldest returns the dataset of the oldest record that was read ahead, among the datasets in set.
// It returns false if none of their records was read ahead.
func (s *spool) oldest(set Set) (best priority, ok bool) {
	for p := range priorities {
		a := s.journals[p].ahead
		if set.has(p) && len(a) > 0 && (!ok || a[0].Seq < s.journals[best].ahead[0].Seq) {
			best, ok = p, true
		}
	}
	return best, ok
}

// readAhead reads a batch of records into memory, unless the previous batch has not been taken yet. Records that a
// segment should have but that cannot be read count as dropped.
func (s *spool) readAhead(p priority) {
	for {
		s.mu.Lock()
		j := &s.journals[p]
		g, at, end, unread := j.position()
		if len(j.ahead) > 0 || g == nil {
			s.mu.Unlock()
			return
		}
		j.busy = g
		name := g.file.Name()
		s.mu.Unlock()
		items, next := g.read(at, end, p, spoolBytes)
		lost := 0
		if next == end {
			lost = max(0, unread-len(items))
		}
		s.mu.Lock()
		j.busy = nil
		j.advance(g, items, next, lost)
		s.mu.Unlock()
		s.reportDamage(name, p, lost)
	}
}

// reportDamage counts and logs records that are lost because a file is damaged.
func (s *spool) reportDamage(file string, p priority, lost int) {
	if lost > 0 {
		s.log.Warn("a spool file is damaged; its other records are read", "file", file, "records_lost", lost)
		s.queue.countDropped(p, lost, dropSpoolDamaged)
	}
}

// requeue puts items back to where take found them. The items must be in the order in which take
// returned them.
func (s *spool) requeue(items []Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, of := range byPriority(items) {
		if j := &s.journals[p]; len(of) > 0 {
			j.ahead = append(of, j.ahead...)
		}
	}
}

// ack releases items, which were delivered or dropped. It calls count with them while s.mu is locked. It then
// writes to their files that they are done. If this fails, they are delivered again after a restart.
func (s *spool) ack(items []Item, count func([]Item)) {
	for p, of := range byPriority(items) {
		if len(of) == 0 {
			continue
		}
		s.mu.Lock()
		j := &s.journals[p]
		count(of)
		advanced, marks := j.ack(of)
		finished := s.removeFinished(j, false)
		var updates []update
		for _, g := range advanced {
			if !g.removed {
				updates = append(updates, g.cursorUpdate())
			}
		}
		for _, e := range marks {
			if !e.segment.removed {
				updates = append(updates, e.markUpdate())
			}
		}
		s.mu.Unlock()

		var err error
		for _, u := range updates {
			_, e := u.file.WriteAt(u.data, u.at)
			err = errors.Join(err, e)
		}
		deleteFiles(finished)
		if err != nil {
			s.log.Warn("a spool file cannot be written; records may be delivered twice", "error", err)
		}
	}
}

// byPriority divides items by dataset and keeps their order.
func byPriority(items []Item) (by [priorities][]Item) {
	for _, it := range items {
		by[it.priority] = append(by[it.priority], it)
	}
	return by
}

// usage returns the number of records on disk and the size of all files. s.mu must be locked.
func (s *spool) usage() (records int, bytes int64) {
	for p := range s.journals {
		for _, g := range s.journals[p].segments {
			records += g.left
		}
	}
	return records, s.used
}
