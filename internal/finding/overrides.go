package finding

import "strconv"

// Reasons for a withdrawal, event.reason.
const (
	whyExpectation = "expectation_changed"
	whyMuted       = "muted"
)

// overrides holds settings that were changed after New.
type overrides struct {
	expect []string // the namespace's expectations
}

// String returns x in the form that ParseExpect reads.
func (x Expectation) String() string {
	cidr := x.Prefix.String()
	if x.Port == 0 {
		return cidr + "=" + string(x.Want)
	}
	if x.Prefix.Addr().Is6() {
		cidr = "[" + cidr + "]"
	}
	return cidr + ":" + strconv.Itoa(int(x.Port)) + "=" + string(x.Want)
}

// Expect replaces Config.Expect, for live connections and for later ones. If a finding breaks no rule
// under the new expectations, it is withdrawn, not resolved, because nothing changed on the wire.
func (e *Engine) Expect(list []Expectation) {
	e.policy.declared = list
	for _, g := range e.order {
		e.applyExpectations(g)
	}
	e.reapplyRules()
}

// applyExpectations applies the current expectations to the connections and open findings of an edge.
func (e *Engine) applyExpectations(g *edge) {
	if g.counts.connected() || g.hasOpenFinding() {
		g.expect = ExpectAny
	}

	for _, j := range g.latest {
		if j != nil {
			g.expect = stricter(g.expect, e.policy.expectationOf(j))
		}
	}

	for r, f := range g.findings {
		if f == nil || !f.open || !ruled(&f.last) {
			continue
		}
		x := e.policy.expectationOf(&f.last)
		switch s := e.severity(r, x); {
		case s == 0:
			f.expect = x
			e.withdrawFinding(g, r, f, whyExpectation)
		case s < f.severity:
			f.severity, f.expect = s, x
		}
	}
}

// withdrawFinding ends an open finding for a reason other than traffic: why, a value of
// event.reason.
func (e *Engine) withdrawFinding(g *edge, r int, f *openFinding, why string) {
	f.open = false
	for _, id := range e.liveOn(g) {
		if l := e.liveConnections[id]; l.traits.has(ruleBit + r) {
			l.traits &^= 1 << (ruleBit + r)
			e.liveConnections[id] = l
			g.counts.live[ruleBit+r]--
		}
	}
	if f.isUnpublished() {
		return // its fold is resolved at the end of the window
	}
	f.why = why
	e.emitFinding(g, r, f, kindEvent, stateWithdrawn, e.now, e.coverageUntil(e.now))
	f.why = ""
}

// Namespace sets the expectations that the tapped namespace chose, as opposed to the platform. Every record with a coverage
// publishes them, and the rules of the mutes that the namespace chose, in meshtls.coverage.namespace.
func (e *Engine) Namespace(expect []Expectation) {
	e.overrides.expect = nil
	for _, x := range expect {
		e.overrides.expect = append(e.overrides.expect, x.String())
	}
}

// eachOpenFinding calls do for every open finding.
func (e *Engine) eachOpenFinding(do func(g *edge, r int, f *openFinding)) {
	for _, g := range e.order {
		for r, f := range g.findings {
			if f != nil && f.open {
				do(g, r, f)
			}
		}
	}
}
