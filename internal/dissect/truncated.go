package dissect

// Truncated reports whether the n bytes before offset came, but that their number is all that is
// known of them: a snap length or a filter cut them off. Within a protected record nothing
// more is wanted, and behind what was recognized as cleartext nothing is. Elsewhere they
// are as good as lost, unless bulk says that who cut them kept what can matter, which
// leaves only the place in the record layer lost.
func (s *Session) Truncated(side Side, offset, n int64, bulk bool) {
	st := &s.sides[side]
	if s.dns != nil {
		s.dns.addGap(side)
		s.skipped(side)
	}
	switch {
	case st.ended:
		st.seen += n
		s.after.Truncated(side, offset, n, bulk)
		return
	case s.finished || s.failed:
		st.seen += n
		s.tail.Truncated(side, n)
		return
	}
	if st.p == nil {
		st.p = s.pool.parser()
	}
	defer s.containPanic()
	switch st.kind {
	case KindTLS:
		s.truncatedRecords(side, offset, n, bulk)
	case KindNone:
		if n > int64(st.p.chain.left) { // else it is within what may be a record
			st.missed += n
		} else {
			st.seen += n
		}
		s.addGap(side, n, offset)
	default: // what was recognized stays so: no verdict can change
		st.seen += n
		s.stopReading(st.p)
		s.unseenSSH(side)
		st.p.watch.addGap()
		s.skipped(side)
		st.p.scan.n = 0
		st.p.chain.gap(n)
	}
}

// truncatedRecords is Cut for a side that speaks TLS.
func (s *Session) truncatedRecords(side Side, offset, n int64, bulk bool) {
	st, l := &s.sides[side], &s.tls.layers[side]
	r := &st.p.rec
	within := r.left > 0 && r.opaq
	l.text.reset()
	if within {
		inside := min(n, int64(r.left))
		st.seen += inside
		n -= inside
		if r.left -= int(inside); r.left == 0 {
			s.endRecord(side, offset-n)
		}
	}
	switch {
	case n == 0:
	case bulk && within:
		st.seen += n
		s.loseRecords(side)
	case bulk && l.broken:
		st.seen += n
	case l.broken: // it is found again at the start of a segment
		st.missed += n
	default:
		st.missed += n
		s.addGap(side, n, offset)
	}
}
