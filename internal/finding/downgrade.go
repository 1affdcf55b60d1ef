package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// lesserRules lists the rules that a downgraded connection also breaks. Its finding of mtlsDowngrade covers
// them, so that one cause raises one alert.
var lesserRules = [...]int{plaintextEdge, tlsNotMutual}

// isCovered reports whether connections that break mtlsDowngrade have no finding of rule r as well. If
// mtlsDowngrade is muted, they do have one: muting a rule must not hide what another rule reports.
func (e *Engine) isCovered(r int) bool {
	return slices.Contains(lesserRules[:], r) && !slices.Contains(e.overrides.muted, rules[mtlsDowngrade].id)
}

// isDowngraded reports whether a connection with traits t on edge g breaks mtlsDowngrade. A connection that
// already breaks one of lesserRules in the same way never does, so a finding of that rule is not retracted.
func (e *Engine) isDowngraded(g *edge, t traits, was *liveConnection, j *verdict.Judged) bool {
	if !t.lesser() {
		return false
	}

	if was.edge == g {
		if was.traits.has(ruleBit + mtlsDowngrade) {
			return true
		}
		for _, r := range lesserRules {
			if was.traits.has(ruleBit+r) && applies(r, t) {
				return false
			}
		}
	}

	f, p := g.findings[mtlsDowngrade], g.proofOf(partyOf(j), e.now)
	return becameLesser(was, j) || p.isDowngrade(j.Start) || f != nil && f.open && p.first != 0 && j.Start >= p.first
}

// lesser reports whether a connection was shown to be less than mutual TLS.
func (t traits) lesser() bool { return t.has(plaintextBit) || t.has(notMutualBit) }

// becameLesser reports whether a connection began as mutual TLS and continued in a way that is less than mutual TLS.
func becameLesser(was *liveConnection, j *verdict.Judged) bool {
	return was.edge != nil && was.traits.has(mtlsBit) &&
		(slices.Contains(j.Reasons, "plaintext_after_tls") || slices.Contains(j.Reasons, "second_handshake"))
}

// setCovered records that a finding of mtlsDowngrade counts a connection with traits t, which also breaks
// some of lesserRules under expectation x.
func (f *openFinding) setCovered(t traits, x Expect) {
	for _, r := range lesserRules {
		f.covers[r] = f.covers[r] || applies(r, t) && rules[r].hits.severityFor(x) > 0
	}
}

// covered returns the rule.id of each rule that the connections of a finding break without a finding of it.
func (f *openFinding) covered() []string {
	var ids []string
	for r, covers := range f.covers {
		if covers {
			ids = append(ids, rules[r].id)
		}
	}
	return ids
}

// uncoverDowngrades applies lesserRules to the live connections of open findings of mtlsDowngrade, after
// mtlsDowngrade was muted.
func (e *Engine) uncoverDowngrades() {
	e.eachOpenFinding(func(g *edge, r int, f *openFinding) {
		if r != mtlsDowngrade || !ruled(&f.last) {
			return
		}
		x := e.policy.expectationOf(&f.last)
		if j := g.latest[plaintextBit]; j != nil {
			e.applyRuleToLive(g, plaintextEdge, plaintextBit, j, x)
		}
		if j := g.latest[tlsBit]; j != nil && j.TLS != nil {
			e.applyTLSNotMutual(g, j, x)
		}
	})
}
