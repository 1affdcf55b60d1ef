package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// reportUndecoded prints on standard error how many packets were not decoded. Postures contain this number too, but a capture
// without any decoded packet has no posture.
func (r *reading) reportUndecoded() {
	var c finding.Coverage
	r.pipeline.Do(func(p *pipeline.Locked) { c = p.Coverage() })
	if names, n := c.Hidden(); n > 0 {
		slices.Sort(names)
		fmt.Fprintf(r.std.err, "tap read: %d packets were not decoded (%s): no record describes their contents\n", n, strings.Join(names, ", "))
	}
}
