package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/migration"
)

// countJudged returns how many connections were judged, and how many were not.
func countJudged(s *finding.Summary) (judged, unjudged uint64) {
	count := func(list []finding.Seen) {
		for i := range list {
			if list[i].Verdict == "unknown" {
				unjudged += list[i].Connections
			} else {
				judged += list[i].Connections
			}
		}
	}
	for i := range s.Edges {
		count(s.Edges[i].Seen)
	}
	count(s.Gone)
	return judged, unjudged
}

// nothingJudged returns a sentence if no connection was judged, and "" otherwise. The sentence states what was read instead.
// packets is the number of packets in the files, including those that the filter rejected.
func nothingJudged(s *finding.Summary, packets int) string {
	judged, unjudged := countJudged(s)
	switch {
	case judged > 0:
		return ""
	case packets == 0:
		return "no connection was judged: there is no packet in the files"
	case s.Filter != "" && s.Coverage.Packets == 0:
		return fmt.Sprintf("no connection was judged: --filter accepts none of %d packets", packets)
	}
	return fmt.Sprintf("no connection was judged: of %d packets, %d connections had no payload and %d could not be judged", packets, s.Silent, unjudged)
}

// comparesNothing reports whether a comparison has no edge of which both sides are known.
func comparesNothing(r *migration.Result) bool { return r.Count(migration.NotEnough) == len(r.Edges) }

// failOn is the value of --fail-on: a list of which each item may be a hit.
type failOn struct {
	rules    []string
	severity int  // least severity of a finding that is a hit; noSeverity: none
	unjudged bool // a connection that was not judged is a hit
}

// noSeverity is more than any severity.
const noSeverity = 101

// gates reports whether --fail-on is set.
func (f *failOn) gates() bool { return len(f.rules) > 0 || f.severity < noSeverity || f.unjudged }

// hits reports whether a finding is a hit.
func (f *failOn) hits(x *finding.Finding) bool {
	return x.Severity >= f.severity || slices.ContainsFunc(f.rules, func(rule string) bool { return x.Rule == rule || slices.Contains(x.Covers, rule) })
}

// hit reports whether there is a hit in a summary.
func (f *failOn) hit(s *finding.Summary) bool {
	if _, unjudged := countJudged(s); f.unjudged && unjudged > 0 {
		return true
	}
	return slices.ContainsFunc(s.Findings, func(x finding.Finding) bool { return f.hits(&x) })
}

// parseFailOn parses a list of rules, severities and "unjudged". Without an item it returns a failOn that has no hits.
func parseFailOn(list string) (f failOn, err error) {
	f.severity = noSeverity
	for _, item := range split(list) {
		n, err := strconv.Atoi(item)
		switch {
		case err == nil && 0 <= n && n <= 100:
			f.severity = min(f.severity, n)
		case item == "unjudged":
			f.unjudged = true
		case slices.Contains(finding.Rules(), item):
			f.rules = append(f.rules, item)
		default:
			return f, fmt.Errorf("%q: expected unjudged, a severity from 0 to 100, or one of the rules %s", item, strings.Join(finding.Rules(), ", "))
		}
	}
	return f, nil
}
