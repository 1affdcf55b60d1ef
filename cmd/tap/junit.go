package main

import (
	"cmp"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// writeJUnit writes the report of --output=junit. failed is the error of reading the files, nil if all were read to the end.
// Without --fail-on each finding is a failure.
func (r *reading) writeJUnit(s *finding.Summary, failed error) error {
	f, o := r.o.failOn, report.JUnitOptions{}
	if !f.gates() {
		f.severity = 1
	}
	o.Fails, o.UnjudgedFails = f.hits, f.unjudged
	if failed != nil {
		o.Problem = failed.Error()
	}
	o.Problem = cmp.Or(o.Problem, nothingJudged(s, r.packets))
	return report.JUnit(r.std.out, s, o)
}
