package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// tellHidden says on standard error how many packets were not decoded. The postures say so
// too, but a capture that has nothing else has no posture.
func (r *reading) tellHidden() {
	var c finding.Coverage
	r.pipeline.Do(func(p *pipeline.Locked) { c = p.Coverage() })
	if names, n := c.Hidden(); n > 0 {
		slices.Sort(names)
		fmt.Fprintf(r.std.err, "tap: %d packets were not decoded (%s): no record says what they carried\n", n, strings.Join(names, ", "))
	}
}
