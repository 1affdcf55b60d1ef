package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// lesserRules lists the rules that a downgraded connection also breaks. Its finding of mtlsDowngrade covers
// them, so that one cause raises one alert.
var lesserRules = [...]int{plaintextEdge, tlsNotMutual, plaintextAccepted, credentialsInClear}

// covers reports whether a connection j that breaks rule r needs no finding of another rule that it also breaks. Rule r
// must not be muted for j, or less severe: neither a mute nor TAP_SEVERITY hides what the other rule reports.
func (e *Engine) covers(r, lesser int, x Expect, j *verdict.Judged) bool {
	return e.muteOf(r, j) == nil && e.severity(r, x) >= e.severity(lesser, x)
}

// coveredByDowngrade reports whether a connection j that breaks mtlsDowngrade has no finding of rule r as well.
func (e *Engine) coveredByDowngrade(r int, x Expect, j *verdict.Judged) bool {
	return slices.Contains(lesserRules[:], r) && e.covers(mtlsDowngrade, r, x, j)
}

// coveringRule returns the rule whose finding counts a connection j with traits t instead of rule r. It returns
// ruleCount if there is no such rule. t has the bits of the rules before r that the connection breaks.
func (e *Engine) coveringRule(r int, t traits, x Expect, j *verdict.Judged, downgraded bool) int {
	switch {
	case downgraded && e.coveredByDowngrade(r, x, j):
		return mtlsDowngrade
	case r == notPostQuantum && t.has(ruleBit+keyExchangeDowngrade) && e.covers(keyExchangeDowngrade, r, x, j):
		return keyExchangeDowngrade
	default:
		return ruleCount
	}
}

// hasAlerted reports whether another rule has alerted about the cause of finding f, of rule r on edge g, or alerts at once.
// Plaintext that a server accepts has its finding of plaintext-edge first, at the request. So have credentials, unless
// they are in the first packets.
func (e *Engine) hasAlerted(g *edge, r int, f *openFinding) bool {
	switch r {
	case plaintextEdge:
		return e.yieldsToCredentials(f)
	case plaintextAccepted:
		return e.alertedAbout(g, plaintextEdge, f) || e.alertedAbout(g, credentialsInClear, f) || e.yieldsToCredentials(f)
	case credentialsInClear:
		return e.alertedAbout(g, plaintextEdge, f)
	default:
		return false
	}
}

// alertedAbout reports whether the edge has an open finding of rule r that has alerted, and is as severe as f.
func (e *Engine) alertedAbout(g *edge, r int, f *openFinding) bool {
	o := g.findings[r]
	return o != nil && o.open && !o.yielded && o.severity >= f.severity && !o.muted && e.cfg.Findings
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
			if was.traits.has(ruleBit+r) && e.applies(g, r, t, j) {
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

// setCovered records, for each rule, the rules of which its finding on the edge counts a connection, as bits.
func (g *edge) setCovered(by *[ruleCount]int) {
	for covering, lesser := range by {
		f := g.findings[covering]
		for r := 0; f != nil && r < ruleCount && lesser != 0; r++ {
			f.covers[r] = f.covers[r] || lesser&(1<<r) != 0
		}
	}
}

// isDowngradeOpen reports whether an open finding of mtlsDowngrade on the edge covers plaintext that its server
// accepts.
func (e *Engine) isDowngradeOpen(g *edge, x Expect) bool {
	f := g.findings[mtlsDowngrade]
	return f != nil && f.open && !f.muted && e.covers(mtlsDowngrade, plaintextAccepted, x, &f.last)
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

// uncoverDowngrades applies lesserRules to the live connections of muted findings of mtlsDowngrade, after some were
// muted.
func (e *Engine) uncoverDowngrades() {
	e.eachOpenFinding(func(g *edge, r int, f *openFinding) {
		if r != mtlsDowngrade || !f.muted || !ruled(&f.last) {
			return
		}
		x := e.policy.expectationOf(&f.last)
		if j := g.latest[plaintextBit]; j != nil {
			e.applyRuleToLive(g, plaintextEdge, plaintextBit, j, x)
			if answered(j) && e.servers.isMutual(serverOf(j), e.now) {
				e.applyRuleToLive(g, plaintextAccepted, answeredBit, j, x)
			}
			if sendsCredentials(j) {
				e.applyRuleToLive(g, credentialsInClear, credentialsBit, j, x)
			}
		}
		if j := g.latest[tlsBit]; j != nil && j.TLS != nil {
			e.applyTLSNotMutual(g, j, x)
		}
	})
}
