package finding_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestPlaintextKeepsItsEdge: if there are more edges than MaxEdges, edges without plaintext are folded
// into the aggregate edge to make room for plaintext edges. MaxEdges plaintext peers have a finding each;
// the others share one. Every connection is counted.
func TestPlaintextKeepsItsEdge(t *testing.T) {
	const most, more = 20, 5
	for name, filler := range map[string]func(id uint64, at int64) *verdict.Judged{
		"mutual TLS":        mutual,
		"living mutual TLS": func(id uint64, at int64) *verdict.Judged { return living(mutual(id, at)) },
		"not mutual":        func(id uint64, at int64) *verdict.Judged { return oneWay(id, at) },
		"unknown":           func(id uint64, at int64) *verdict.Judged { return talk(id, at, verdict.Unknown, "", 8443) },
	} {
		for _, expect := range []string{"", "0.0.0.0/0=mtls"} {
			t.Run(name+" "+expect, func(t *testing.T) {
				expectations, err := finding.ParseExpect(expect)
				if err != nil {
					t.Fatal(err)
				}
				r := newRig(t, finding.Config{MaxEdges: most, Expect: expectations, Announcements: -1})
				peer := func(j *verdict.Judged, n int) *verdict.Judged {
					j.PeerName, j.PeerNameBasis = fmt.Sprintf("peer-%03d", n), "sni"
					return j
				}
				id := uint64(0)
				add := func(kind func(uint64, int64) *verdict.Judged, n int) {
					id++
					r.e.Add(peer(kind(id, noon), n))
				}
				for n := range 3 * most {
					add(filler, n)
				}
				r.forget()
				for n := range most + more {
					add(plain, 1000+n)
				}
				opened := map[string]bool{}
				for _, d := range r.of(finding.DatasetFinding) {
					if d.text("rule.id") == "plaintext-edge" && d.text("meshtls.finding.state") == "open" {
						opened[d.text("meshtls.edge.key")] = true
					}
				}
				if len(opened) != most+1 || !opened["other"] {
					t.Errorf("%d findings opened, want one for each of %d peers and one for the others: %v", len(opened), most, opened)
				}
				s := r.e.Summary()
				counts, bytes := map[string]uint64{}, uint64(0)
				for _, e := range s.Edges {
					for _, seen := range e.Seen {
						counts[seen.Verdict] += seen.Connections
						bytes += seen.Bytes
					}
				}
				fillers := string(filler(0, noon).Verdict)
				if s.EdgesFolded != most || counts["plaintext"] != most+more || counts[fillers] != 3*most {
					t.Errorf("%d edges folded, connections %v", s.EdgesFolded, counts)
				}
				for n := range 3 * most { // each live connection ends, on its own edge or on the aggregate edge
					j := peer(filler(uint64(n+1), noon), n)
					j.Ended = true
					r.e.Add(j)
				}
				r.e.Flush(noon + 20*minute)
			})
		}
	}
}

// TestMadeUpPlaintextYields: many forged plaintext segments, each from a different invented address, do
// not take the edges of real peers. Plaintext of a real peer still has a finding of its own. If the
// segments belong to no connection, an edge that had mutual TLS is also remembered. If the segments
// follow a SYN that was answered, such an edge may be forgotten.
func TestMadeUpPlaintextYields(t *testing.T) {
	t.Run("segments only", func(t *testing.T) {
		madeUp(t, false, "plaintext-edge honest", "mtls-downgrade early", "mtls-downgrade mutual-3")
	})
	t.Run("after a SYN that was answered", func(t *testing.T) { madeUp(t, true, "plaintext-edge honest", "plaintext-edge early") })
}

// madeUp floods an engine with forged plaintext, and expects the findings of real peers.
func madeUp(t *testing.T, answered bool, wants ...string) {
	t.Helper()
	const most = 20
	forged := func(id uint64, at int64) *verdict.Judged {
		j := plain(id, at)
		j.Direction, j.PeerName, j.PeerNameBasis = verdict.DirectionIngress, "", ""
		j.Source.Addr, j.Destination.Addr = netip.AddrFrom4([4]byte{10, 9, byte(id >> 8), byte(id)}), j.Source.Addr
		j.Destination.Bytes, j.Destination.Packets, j.HTTP.Status = 0, 1, 0 // the only answer is an RST, or a SYN-ACK before it
		j.MissedStart = !answered
		return j
	}
	peer := func(j *verdict.Judged, name string) *verdict.Judged {
		j.PeerName, j.PeerNameBasis = name, "sni"
		return j
	}
	r := newRig(t, finding.Config{MaxEdges: most})
	id := uint64(0)
	flood := func() {
		for range 3 * most {
			id++
			r.e.Add(forged(id, noon))
		}
	}
	next := func() uint64 { id++; return id }
	r.e.Add(peer(mutual(next(), noon), "early"))
	flood()
	for n := range most / 2 {
		r.e.Add(peer(mutual(next(), noon), fmt.Sprintf("mutual-%d", n)))
	}
	flood()
	r.forget()
	r.e.Add(peer(plain(next(), noon+minute), "honest"))
	for _, name := range []string{"early", "mutual-3"} {
		j := peer(plain(next(), noon+minute), name)
		j.Destination.Port = 443
		r.e.Add(j)
	}
	flood()
	found := map[string]bool{}
	for _, d := range r.of(finding.DatasetFinding) {
		if d.text("meshtls.finding.state") == "open" {
			found[d.text("rule.id")+" "+d.text("meshtls.edge.to")] = true
		}
	}
	for _, want := range wants {
		if !found[want] {
			t.Errorf("no finding %q among %v", want, found)
		}
	}
	r.e.Flush(noon + 20*minute)
}

// TestFoldedEdgeMoves: if a connection of a folded edge becomes worse, the connection gets an edge of its
// own again.
func TestFoldedEdgeMoves(t *testing.T) {
	r := newRig(t, finding.Config{MaxEdges: 1})
	r.e.Add(living(mutual(1, noon)))
	far := plain(2, noon)
	far.PeerName = "far"
	r.e.Add(far) // folds the first edge
	turned := plain(1, noon)
	turned.PeerName = "turned"
	r.e.Add(turned)
	var keys []string
	for _, e := range r.e.Summary().Edges {
		for _, seen := range e.Seen {
			keys = append(keys, fmt.Sprint(e.Key, " ", seen.Verdict, " ", seen.Connections))
		}
	}
	if len(keys) != 2 || !slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "far") && strings.HasSuffix(k, "plaintext 1") }) ||
		!slices.Contains(keys, "other plaintext 1") {
		t.Errorf("edges %q", keys)
	}
	// A connection to which no rule applies causes no folding.
	local := plain(3, noon)
	local.Scope, local.PeerName = verdict.ScopePod, "local"
	r.e.Add(local)
	if s := r.e.Summary(); s.EdgesFolded != 1 {
		t.Errorf("%d edges folded", s.EdgesFolded)
	}
}
