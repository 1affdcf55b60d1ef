package buffer

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// The datasets (event.dataset) that a record can belong to.
const (
	Finding = record.DatasetFinding // an alert
	Posture = record.DatasetPosture // the state of one edge
	Tap     = record.DatasetTap     // the tap's own state
	Flow    = record.DatasetFlow    // one connection
)

// priority is a dataset as a number. A higher number means that its records are more important.
type priority uint8

const (
	flow priority = iota
	posture
	finding
	tap

	priorities = tap + 1
	firstKept  = finding // accepted records of this priority or a higher one are never evicted
)

// datasetOf is the inverse of priorityOf.
var datasetOf = [priorities]string{flow: Flow, posture: Posture, finding: Finding, tap: Tap}

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

// All is the set of all datasets.
const All Set = 1<<priorities - 1

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
