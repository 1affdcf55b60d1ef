package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// failOn is the value of --fail-on, as in `tap read`: a list of which each item may be a hit.
type failOn struct {
	rules    []string
	severity int64 // the least severity of a finding that is a hit; noSeverity: none
	unjudged bool  // a connection that was not judged is a hit
}

// failOnHelp describes the flag.
const failOnHelp = `exit with status 3 if there is a finding of one of these rules or of at least this severity (0 to 100), or an "unjudged" connection; a list with commas. plaintext-edge also applies to plaintext between workloads that has no open finding: it was muted, has ended, is declared as expected, or its record is missing`

// noSeverity is more than any severity.
const noSeverity = 101

// parseFailOn parses a list of rules, severities and "unjudged".
func parseFailOn(list string) (f failOn, err error) {
	f.severity = noSeverity
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		n, err := strconv.Atoi(item)
		switch {
		case item == "":
		case err == nil && 0 <= n && n <= 100:
			f.severity = min(f.severity, int64(n))
		case item == "unjudged":
			f.unjudged = true
		case slices.Contains(finding.Rules(), item):
			f.rules = append(f.rules, item)
		default:
			return f, usageErrorf("--fail-on=%s: %q: expected unjudged, a severity from 0 to 100, or one of the rules %s", list, item, strings.Join(finding.Rules(), ", "))
		}
	}
	return f, nil
}

// gates reports whether --fail-on is set.
func (f *failOn) gates() bool { return len(f.rules) > 0 || f.severity < noSeverity || f.unjudged }

// result returns the error of a command whose result is these edges and findings, or nil. Findings that were retracted are no hits.
func (f *failOn) result(edges []topology.Edge, findings []topology.Finding) error {
	if !f.gates() {
		return nil
	}
	for i := range findings {
		x := &findings[i]
		if x.State != "withdrawn" && (x.Severity >= f.severity || slices.Contains(f.rules, x.Rule)) {
			if x.To.Name == "" { // it is about the tap
				return findingErrorf("%s at %s", x.Rule, x.From.String())
			}
			return findingErrorf("%s from %s to %s port %d", x.Rule, x.From.String(), x.To.String(), x.Port)
		}
	}
	for i := range edges {
		if e := &edges[i]; slices.Contains(f.rules, "plaintext-edge") && e.Between() && (e.Verdict == "plaintext" || e.Connections.Plaintext > 0) {
			return findingErrorf("plaintext-edge: plaintext from %s to %s port %d, which has no open finding", e.From.String(), e.To.String(), e.Port)
		}
	}
	var sum record.ByVerdict
	for i := range edges {
		c := &edges[i].Connections
		sum.Plaintext += c.Plaintext
		sum.TLS += c.TLS
		sum.Encrypted += c.Encrypted
		sum.MTLS += c.MTLS
		sum.Failed += c.Failed
		sum.Unknown += c.Unknown
	}
	switch judged := sum.Plaintext + sum.TLS + sum.Encrypted + sum.MTLS + sum.Failed; {
	case f.unjudged && sum.Unknown > 0:
		return findingErrorf("%s could not be judged", plural(sum.Unknown, "connection"))
	case judged == 0:
		return unjudgedErrorf("no connection was judged, so nothing is proven: %s", unjudgedHint(sum.Unknown))
	}
	return nil
}

// withPart returns the error of a command that printed its result. partial is why not all of the input could be read: it has the exit status 1, unless
// verdict is a finding.
func withPart(partial, verdict error) error {
	switch {
	case partial == nil:
		return verdict
	case verdict != nil && exitStatus(verdict) == exitFinding:
		return errors.Join(verdict, partial)
	}
	return partial
}

func unjudgedHint(unknown uint64) string {
	if unknown == 0 {
		return "none was seen in this time; watch for longer"
	}
	return choose(unknown, "1 was seen", fmt.Sprintf("%d were seen", unknown)) + ", and a verdict may need a new connection, whose handshake the tap sees"
}
