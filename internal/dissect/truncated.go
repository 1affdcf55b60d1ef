package dissect

// Truncated notes that the n bytes before offset were sent, but not captured because of a snap length or a filter. Within a protected
// record, and after recognized plaintext, these bytes are not needed. Elsewhere they count as missing, unless bulk is set. bulk means that
// the filter passed on everything that can matter. Then only the position in the record layer is lost.
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
		if n > int64(st.p.chain.left) { // otherwise the truncated bytes are within a possible record
			st.missed += n
		} else {
			st.seen += n
		}
		s.addGap(side, n, offset)
	default: // the recognized protocol stays
		if !bulk && s.mayLead(side) { // the truncated bytes may be the start of TLS
			st.missed += n
			s.addGap(side, n, offset)
			return
		}
		st.seen += n
		s.loseLogin(side)
		s.stopReading(st.p)
		s.unseenSSH(side)
		st.p.watch.addGap()
		s.skipped(side)
		st.p.scan.n = 0
		st.p.chain.gap(n)
	}
}

// mayLead reports whether the plaintext of a side may lead to TLS, as far as it was seen: the protocol can be upgraded, an HTTP proxy or server
// may have agreed to a tunnel, or the header of an HTTP message is incomplete.
func (s *plainLayer) mayLead(side Side) bool {
	if s.plainDecided {
		return false
	}
	may, _ := s.mayUpgrade(side)
	return may || s.sides[side].p.http != nil
}

// truncatedRecords does the same as Truncated for a side that speaks TLS.
func (s *tlsLayer) truncatedRecords(side Side, offset, n int64, bulk bool) {
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
	case l.broken: // the position is found again at the start of a segment
		st.missed += n
	default:
		st.missed += n
		s.addGap(side, n, offset)
	}
}
