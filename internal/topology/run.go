package topology

import (
	"maps"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// run has the times and the losses of one run of a tap.
type run struct {
	first, last int64 // of the connections in its records, and of those about itself, ns since the epoch
	from, to    int64 // when it wrote the first and the last of its records
	since       int64 // when it began to capture on all interfaces, for the last time; 0: not known
	blindAt     int64 // the latest record by which an interface was not captured; 0: none
	started     bool  // its first record was read
	stopped     bool  // its last record was read
	shared      bool  // it stands for several runs

	capture    record.Watched // the largest values of its records
	undecoded  uint64         // packets
	uncaptured []string       // interfaces of the latest record
	blind      bool           // by the latest record, an interface is not captured
	state      order          // of the latest record with the two above
	gone       uint64         // edges that the tap forgot
	deferred   uint64         // postures that the tap deferred
	foreign    uint64
	muted      []string // rules, sorted
	filter     string
	sequences  map[string]*sequence // by dataset
	edges      uint64               // the largest number of edges that it had in memory
	postures   bool                 // a posture was read
	flows      bool                 // a flow was read
	untested   bool                 // its self-test failed
}

// sequence has what was seen of event.sequence of one dataset.
type sequence struct{ low, high, seen uint64 }

// maxMuted bounds lists of rules and of interfaces.
const maxMuted = 32

// order is the place of a record among those of its tap.
type order struct {
	run      string
	at       int64
	sequence uint64
	id       string
}

func orderOf(r *record.Record) order {
	return order{clean(r.Meshtls.Run, maxText), stamp(r.Timestamp), r.Event.Sequence, clean(r.Event.ID, maxText)}
}

// compare orders by time, and records of one run and time by their sequence.
func (o *order) compare(p *order) int {
	switch {
	case o.at != p.at:
		return sign(o.at > p.at)
	case o.run == p.run && o.sequence != p.sequence:
		return sign(o.sequence > p.sequence)
	case o.id != p.id:
		return sign(o.id > p.id)
	}
	return 0
}

func sign(more bool) int {
	if more {
		return 1
	}
	return -1
}

// add adds the times and the coverage of a record. contradicts reports whether it has the event.id, and so the number, of another one.
func (u *run) add(r *record.Record, contradicts bool) {
	from, to := stamp(r.Event.Start), stamp(r.Event.End)
	if r.Event.Dataset == record.DatasetTap || r.Event.Dataset == record.DatasetFinding || from == 0 || to < from {
		from, to = stamp(r.Timestamp), stamp(r.Timestamp) // records of the tap cover the run, and a finding may be older
	}
	if from != 0 && (u.first == 0 || from < u.first) {
		u.first = from
	}
	u.last = max(u.last, to)
	if at := stamp(r.Timestamp); at != 0 {
		if u.from == 0 || at < u.from {
			u.from = at
		}
		u.to = max(u.to, at)
	}
	if !contradicts {
		u.addSequence(r)
	}
	m := &r.Meshtls
	u.postures = u.postures || r.Event.Dataset == record.DatasetPosture
	u.flows = u.flows || r.Event.Dataset == record.DatasetFlow
	if r.Event.Dataset == record.DatasetTap {
		u.started = u.started || r.Event.Action == "started"
		u.stopped = u.stopped || r.Event.Action == "stopped"
	}
	if t := m.Tap; t != nil {
		u.gone, u.deferred, u.edges = max(u.gone, t.EdgesGone), max(u.deferred, t.PosturesDeferred), max(u.edges, t.Edges)
		if c, tested := t.Checks["self_test"]; tested && !c.OK {
			u.untested = true
		}
		for _, i := range t.InterfaceStates {
			if i.Captured {
				u.since = max(u.since, stamp(i.Since))
			}
		}
	}
	if c := m.Coverage; c != nil {
		u.addCoverage(c)
	}
	if m.Coverage != nil || m.Tap != nil && m.Tap.Blind != nil {
		u.addBlind(r)
	}
}

func (u *run) addCoverage(c *record.Coverage) {
	if w := c.Watched; w != nil {
		u.capture = record.Watched{
			Packets: max(u.capture.Packets, w.Packets), Dropped: max(u.capture.Dropped, w.Dropped), Evicted: max(u.capture.Evicted, w.Evicted),
			CutShort: max(u.capture.CutShort, w.CutShort), Older: max(u.capture.Older, w.Older),
		}
	}
	n := uint64(0)
	for _, k := range slices.Sorted(maps.Keys(c.Undecoded)) {
		n += c.Undecoded[k]
	}
	u.undecoded = max(u.undecoded, n)
	u.since = max(u.since, stamp(c.Since))
	u.foreign = max(u.foreign, c.ForeignPackets)
	for _, rule := range c.Muted {
		u.muted, _ = insertSorted(u.muted, clean(rule, maxText), maxMuted, compareText)
	}
	if c.Filter > u.filter {
		u.filter = clean(c.Filter, maxLine)
	}
}

// addBlind adds whether interfaces are not captured. The latest record counts; if several taps or runs are counted together, the worst one.
func (u *run) addBlind(r *record.Record) {
	blind := false
	var uncaptured []string
	if c := r.Meshtls.Coverage; c != nil {
		uncaptured = cleanAll(c.UncapturedInterfaces, maxMuted)
		blind = len(uncaptured) > 0
	}
	if t := r.Meshtls.Tap; t != nil && t.Blind != nil {
		blind = *t.Blind
	}
	if blind {
		u.blindAt = max(u.blindAt, stamp(r.Timestamp))
	}
	switch o := orderOf(r); {
	case u.shared:
		u.blind = u.blind || blind
	case u.state.at == 0 || o.compare(&u.state) > 0:
		u.state, u.uncaptured, u.blind = o, uncaptured, blind
	case o.compare(&u.state) == 0:
		u.blind = u.blind || blind
	}
}

// addSequence adds the number of a record that was not seen before.
func (u *run) addSequence(r *record.Record) {
	n := r.Event.Sequence
	if r.Meshtls.Run == "" || n == 0 {
		return
	}
	if u.sequences == nil {
		u.sequences = map[string]*sequence{}
	}
	q := u.sequences[r.Event.Dataset]
	if q == nil {
		if len(u.sequences) >= 8 {
			return
		}
		q = &sequence{low: n}
		u.sequences[clean(r.Event.Dataset, maxText)] = q
	}
	q.low, q.high, q.seen = min(q.low, n), max(q.high, n), q.seen+1
}

// missing returns how many records are missing between the first and the last that were read; of a run whose start was read, also before.
func (u *run) missing() (n uint64) {
	if u.shared {
		return 0 // the numbers are those of several runs
	}
	for _, q := range u.sequences {
		low := q.low
		if u.started {
			low = 1
		}
		if all := q.high - low + 1; all > q.seen {
			n += all - q.seen
		}
	}
	return n
}

// watched returns the time for which the run captured on all interfaces, as its records prove it. Connections in its records may be older.
func (u *run) watched() (from, to int64) { return max(u.from, u.since), u.to }

// wasBlind reports whether an interface was not captured for a part of the time that watched returns, or at its end.
func (u *run) wasBlind() bool {
	from, _ := u.watched()
	return u.blind || u.blindAt != 0 && u.blindAt >= from
}

// lossy reports whether connections may be missing from the records.
func (u *run) lossy() bool {
	c := &u.capture
	return u.shared || c.Dropped+c.Evicted+c.CutShort+u.undecoded+u.gone+u.missing() > 0 || u.wasBlind()
}

// hidesOpen reports whether connections that are open may be in no record: the run has edges, and no posture was read. A flow is only written at its connection's
// end, or at that of the run.
func (u *run) hidesOpen() bool { return u.edges > 0 && !u.postures && (!u.stopped || !u.flows) }
