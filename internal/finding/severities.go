package finding

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severities replaces the event.severity of rules, by rule.id. 0 turns a rule off.
type Severities map[string]int

// steps are the severities of Elastic's detection rules: low, medium, high, critical.
var steps = []int{0, 21, 47, 73, 99}

// ParseSeverities parses a list RULE=SEVERITY,... A severity is one of Elastic's steps 21, 47, 73 and 99, for every
// expectation but any, or 0, which turns the rule off. An empty list is nil.
func ParseSeverities(list string) (Severities, error) {
	var out Severities
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		id, number, _ := strings.Cut(item, "=")
		severity, err := strconv.Atoi(number)
		switch {
		case !slices.ContainsFunc(rules[:], func(r rule) bool { return r.id == id }):
			return nil, fmt.Errorf("%q: expected RULE=SEVERITY, with a rule of %s", item, strings.Join(Rules()[:ruleCount], ", "))
		case err != nil || !slices.Contains(steps, severity):
			return nil, fmt.Errorf("%q: expected RULE=SEVERITY, with a severity of 0, 21, 47, 73 or 99", item)
		}
		if _, twice := out[id]; twice {
			return nil, errors.New(id + " occurs twice")
		}
		if out == nil {
			out = Severities{}
		}
		out[id] = severity
	}
	return out, nil
}

// severitiesOf returns the severities of the rules with the changes of a configuration.
func severitiesOf(changed Severities) (out [ruleCount]severities) {
	for r := range rules {
		out[r] = rules[r].hits
		if s, ok := changed[rules[r].id]; ok {
			out[r] = severities{s, s, s}
		}
	}
	return out
}
