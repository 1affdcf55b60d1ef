package finding_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestOneCauseOneFinding: a downgraded connection raises mtls-downgrade and no rule that it also breaks,
// unless mtls-downgrade is muted. Plaintext that was never mutual TLS still raises plaintext-edge.
func TestOneCauseOneFinding(t *testing.T) {
	type step struct {
		add  func(id uint64, start int64) *verdict.Judged
		mute []string
	}
	on := func(of func(uint64, int64) *verdict.Judged) func(uint64, int64) *verdict.Judged { // one edge for all
		return func(id uint64, start int64) *verdict.Judged {
			j := of(id, start)
			j.PeerName, j.PeerNameBasis, j.Destination.Port, j.Mesh = "api", "sni", 8080, ""
			return living(j)
		}
	}
	another := func(id uint64, start int64) *verdict.Judged {
		j := on(plain)(id, start)
		j.Destination.Addr = j.Destination.Addr.Next()
		return j
	}
	proven, text, single, secret := step{add: on(mutual)}, step{add: on(plain)}, step{add: on(oneWay)}, step{add: on(secretive)}
	muted := []string{"mtls-downgrade"}
	for name, c := range map[string]struct {
		steps  []step
		want   []string
		covers []string
	}{
		"plaintext":                       {[]step{proven, text, text}, []string{"mtls-downgrade open 73 x1"}, []string{"plaintext-edge", "plaintext-accepted"}},
		"TLS that is not mutual":          {[]step{proven, single}, []string{"mtls-downgrade open 73 x1"}, []string{"tls-not-mutual"}},
		"both":                            {[]step{proven, single, text}, []string{"mtls-downgrade open 73 x1"}, []string{"plaintext-edge", "tls-not-mutual", "plaintext-accepted"}},
		"plaintext of another peer":       {[]step{proven, text, {add: another}}, []string{"mtls-downgrade open 73 x1", "plaintext-edge open 73 x1"}, []string{"plaintext-edge", "plaintext-accepted"}},
		"muted before":                    {[]step{{mute: muted}, proven, text}, []string{"plaintext-edge open 73 x1", "plaintext-accepted open 47 x1"}, nil},
		"muted while plaintext goes on":   {[]step{proven, text, {mute: muted}}, []string{"mtls-downgrade open 73 x1", "mtls-downgrade withdrawn 0 x1", "plaintext-edge open 73 x1", "plaintext-accepted open 47 x1"}, []string{"plaintext-edge", "plaintext-accepted"}},
		"muted while one-way TLS goes on": {[]step{proven, single, {mute: muted}}, []string{"mtls-downgrade open 73 x1", "mtls-downgrade withdrawn 0 x1", "tls-not-mutual open 47 x1"}, []string{"tls-not-mutual"}},
		"credentials":                     {[]step{proven, secret}, []string{"mtls-downgrade open 73 x1"}, []string{"plaintext-edge", "plaintext-accepted", "credentials-in-clear"}},
		"muted while credentials go on":   {[]step{proven, secret, {mute: muted}}, []string{"mtls-downgrade open 73 x1", "mtls-downgrade withdrawn 0 x1", "plaintext-edge open 73 x1", "plaintext-accepted open 47 x1", "credentials-in-clear open 73 x1"}, []string{"plaintext-edge", "plaintext-accepted", "credentials-in-clear"}},
		"credentials muted as they go on": {[]step{secret, {mute: []string{"credentials-in-clear"}}}, []string{"plaintext-edge open 73 x1", "credentials-in-clear open 73 x1", "credentials-in-clear withdrawn 0 x1", "plaintext-edge ongoing 73 x1"}, nil},
		"plaintext from the start":        {[]step{text, proven, text}, []string{"plaintext-edge open 73 x1", "plaintext-accepted open 47 x1"}, nil},
		"another rule is muted":           {[]step{{mute: []string{"plaintext-edge"}}, proven, text}, []string{"mtls-downgrade open 73 x1"}, []string{"plaintext-edge", "plaintext-accepted"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, finding.Config{Expect: expects(t, "0.0.0.0/0=mtls")})
			now := noon
			for i, s := range c.steps {
				now += 10 * second
				if r.e.Tick(now); s.add == nil {
					r.e.Mute(mutes(t, strings.Join(s.mute, ",")))
					continue
				}
				r.e.Add(s.add(uint64(i+1), now))
			}
			equal(t, r.findings(), c.want)
			var covers []string
			for _, f := range r.e.Summary().Findings {
				covers = append(covers, f.Covers...)
			}
			if !reflect.DeepEqual(covers, c.covers) {
				t.Errorf("covered rules %q, want %q", covers, c.covers)
			}
		})
	}
}

