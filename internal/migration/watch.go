package migration

import "time"

// watched describes how long and how completely one source was watched on one side.
type watched struct {
	spans          []int64 // how long each tap watched, in ns
	longest        int64
	lossy, missing bool
	filters        map[string]bool
}

// sumUpTaps sets the coverage of each source from its taps.
func (v *view) sumUpTaps() {
	for source, taps := range v.taps {
		w := &watched{filters: map[string]bool{}}
		for _, t := range taps {
			span := t.watched()
			w.spans, w.longest = append(w.spans, span), max(w.longest, span)
			w.lossy = w.lossy || t.lossy || t.input != nil && t.input.lossy
			w.missing = w.missing || t.recordsMissing
			for _, f := range t.filters {
				w.filters[f] = true
			}
		}
		v.sources[source] = w
	}
}

// unpublished is the time, in ns, before the latest record of a running tap without flows in which its edges may not
// be published yet: a snapshot covers an hour and is published up to ten minutes later (TAP_POSTURE_INTERVAL,
// TAP_WINDOW).
const unpublished = int64(70 * time.Minute)

// watched returns for how long the input has all edges of a tap, in ns.
func (t *tap) watched() (sum int64) {
	if t.input != nil {
		return t.input.end - t.input.start
	}
	for _, u := range t.runs {
		end := u.end
		if !u.hasStop && !t.flows {
			end -= unpublished
		}
		sum += max(0, end-u.start)
	}
	return sum
}

// whyUnseen returns reasons to suspect that a source has an edge which this side did not see. It returns no reasons if
// the source was watched for as long as on the other side and no input was lost.
func (v *view) whyUnseen(other *view, source Party) []string {
	if known, ok := v.absent[source]; ok {
		return known
	}
	reasons := v.reasonsUnseen(other, source)
	v.absent[source] = reasons
	return reasons
}

func (v *view) reasonsUnseen(other *view, source Party) (reasons []string) {
	if v.side.partial || v.side.skipped > 0 || v.side.watch.OverBounds > 0 {
		reasons = append(reasons, "not_all_read")
	}

	if !v.side.watch.Edges {
		reasons = append(reasons, "no_edges_read")
	}

	w, was := v.sources[source], other.sources[source]
	switch {
	case w == nil && v.noPointOfView && !source.named():
		return append(reasons, "point_of_view")
	case w == nil:
		return append(reasons, "source_not_watched")
	case was == nil:
		was = &watched{longest: other.side.watch.End - other.side.watch.Start}
	}

	if w.lossy {
		reasons = append(reasons, "packets_lost")
	}

	if w.missing {
		reasons = append(reasons, "records_lost")
	}

	for f := range w.filters {
		if f != "" && !was.filters[f] {
			reasons = append(reasons, "filtered")
			break
		}
	}

	long := 0
	for _, span := range w.spans {
		if span >= max(minWatched, was.longest) {
			long++
		}
	}

	switch {
	case long == 0:
		reasons = append(reasons, "too_short")
	case long < len(was.spans):
		reasons = append(reasons, "fewer_pods")
	}
	return reasons
}
