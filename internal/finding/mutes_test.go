package finding_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestNarrowMuteAndOtherRules: one cause has one alert, also where the rule that covers another is muted for some connections only: for
// these the other rule reports, and for the rest it does not.
func TestNarrowMuteAndOtherRules(t *testing.T) {
	const (
		edge, accepted, secret, downgrade = "plaintext-edge", "plaintext-accepted", "credentials-in-clear", "mtls-downgrade"
		tail                              = ",until=2026-12-31,reason=x"
	)
	proven := func(addr string) *verdict.Judged {
		j := mutual(1, noon)
		j.Mesh, j.PeerName, j.PeerNameBasis, j.Destination.Port = "", "httpbin.shop", "sni", 80
		j.Destination.Addr = netip.MustParseAddr(addr)
		return j
	}
	with := func(j *verdict.Judged, id uint64) *verdict.Judged {
		j.ID, j.Start, j.Last = id, noon+int64(id)*second, noon+int64(id)*second+second
		return j
	}
	credential := func(id uint64) *verdict.Judged { return secretive(id, noon+int64(id)*second) }
	for name, c := range map[string]struct {
		mute  string
		conns []*verdict.Judged
		want  []string
	}{
		"a downgrade is muted at its peer": {"rule=mtls-downgrade,peer=10.2.2.2" + tail, []*verdict.Judged{proven("10.2.2.2"), at(2, noon+minute, "10.2.2.2")},
			[]string{edge + " open alert x1", accepted + " open event x1"}},
		"a downgrade is muted elsewhere": {"rule=mtls-downgrade,peer=10.2.2.3" + tail, []*verdict.Judged{proven("10.2.2.2"), at(2, noon+minute, "10.2.2.2")},
			[]string{downgrade + " open alert x1"}},
		"of two downgrades one is muted": {"rule=mtls-downgrade,peer=10.2.2.3" + tail,
			[]*verdict.Judged{proven("10.2.2.2"), with(proven("10.2.2.3"), 2), at(3, noon+3*second, "10.2.2.3"), at(4, noon+4*second, "10.2.2.2")},
			[]string{edge + " open alert x1", accepted + " open event x1", downgrade + " open alert x2"}},
		"credentials are muted at this port": {"rule=credentials-in-clear,port=80" + tail, []*verdict.Judged{credential(1)}, []string{edge + " open alert x1"}},
		"credentials are muted at another":   {"rule=credentials-in-clear,port=81" + tail, []*verdict.Judged{credential(1)}, []string{edge + " open event x1", secret + " open alert x1"}},
		"plaintext is muted at this port":    {"rule=plaintext-edge,port=80" + tail, []*verdict.Judged{credential(1)}, []string{secret + " open alert x1"}},
		"both are muted, the pod is not":     {"rule=plaintext-edge,port=80" + tail + ";rule=credentials-in-clear,peer=10.1.1.2" + tail, []*verdict.Judged{credential(1)}, []string{secret + " open alert x1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, finding.Config{Expect: expects(t, "0.0.0.0/0=mtls")})
			r.e.Mute(mutes(t, c.mute))
			for _, j := range c.conns {
				r.e.Add(j)
			}
			equal(t, r.outcomes(), c.want)
		})
	}

	// A mute that is set during the connections.
	r := newRig(t, finding.Config{Expect: expects(t, "0.0.0.0/0=mtls")})
	r.e.Add(proven("10.2.2.2"))
	r.e.Add(living(at(2, noon+minute, "10.2.2.2")))
	r.e.Mute(mutes(t, "rule=mtls-downgrade,peer=10.2.2.0/24"+tail))
	equal(t, r.outcomes(), []string{downgrade + " open alert x1", downgrade + " withdrawn event x1", edge + " open alert x1", accepted + " open event x1"})
}

// TestNarrowMuteWhenRulesApplyAnew: when a mesh is first seen, the live connections of an edge break tls-not-mutual together. A mute for the
// peer of the latest one does not hide those to other peers.
func TestNarrowMuteWhenRulesApplyAnew(t *testing.T) {
	for last, want := range map[string][]string{
		"10.2.2.3": {"tls-not-mutual open alert x2"}, // the connection to 10.2.2.3 is not muted
		"10.2.2.2": {"tls-not-mutual open alert x2"}, // both are, but the engine does not know the peers of connections before the latest
	} {
		r := newRig(t, finding.Config{})
		r.e.Mute(mutes(t, "rule=tls-not-mutual,peer=10.2.2.2,until=2026-12-31,reason=x"))
		for id, addr := range []string{last, "10.2.2.2"} {
			j := oneWay(uint64(id), noon+int64(id)*second)
			j.Destination.Addr = netip.MustParseAddr(addr)
			r.e.Add(living(j))
		}
		seen := mutual(9, noon+minute)
		seen.PeerName, seen.PeerNameBasis = "other.shop", "sni"
		r.e.Add(seen)
		equal(t, r.outcomes(), want)
	}
}

