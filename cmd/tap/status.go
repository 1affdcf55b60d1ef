package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// problems returns the problems that impair the capture or the delivery, one line each. While the tap should not
// capture, it returns no problems.
func (t *tap) problems() []string {
	if t.idling.Load() != nil {
		return nil
	}
	out := slices.Clone(t.settingErrors)
	for _, i := range t.live.Interfaces() {
		if err := i.Problem(); err != nil {
			out = append(out, err.Error())
		}
	}

	var unknown error
	t.pipeline.Do(func(*pipeline.Locked) {
		unknown = t.live.AddressProblem()
		out = append(out, t.ignored...)
	})
	if unknown != nil {
		out = append(out, unknown.Error())
	}

	s := t.publisher.Status()
	for _, reason := range []string{s.Reason, s.SpoolReason} {
		if reason != "" {
			out = append(out, "sink "+t.destination()+": "+reason)
		}
	}
	slices.Sort(out)
	return out
}

// addCoverage adds to c the facts that the pipeline does not know: the tap's limits, the state of the capture,
// dropped packets and the delivery of records. The caller holds the pipeline's lock.
func (t *tap) addCoverage(c *finding.Coverage) {
	maps.Copy(c.Counters, t.limits.Counters())
	c.Older, c.Uncaptured, c.Since = uint64(t.live.Older()), t.live.Uncaptured(), t.live.AllCapturedSince()
	for _, i := range t.live.Interfaces() {
		s := i.Stats()
		c.Dropped += s.Drops
		c.Counters["ring_freezes"] += s.Freezes
		tcp, _ := i.RingStats()
		c.Counters["dropped_tcp"] += tcp.Drops
	}

	s := t.publisher.Status()
	c.Counters["sink_retries"], c.Counters["sink_queued"], c.Counters["sink_spooled"] = s.Retries, uint64(s.Queued), uint64(s.Spooled)
	delivered := func(name, dataset string) {
		c.Counters["sink_delivered_"+name], c.Counters["sink_dropped_"+name] = s.Delivered[dataset], s.Dropped[dataset]
	}
	delivered("tap", finding.DatasetTap)
	if t.kafka.EvidenceTopic != "" {
		delivered("evidence", buffer.Evidence)
	}
	for name, dataset := range datasets {
		delivered(name, dataset)
	}
}

// interfaceStates returns the state of each interface that should be captured. While the tap should not capture, it
// returns no states.
func (t *tap) interfaceStates() []finding.InterfaceState {
	if t.idling.Load() != nil {
		return nil
	}
	return t.live.States()
}

// selfTest returns the results of the tap's checks at its start. The caller holds the pipeline's lock.
func (t *tap) selfTest() finding.SelfTest {
	test := finding.SelfTest{Gap: t.live.Gap()}
	for _, i := range t.live.Interfaces() {
		test.Interfaces = append(test.Interfaces, i.Name())
		test.Checks = append(test.Checks, checkOf("capture_"+i.Name(), i.Problem()))
	}

	if c, ok := t.tested.Load().check(); ok {
		test.Checks = append(test.Checks, c)
	}
	s := t.publisher.Status()
	test.Checks = append(test.Checks,
		finding.Check{Name: "sink", OK: s.OK, Detail: s.Reason},
		finding.Check{Name: "settings", OK: len(t.settingErrors) == 0, Detail: strings.Join(t.settingErrors, "; ")})
	return test
}

func checkOf(name string, err error) finding.Check {
	if err != nil {
		return finding.Check{Name: name, Detail: err.Error()}
	}
	return finding.Check{Name: name, OK: true}
}
