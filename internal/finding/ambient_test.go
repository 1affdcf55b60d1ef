package finding_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// ambientPod is the tapped pod of these tests. It has no sidecar.
func ambientPod(ambient string) finding.Identity {
	id := pod
	id.LocalProxy, id.DeclaredSkip, id.Ambient = "", nil, ambient
	return id
}

// hbone returns an HBONE connection from the pod to a peer.
func hbone(id uint64, start int64) *verdict.Judged {
	j := mutual(id, start)
	j.Mesh, j.MeshBasis, j.Destination.Port = "istio_ambient", "port", 15008
	j.PeerName, j.PeerNameBasis, j.TLS.ServerName, j.TLS.ALPNOffered = "", "", "", []string{"h2"}
	return j
}

// arriving turns j into a connection that the peer opens to the pod, and returns it.
func arriving(j *verdict.Judged) *verdict.Judged {
	j.Direction = verdict.DirectionIngress
	j.Source.Addr, j.Destination.Addr = j.Destination.Addr, j.Source.Addr
	j.PeerName, j.PeerNameBasis = "", ""
	return j
}

const (
	declaredWords = "; the pod is enrolled in ambient, but this connection %s in plaintext"
	seenWords     = "; the pod speaks HBONE of an ambient mesh, but this connection %s in plaintext"
)

// TestGoldenAmbient: in each direction, the findings about plaintext of an enrolled pod are as in
// the golden file.
func TestGoldenAmbient(t *testing.T) {
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: ambientPod("istio")})
	r.e.Add(hbone(1, noon))
	r.e.Add(plain(2, noon+10*second))
	r.e.Add(arriving(plain(3, noon+20*second)))
	r.e.Flush(noon + minute)
	golden(t, "ambient.json", append(only(r, finding.DatasetFlow)[:1], only(r, finding.DatasetFinding)...))
}

// TestEnrolled: only the expected connections enroll a pod, and findings about plaintext of an
// enrolled pod report the enrollment.
func TestEnrolled(t *testing.T) {
	failed := func(j *verdict.Judged) *verdict.Judged { j.Verdict = verdict.Failed; return j }
	foreign := func(j *verdict.Judged) *verdict.Judged {
		j.Direction, j.Foreign = "", true
		j.Source.Addr, j.Destination.Addr = netip.MustParseAddr("10.7.7.7"), netip.MustParseAddr("10.8.8.8")
		return j
	}
	unlocated := func(j *verdict.Judged) *verdict.Judged { j.Direction = ""; return j }
	onLoopback := func(j *verdict.Judged) *verdict.Judged {
		j.Scope, j.Direction, j.Interface = verdict.ScopePod, verdict.DirectionInternal, "lo"
		return j
	}
	notAmbient := func(j *verdict.Judged) *verdict.Judged { j.Mesh = "istio"; return j }
	oneWayHBONE := func(j *verdict.Judged) *verdict.Judged {
		j.Verdict, j.Mesh, j.TLS.ClientAuth = verdict.TLS, "", verdict.AuthNotRequested
		return j
	}
	sidecar := ambientPod("")
	sidecar.LocalProxy = "istio"
	for _, c := range []struct {
		name     string
		id       finding.Identity
		before   *verdict.Judged
		words    string
		enrolled string
		severity int64
	}{
		{"declared", ambientPod("istio"), nil, declaredWords, "declared", 73},
		{"declared for Cilium", ambientPod("cilium"), nil, declaredWords, "declared", 73},
		{"HBONE left the pod", ambientPod(""), hbone(1, noon), seenWords, "seen", 73},
		{"HBONE arrived", ambientPod(""), arriving(hbone(1, noon)), seenWords, "seen", 73},
		{"nothing is known", ambientPod(""), nil, "", "", 21},
		{"HBONE of other hosts", ambientPod(""), foreign(hbone(1, noon)), "", "", 21},
		{"HBONE that failed", ambientPod(""), failed(arriving(hbone(1, noon))), "", "", 21},
		{"TLS without a client certificate at its port", ambientPod(""), oneWayHBONE(arriving(hbone(1, noon))), "", "", 21},
		{"HBONE within the pod", ambientPod(""), onLoopback(hbone(1, noon)), "", "", 21},
		{"a sidecar that speaks HBONE", sidecar, hbone(1, noon), "", "", 73},
		{"another mesh", ambientPod(""), notAmbient(hbone(1, noon)), "", "", 73},
		{"a capture without local addresses", finding.Identity{}, unlocated(hbone(1, noon)), "", "", 21},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, in := range []bool{false, true} {
				r := newRig(t, finding.Config{Identity: c.id})
				if c.before != nil {
					r.e.Add(c.before)
				}
				j, how := plain(2, noon+10*second), "left"
				if in {
					j, how = arriving(plain(2, noon+10*second)), "arrived"
				}
				if c.id.UID == "" { // the capture has no pod of its own: j is between other hosts than the HBONE connection
					j.Source.Addr, j.Destination.Addr = netip.MustParseAddr("10.3.3.3"), netip.MustParseAddr("10.4.4.4")
				}
				r.forget() // c.before may break other rules
				r.e.Add(j)
				f := r.of(finding.DatasetFinding)
				if len(f) != 1 || f[0].text("rule.id") != "plaintext-edge" {
					t.Fatalf("findings: %v", f)
				}
				said := f[0].text("message")
				words := strings.ReplaceAll(c.words, "%s", how)
				if words == "" && strings.Contains(said, ";") || !strings.Contains(said, words) {
					t.Errorf("in %v: %s\nwant%s", in, said, words)
				}
				if f[0].text("meshtls.enrolled") != c.enrolled || f[0].number("event.severity") != c.severity {
					t.Errorf("in %v: enrolled %q, severity %d, want %q, %d", in, f[0].text("meshtls.enrolled"), f[0].number("event.severity"), c.enrolled, c.severity)
				}
			}
		})
	}
}

