package pipeline

import (
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Stats holds totals since New, and the memory in use now.
type Stats struct {
	Table             flow.Stats
	Panics            uint64 // panics that packets caused
	DissectorFailures uint64 // connections whose dissector panicked
	Unanswered        uint64 // QUIC Initials that were not read at once because nobody had answered them
	Unread            uint64 // Initials counted in Unanswered that were never read
	Pending           int    // upper estimate of the memory of sessions that have not settled, in bytes
	Conclusions       int    // memory of the conclusions of settled sessions, in bytes
}

// Stats returns the counters and the memory in use.
func (l *Locked) Stats() Stats {
	s := Stats{Table: l.table.Stats(), Panics: l.panics, DissectorFailures: l.tracker.failed}
	s.Unanswered, s.Unread = l.tracker.sessions.Deferred()
	s.Pending, s.Conclusions = l.tracker.sessions.BytesInUse(), l.Judge.BytesInUse()
	return s
}

// Coverage returns the coverage of the table and, through Config.Coverage, of the capture.
func (l *Locked) Coverage() finding.Coverage {
	s := l.Stats()
	t := &s.Table
	c := finding.Coverage{Packets: t.Packets, Evicted: t.Evicted, CutShort: t.BufferFull, Foreign: t.Foreign, Counters: map[string]uint64{
		"fragments": t.Fragments, "reassembled_datagrams": t.Reassembled, "gap_bytes": t.GapBytes, "cut_bytes": t.TruncatedBytes, "conflicting_segments": t.Conflicts,
		"dissector_failures": s.DissectorFailures, "internal_faults": s.Panics, "unanswered_packets": s.Unanswered, "unread_packets": s.Unread,
		"shed_connections": t.Shed, "refused_packets": t.Refused, "foreign_packets": t.Foreign, "thinned_bytes": t.ThinnedBytes,
		"bad_checksum_packets": t.BadChecksums, "unverified_checksum_packets": t.UnverifiedChecksums, "unacceptable_segments": t.Unacceptable,
	}}
	for r, n := range t.Undecoded {
		if n > 0 {
			c.Counters["undecoded_"+flow.Reason(r).String()] = n
		}
	}
	c.Undecoded = undecodedNames(l.table.Undecoded())

	if l.cfg.Coverage != nil {
		l.cfg.Coverage(&c)
	}
	return c
}
