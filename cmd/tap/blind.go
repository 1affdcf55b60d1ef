package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/migration"
)

// nothingJudged returns a sentence if no connection was judged, and "" otherwise. The sentence states what was read instead.
// packets is the number of packets in the files, including those that the filter rejected.
func nothingJudged(s *finding.Summary, packets int) string {
	judged, unjudged := uint64(0), uint64(0)
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

// gates reports whether --fail-on is set.
func (o *readOptions) gates() bool { return o.rule != "" || o.fail >= 0 }

// fails reports whether a finding is a hit of --fail-on.
func (o *readOptions) fails(f finding.Finding) bool {
	return o.rule != "" && (f.Rule == o.rule || slices.Contains(f.Covers, o.rule)) || o.fail >= 0 && f.Severity >= o.fail
}

func parseFailOn(text string) (rule string, severity int, err error) {
	if text == "" { // not set: flags.parse refuses an empty value
		return "", -1, nil
	}
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 || n > 100 {
			return "", 0, errors.New("expected a severity from 0 to 100")
		}
		return "", n, nil
	}
	if !slices.Contains(finding.Rules(), text) {
		return "", 0, fmt.Errorf("expected a severity from 0 to 100, or one of the rules %s", strings.Join(finding.Rules(), ", "))
	}
	return text, -1, nil
}