// TestPlaintextAcceptedAlertsOnce: plaintext that a server of mutual TLS accepts has findings of two rules, and one
// alert. The one of plaintext-edge comes first, at the request. A rule that is muted or off never silences the other.
func TestPlaintextAcceptedAlertsOnce(t *testing.T) {
	another := func(j *verdict.Judged, port uint16) *verdict.Judged { // of another client of one server
		j.Direction, j.Source.Addr, j.Destination.Port, j.PeerName, j.Mesh = verdict.DirectionIngress, j.Source.Addr.Next(), port, "", ""
		return living(j)
	}
	asked := func(id uint64, start int64) *verdict.Judged { // no response yet
		j := another(plain(id, start), 8080)
		j.HTTP.Status, j.Destination.Bytes = 0, 0
		return j
	}
	const edge, accepted, downgrade = "plaintext-edge alert 73", "plaintext-accepted event 47", "mtls-downgrade alert 73"
	for name, c := range map[string]struct {
		mute      []string
		severity  string
		downgrade bool // the client itself spoke mutual TLS before
		want      []string
	}{
		"credentials":                          {nil, "", false, []string{"plaintext-edge event 73", accepted, "credentials-in-clear alert 73"}},
		"credentials whose rule is muted":      {[]string{"credentials-in-clear"}, "", false, []string{edge, accepted}},
		"credentials that are less severe":     {nil, "credentials-in-clear=47", false, []string{edge, accepted, "credentials-in-clear event 47"}},
		"both rules":                           {nil, "", false, []string{edge, accepted}},
		"plaintext-edge is muted":              {[]string{"plaintext-edge"}, "", false, []string{"plaintext-accepted alert 47"}},
		"plaintext-edge is off":                {nil, "plaintext-edge=0", false, []string{"plaintext-accepted alert 47"}},
		"plaintext-edge is less severe":        {nil, "plaintext-edge=21", false, []string{"plaintext-edge alert 21", "plaintext-accepted alert 47"}},
		"a downgrade":                          {nil, "", true, []string{downgrade}},
		"a downgrade, and the rule is off":     {nil, "mtls-downgrade=0", true, []string{edge, accepted}},
		"a downgrade, and that is less severe": {nil, "mtls-downgrade=47", true, []string{"plaintext-edge alert 73", "mtls-downgrade alert 47"}},
	} {
		t.Run(name, func(t *testing.T) {
			severities, err := finding.ParseSeverities(c.severity)
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, finding.Config{Expect: expects(t, "0.0.0.0/0=mtls"), Severities: severities})
			r.e.Mute(mutes(t, strings.Join(c.mute, ",")))
			first := living(mutual(1, noon))
			first.Direction, first.Destination.Port, first.PeerName, first.Mesh = verdict.DirectionIngress, 8080, "", ""
			if c.downgrade {
				first.Source.Addr = first.Source.Addr.Next()
			}
			r.e.Add(first)
			if strings.HasPrefix(name, "credentials") {
				r.e.Add(another(secretive(2, noon+10*second), 8080))
			} else {
				r.e.Add(asked(2, noon+10*second))
				r.e.Add(another(plain(2, noon+10*second), 8080))
			}
			var got []string
			for _, d := range r.of(finding.DatasetFinding) {
				got = append(got, fmt.Sprint(d.text("rule.id"), " ", d.text("event.kind"), " ", d.number("event.severity")))
			}
			equal(t, got, c.want)
		})
	}
}

// TestDowngradeCoversLateMesh: when a mesh is seen first after a downgrade, the downgraded connections do not
// raise further rules.
func TestDowngradeCoversLateMesh(t *testing.T) {
	r := newRig(t, finding.Config{})
	on := func(j *verdict.Judged) *verdict.Judged {
		j.PeerName, j.PeerNameBasis, j.Destination.Port, j.Mesh = "api", "sni", 8080, ""
		return living(j)
	}
	r.e.Add(on(mutual(1, noon)))
	r.e.Add(on(plain(2, noon+10*second)))
	r.e.Add(mutual(3, noon+20*second)) // it looks like a mesh
	equal(t, r.findings(), []string{"mtls-downgrade open 73 x1"})
}