// TestEnrollmentSilencesNothing: enrollment removes no finding of a connection and lowers no
// severity, whatever the evidence of the enrollment.
func TestEnrollmentSilencesNothing(t *testing.T) {
	connections := map[string]func() *verdict.Judged{
		"plaintext":          func() *verdict.Judged { return plain(2, noon+10*second) },
		"plaintext arriving": func() *verdict.Judged { return arriving(plain(2, noon+10*second)) },
		"plaintext at the port of HBONE": func() *verdict.Judged {
			j := plain(2, noon+10*second)
			j.Destination.Port = 15008
			return j
		},
		"plaintext to the internet": func() *verdict.Judged {
			j := plain(2, noon+10*second)
			j.Destination.Addr = netip.MustParseAddr("203.0.113.9")
			return j
		},
		"one-way TLS": func() *verdict.Judged { return oneWay(2, noon+10*second) },
		"DNS": func() *verdict.Judged {
			j := talk(2, noon+10*second, verdict.Plaintext, "dns", 53)
			j.Class = "dns"
			return j
		},
	}
	severities := func(id finding.Identity, before, j *verdict.Judged) map[string]int64 {
		r := newRig(t, finding.Config{Identity: id})
		if before != nil {
			r.e.Add(before)
		}
		r.e.Add(j)
		got := map[string]int64{}
		for _, d := range r.of(finding.DatasetFinding) {
			got[d.text("rule.id")] = max(got[d.text("rule.id")], d.number("event.severity"))
		}
		return got
	}
	for name, make := range connections {
		without := severities(ambientPod(""), nil, make())
		for how, with := range map[string]map[string]int64{
			"declared": severities(ambientPod("istio"), nil, make()), "seen": severities(ambientPod(""), hbone(1, noon), make()),
		} {
			for rule, severity := range without {
				if with[rule] < severity {
					t.Errorf("%s, enrollment %s: %s has severity %d, and %d without", name, how, rule, with[rule], severity)
				}
			}
		}
	}
}
