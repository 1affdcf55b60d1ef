package buffer

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// The datasets (event.dataset) that a record can belong to.
const (
	Finding = record.DatasetFinding // an alert
	Posture = record.DatasetPosture // the state of one edge
	Tap     = record.DatasetTap     // the tap's own state
	Flow    = record.DatasetFlow    // one connection

	Evidence = "meshtls.evidence" // a file with the packets of an alert's connection, which is not JSON and never spooled
)

// priority is a dataset as a number. A higher number means that its records are more important.
type priority uint8

const (
	evidence priority = iota
	flow
	posture
	finding
	tap

	priorities = tap + 1
	firstKept  = finding // accepted records of this priority or a higher one are never evicted
)

// datasetOf is the inverse of priorityOf.
var datasetOf = [priorities]string{evidence: Evidence, flow: Flow, posture: Posture, finding: Finding, tap: Tap}

func priorityOf(dataset string) (priority, bool) {
	for p, d := range datasetOf {
		if d == dataset {
			return priority(p), true
		}
	}
	return 0, false
}

// Set is a set of datasets, one bit for each.
type Set uint8

// Sets of datasets.
const (
	All     Set = 1<<priorities - 1
	spooled Set = All &^ (1 << evidence) // the spool keeps these; evidence, which is large, waits only in memory
)

// SetOf returns a set of datasets. Unknown datasets are ignored.
func SetOf(datasets ...string) (s Set) {
	for _, d := range datasets {
		if p, ok := priorityOf(d); ok {
			s |= 1 << p
		}
	}
	return s
}

// Has reports whether the set has a dataset.
func (s Set) Has(dataset string) bool {
	p, ok := priorityOf(dataset)
	return ok && s.has(p)
}

func (s Set) has(p priority) bool { return s&(1<<p) != 0 }
