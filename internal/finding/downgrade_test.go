package finding_test

import (
	"reflect"
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
	proven, text, single := step{add: on(mutual)}, step{add: on(plain)}, step{add: on(oneWay)}
	muted := []string{"mtls-downgrade"}
	for name, c := range map[string]struct {
		steps  []step
		want   []string
		covers []string
	}{
		"plaintext":                       {[]step{proven, text, text}, []string{"mtls-downgrade open 73 x1"}, []string{"plaintext-edge"}},
		"TLS that is not mutual":          {[]step{proven, single}, []string{"mtls-downgrade open 73 x1"}, []string{"tls-not-mutual"}},
		"both":                            {[]step{proven, single, text}, []string{"mtls-downgrade open 73 x1"}, []string{"plaintext-edge", "tls-not-mutual"}},
		"plaintext of another peer":       {[]step{proven, text, {add: another}}, []string{"mtls-downgrade open 73 x1", "plaintext-edge open 73 x1"}, []string{"plaintext-edge"}},
		"muted before":                    {[]step{{mute: muted}, proven, text}, []string{"plaintext-edge open 73 x1"}, []string{"plaintext-edge"}},
		"muted while plaintext goes on":   {[]step{proven, text, {mute: muted}}, []string{"mtls-downgrade open 73 x1", "mtls-downgrade withdrawn 0 x1", "plaintext-edge open 73 x1"}, []string{"plaintext-edge"}},
		"muted while one-way TLS goes on": {[]step{proven, single, {mute: muted}}, []string{"mtls-downgrade open 73 x1", "mtls-downgrade withdrawn 0 x1", "tls-not-mutual open 47 x1"}, []string{"tls-not-mutual"}},
		"plaintext from the start":        {[]step{text, proven, text}, []string{"plaintext-edge open 73 x1"}, nil},
		"another rule is muted":           {[]step{{mute: []string{"plaintext-edge"}}, proven, text}, []string{"mtls-downgrade open 73 x1"}, []string{"plaintext-edge"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, finding.Config{Expect: expects(t, "0.0.0.0/0=mtls")})
			now := noon
			for i, s := range c.steps {
				now += 10 * second
				if r.e.Tick(now); s.add == nil {
					r.e.Mute(s.mute)
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
