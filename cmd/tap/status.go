package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// problems returns what keeps the tap from its work, one line each.
func (t *tap) problems() []string {
	if t.idling.Load() != nil {
		return nil // it does what it was told
	}
	out := slices.Clone(t.faults)
	for _, i := range t.captures() {
		if err := i.problem(); err != nil {
			out = append(out, err.Error())
		}
	}
	var fault error
	t.pipeline.Do(func(*pipeline.Locked) {
		fault = t.addresses.fault()
		out = append(out, t.ignored...)
	})
	if fault != nil {
		out = append(out, fault.Error())
	}
	s := t.publisher.Status()
	for _, reason := range []string{s.Reason, s.SpoolReason} {
		if reason != "" {
			out = append(out, "sink "+t.Sink+": "+reason)
		}
	}
	slices.Sort(out)
	return out
}

// addCoverage adds to c what the tap knows of packets that did not reach the pipeline.
func (t *tap) addCoverage(c *finding.Coverage) {
	maps.Copy(c.Counters, t.limits.Counters())
	c.Older, c.Uncaptured, c.Since = uint64(t.older), t.uncaptured, t.gap.since()
	for _, i := range t.captures() {
		s := i.stats()
		c.Dropped += s.Drops
		c.Counters["ring_freezes"] += s.Freezes
		tcp, _ := i.ringStats()
		c.Counters["dropped_tcp"] += tcp.Drops
	}
	s := t.publisher.Status()
	c.Counters["sink_retries"], c.Counters["sink_queued"], c.Counters["sink_spooled"] = s.Retries, uint64(s.Queued), uint64(s.Spooled)
	delivered := func(name, dataset string) {
		c.Counters["sink_delivered_"+name], c.Counters["sink_dropped_"+name] = s.Delivered[dataset], s.Dropped[dataset]
	}
	delivered("tap", finding.DatasetTap)
	for name, dataset := range datasets {
		delivered(name, dataset)
	}
}

// interfaceStates is how the capture goes on each interface; none while nothing is to be
// captured.
func (t *tap) interfaceStates() []finding.InterfaceState {
	if t.idling.Load() != nil {
		return nil
	}
	var out []finding.InterfaceState
	for _, i := range t.captures() {
		if !i.isGone() {
			out = append(out, i.state())
		}
	}
	return out
}

// selfTest returns the results of the tap's self-test at its start. The pipeline's lock is held.
func (t *tap) selfTest() finding.SelfTest {
	test := finding.SelfTest{Gap: t.gap.told()}
	for _, i := range t.captures() {
		test.Interfaces = append(test.Interfaces, i.name)
		test.Checks = append(test.Checks, checked("capture_"+i.name, i.problem()))
	}
	s := t.publisher.Status()
	test.Checks = append(test.Checks,
		finding.Check{Name: "sink", OK: s.OK, Detail: s.Reason},
		finding.Check{Name: "settings", OK: len(t.faults) == 0, Detail: strings.Join(t.faults, "; ")})
	return test
}

func checked(name string, err error) finding.Check {
	if err != nil {
		return finding.Check{Name: name, Detail: err.Error()}
	}
	return finding.Check{Name: name, OK: true}
}