// TestHeartbeatsNameMutes: a heartbeat has each mute that has not ended, whether it ends soon, and how many open findings it hides.
func TestHeartbeatsNameMutes(t *testing.T) {
	r := newRig(t, finding.Config{Heartbeat: time.Minute})
	list := mutes(t, "rule=plaintext-edge,port=80,until=2026-12-01,reason=soon;rule=plaintext-edge,until=2026-12-02,reason=later;rule=tls-version-weak,until=2026-11-30,reason=x;cipher-weak")
	list[0].Namespace = true
	r.e.Mute(list)
	r.e.Tick(noon)
	r.e.Add(plain(1, noon+second))
	other := plain(2, noon+2*second)
	other.Destination.Port, other.PeerName = 8080, "other.shop"
	r.e.Add(other)
	other = plain(3, noon+2*second)
	other.Destination.Port, other.PeerName = 8081, "third.shop"
	r.e.Add(other)
	r.e.Tick(noon + minute)
	taps := r.of(finding.DatasetTap)
	var got []string
	for _, m := range taps[len(taps)-1].at("meshtls.tap.mutes").([]any) {
		d := doc(m.(map[string]any))
		line := d.text("rule") + " " + d.text("until") + " " + d.text("reason")
		for _, flag := range []string{"ends_soon", "namespace"} {
			if d.at(flag) == true {
				line += " " + flag
			}
		}
		got = append(got, line+" x"+string(rune('0'+d.number("findings"))))
	}
	equal(t, got, []string{
		"plaintext-edge 2026-12-01 soon namespace x1", "plaintext-edge 2026-12-02 later x2", "tls-version-weak 2026-11-30 x ends_soon x0", "cipher-weak   x0",
	})
	coverage := taps[len(taps)-1]
	if m, n := coverage.at("meshtls.coverage.muted").([]any), coverage.at("meshtls.coverage.namespace.mute").([]any); !slices.Equal(m, []any{"plaintext-edge", "tls-version-weak", "cipher-weak"}) || !slices.Equal(n, []any{"plaintext-edge"}) {
		t.Errorf("muted %v, by the namespace %v", m, n)
	}
	equal(t, r.outcomes(), nil)
}

// TestMuteOfTapBlind: a mute of tap-blind withdraws its finding; when the mute ends, the finding opens with an alert.
func TestMuteOfTapBlind(t *testing.T) {
	r, s := eyes(t, finding.Config{Window: 10 * time.Minute})
	midnight := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC).UnixNano()
	r.e.Started(noon, finding.SelfTest{})
	s.set(noon, "eth0", false)
	r.e.Tick(noon + 6*second)
	r.e.Mute(mutes(t, "rule=tap-blind,until=2026-11-24,reason=the CNI is replaced"))
	r.e.Tick(noon + 30*minute)
	equal(t, r.blindStates(), []string{"open", "withdrawn"})
	if taps := r.of(finding.DatasetTap); taps[len(taps)-1].text("event.action") != "started" {
		t.Errorf("the last record is %v", taps[len(taps)-1])
	}
	r.e.Tick(midnight)
	equal(t, r.blindStates(), []string{"open", "withdrawn", "open"})
	if docs := r.of(finding.DatasetFinding); docs[1].text("event.reason") != "muted" || docs[2].text("event.kind") != "alert" {
		t.Errorf("findings %v", docs)
	}
	s.set(midnight+minute, "eth0", true)
	r.e.Tick(midnight + minute)
	equal(t, r.blindStates(), []string{"open", "withdrawn", "open", "resolved"})
}

// TestMutedFindingOfFoldedEdge: if the edges of a muted finding and of one without a record are folded into one, its connections stay in
// the finding that counts others, and the muted ones do not hide them.
func TestMutedFindingOfFoldedEdge(t *testing.T) {
	r := newRig(t, finding.Config{MaxEdges: 3, Announcements: 1, Interval: 2 * time.Hour})
	r.e.Mute(mutes(t, "rule=plaintext-edge,peer=muted,until=2026-12-31,reason=x"))
	r.e.Tick(noon)
	named := func(id uint64, name string) *verdict.Judged {
		j := plain(id, noon+int64(id)*second)
		j.PeerName = name
		return j
	}
	for id, name := range []string{"first", "second", "muted"} {
		r.e.Add(named(uint64(id), name))
	}
	equal(t, r.outcomes(), []string{"plaintext-edge open alert x1", "plaintext-edge open alert x1"}) // of the first, and the one that counts others
	r.forget()
	r.e.Add(named(21*60, "first"))
	for id := range uint64(2) { // their edges replace those of "second" and "muted"
		j := mutual(100+id, noon+21*minute+10*second)
		j.PeerName = "m" + string(rune('0'+id))
		r.e.Add(j)
	}
	r.e.Tick(noon + 40*minute)
	for _, d := range r.of(finding.DatasetFinding) {
		if d.text("event.action") == "resolved" {
			t.Errorf("%s", d.text("message"))
		}
	}
	r.forget()
	r.e.Mute(mutes(t, "plaintext-edge"))
	equal(t, r.outcomes(), []string{"plaintext-edge withdrawn event x2", "plaintext-edge withdrawn event x1"})
}
