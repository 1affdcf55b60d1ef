package finding_test

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// TestFallbackOfFoldedEdge: an edge that was folded, because there were too many, and has an entry of its own again, remembers that its
// peer used a post-quantum group.
func TestFallbackOfFoldedEdge(t *testing.T) {
	r := newRig(t, finding.Config{MaxEdges: 1})
	r.e.Tick(noon)
	hybrid := mutual(1, noon)
	hybrid.TLS.Curve, hybrid.TLS.KeyShare = "X25519MLKEM768", "X25519MLKEM768"
	r.e.Add(hybrid)
	program := mutual(4, noon) // another program in the pod, which always was classical
	program.TLS.ClientShape = "another"
	r.e.Add(program)
	far := plain(2, noon)
	far.PeerName = "far"
	r.e.Add(far) // folds the first edge
	r.e.Tick(noon + 20*minute)
	program.ID, program.Start, program.Last = 5, noon+21*minute, noon+21*minute
	r.e.Add(program) // replaces the second edge
	if got := r.findings(); slices.Contains(got, "key-exchange-downgrade open 47 x1") {
		t.Errorf("findings %q of a client that has not fallen back", got)
	}
	r.e.Add(mutual(3, noon+22*minute))
	if got := r.findings(); !slices.Contains(got, "key-exchange-downgrade open 47 x1") {
		t.Errorf("findings %q", got)
	}
}
