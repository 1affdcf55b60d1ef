package finding_test

import (
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// postures returns the number of postures by action since the last call, and forgets them.
func (r *rig) postures() map[string]int {
	n := map[string]int{}
	for _, d := range r.of(finding.DatasetPosture) {
		n[d.text("event.action")]++
	}
	r.forget()
	return n
}

// TestDeferredPostures: of 300 new edges, 20 have a posture at once, 200 at the end of the first window, though that was
// not whole, and the others at the end of the next one. An edge without a posture is never "worsened".
func TestDeferredPostures(t *testing.T) {
	r := newRig(t, finding.Config{Interval: time.Hour, Mesh: "istio"})
	for n := range uint64(300) {
		j := invented(n, noon+minute)
		if n < 280 {
			j = mutual(n, noon+minute)
			j.PeerName = invented(n, 0).PeerName
		}
		r.e.Add(living(j))
	}
	check := func(when string, action string, want int) {
		t.Helper()
		if got := r.postures(); got[action] != want || len(got) > 1 {
			t.Errorf("%s: postures %v, want %d %s", when, got, want, action)
		}
	}
	check("at once", "new", 20)

	worse := invented(250, noon+2*minute) // the edge of 250 was mutual TLS, and its posture waits
	worse.ID, worse.Destination.Port = 1000, 443
	r.e.Add(living(worse))
	check("worse", "new", 0)

	r.e.Tick(noon + 10*minute)
	first := r.of(finding.DatasetPosture)
	for _, d := range first[:21] { // the worst come first: the plaintext of 20 names, and of the edge that is worse
		if d.text("meshtls.verdict") != "plaintext" {
			t.Errorf("a posture with the verdict %q precedes one of plaintext", d.text("meshtls.verdict"))
		}
	}
	check("first window", "new", 200)
	r.e.Tick(noon + 20*minute)
	check("second window", "new", 80)
	r.e.Tick(noon + 60*minute)
	check("hour", "snapshot", 300)
}

// TestDeferredWorse: edges that become worse beyond the limit are published at the end of the window.
func TestDeferredWorse(t *testing.T) {
	r := newRig(t, finding.Config{Interval: time.Hour, Announcements: 2})
	r.e.Tick(noon)
	for n := range uint64(6) {
		j := mutual(n, noon+minute)
		j.PeerName, j.Mesh = invented(n, 0).PeerName, ""
		r.e.Add(j)
	}
	r.e.Tick(noon + 10*minute)
	r.forget()
	for n := range uint64(6) {
		j := invented(n, noon+11*minute)
		j.ID, j.Destination.Port = 100+n, 443
		r.e.Add(j)
	}
	if got := r.postures(); got["worsened"] != 2 {
		t.Errorf("at once: %v", got)
	}
	r.e.Tick(noon + 20*minute)
	if got := r.postures(); got["worsened"] != 4 || len(got) > 1 {
		t.Errorf("at the end of the window: %v", got)
	}
}
