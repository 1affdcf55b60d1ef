package finding_test

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// findings returns the findings that connections cause where mutual TLS is expected.
func findings(t *testing.T, js ...*verdict.Judged) []doc {
	t.Helper()
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Mesh: "istio"})
	for _, j := range js {
		r.e.Add(j)
	}
	return r.of(finding.DatasetFinding)
}

// TestThreat: the techniques of a finding follow from its rule, and for a downgrade from the verdict. A certificate that expired
// makes no technique possible.
func TestThreat(t *testing.T) {
	before, plainly, lesser := mutual(1, noon), plain(2, noon+minute), oneWay(3, noon+2*minute)
	for _, j := range []*verdict.Judged{plainly, lesser} {
		j.PeerName, j.Destination = before.PeerName, before.Destination
	}
	expired := everything()
	expired.TLS.Server.NotAfter = noon/second - 60
	for _, c := range []struct {
		name, rule string
		js         []*verdict.Judged
		want       []any
	}{
		{"plaintext", "plaintext-edge", []*verdict.Judged{plain(1, noon)}, []any{"T1040"}},
		{"no client certificate", "tls-not-mutual", []*verdict.Judged{oneWay(1, noon)}, []any{"T1557"}},
		{"downgrade to plaintext", "mtls-downgrade", []*verdict.Judged{before, plainly}, []any{"T1040", "T1557"}},
		{"downgrade to TLS", "mtls-downgrade", []*verdict.Judged{before, lesser}, []any{"T1557"}},
		{"expired", "certificate-expired", []*verdict.Judged{expired}, nil},
	} {
		docs := findings(t, c.js...)
		at := slices.IndexFunc(docs, func(d doc) bool { return d.text("rule.id") == c.rule })
		if at < 0 {
			t.Errorf("%s: no finding of %s", c.name, c.rule)
			continue
		}
		got, _ := docs[at].at("threat.technique.id").([]any)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: techniques %v, want %v", c.name, got, c.want)
		}
	}
}

// TestOutcome: event.outcome of a flow.
func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*verdict.Judged)
		want   string
	}{
		{"payload of both ends", func(*verdict.Judged) {}, "success"},
		{"a failed handshake", func(j *verdict.Judged) { j.Verdict = verdict.Failed }, "failure"},
		{"no answer", func(j *verdict.Judged) { j.Verdict, j.State, j.Destination.Bytes = verdict.None, "S0", 0 }, "failure"},
		{"refused", func(j *verdict.Judged) { j.Verdict, j.State, j.Destination.Bytes = verdict.None, "REJ", 0 }, "failure"},
		{"a datagram without an answer", func(j *verdict.Judged) { j.Transport, j.State, j.Destination.Bytes = "udp", "S0", 0 }, "unknown"},
		{"no payload of the server", func(j *verdict.Judged) { j.Destination.Bytes = 0 }, "unknown"},
	} {
		r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod})
		j := plain(1, noon)
		c.change(j)
		r.e.Add(j)
		if got := r.of(finding.DatasetFlow)[0].text("event.outcome"); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
