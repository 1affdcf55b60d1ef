package topology_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// everything returns all results of a graph as JSON.
func everything(t *testing.T, g *topology.Graph) string {
	t.Helper()
	out, err := json.MarshalIndent([]any{g.Answer(), g.Edges(), g.Findings(), g.Unknown(), g.Untapped()}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// randomRecords returns records of several taps, and whether one of them reports plaintext that is not retracted.
func randomRecords(r *rand.Rand) (records []*record.Record, plaintext bool) {
	var pods []*pod
	for i := range 2 + r.IntN(4) {
		pods = append(pods, newPod("ns", fmt.Sprintf("w%d", i/2), fmt.Sprintf("p%d", i), fmt.Sprintf("10.0.0.%d", i+1)))
	}
	verdicts := []string{"mtls", "tls", "plaintext", "encrypted", "failed", "unknown"}
	for range 1 + r.IntN(30) {
		p := pods[r.IntN(len(pods))]
		from := r.IntN(1000)
		l := link{
			direction: []string{"egress", "ingress"}[r.IntN(2)], peer: fmt.Sprintf("10.0.0.%d", 1+r.IntN(8)), port: uint16(80 + r.IntN(2)), //nolint:gosec // small
			verdict: verdicts[r.IntN(len(verdicts))], hash: strings.Repeat(fmt.Sprintf("%02x", r.IntN(20)), 16), from: from, to: from + r.IntN(100),
			name: []string{"", "", "a.example", "\x1b[31mred\u202e"}[r.IntN(4)],
		}
		switch r.IntN(4) {
		case 0:
			records = append(records, p.flow(l))
			plaintext = plaintext || l.verdict == "plaintext"
		case 1:
			n := record.ByVerdict{MTLS: uint64(r.IntN(3)), Plaintext: uint64(r.IntN(2)), Unknown: 1} //nolint:gosec // small
			l.from = 0                                                                               // all in one interval: the latest counts
			records = append(records, p.posture([]string{"new", "snapshot", "improved"}[r.IntN(3)], l, n, l.hash))
		case 2:
			records = append(records, p.finding([]string{"plaintext-edge", "tls-not-mutual"}[r.IntN(2)], []string{"open", "resolved"}[r.IntN(2)], uint64(r.IntN(3)), l)) //nolint:gosec // small
		default:
			records = append(records, p.tap("heartbeat", l.to, uint64(r.IntN(2)))) //nolint:gosec // small
		}
	}
	return records, plaintext
}

// TestOrder: the results do not depend on the order of the records, nor on repeated ones.
func TestOrder(t *testing.T) {
	for seed := range uint64(300) {
		records, _ := randomRecords(rand.New(rand.NewPCG(seed, 7)))
		inv := topology.Inventory{}
		if seed%2 == 0 {
			inv.Pods = []topology.Pod{podOf(newPod("ns", "w9", "p9", "10.0.0.8"), false), podOf(newPod("ns", "w0", "p0", "10.0.0.1"), true)}
		}
		want := everything(t, graphOf(inv, 0, records...))
		if got := everything(t, graphOf(inv, seed+1, append(records, records...)...)); got != want {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
}

// TestPlaintextStays: plaintext of a flow is in an edge, whatever other records there are.
func TestPlaintextStays(t *testing.T) {
	found := 0
	for seed := range uint64(300) {
		records, plaintext := randomRecords(rand.New(rand.NewPCG(seed, 9)))
		if !plaintext {
			continue
		}
		found++
		g := graphOf(topology.Inventory{}, seed, records...)
		if g.Tally().By.Plaintext == 0 || !strings.Contains(g.Answer(), "carried plaintext") {
			t.Errorf("seed %d: %s", seed, g.Answer())
		}
	}
	if found < 50 {
		t.Errorf("only %d cases with plaintext", found)
	}
}

// TestHostile: text from records cannot control a terminal, and has a bound.
func TestHostile(t *testing.T) {
	p := newPod("ns", "w", "p", "10.0.0.1")
	long := strings.Repeat("x", 100000) + "\x1b[2J"
	r := p.finding("rule\x1b", "open\x07", 1, link{direction: "egress", peer: "10.0.0.2", port: 80, verdict: "plaintext", name: "a\x1b[31m\u202e\xff", from: 1, to: 2})
	r.Message, r.Rule.Reference, r.Meshtls.Reasons = long, "javascript:alert(1)", []string{long}
	r.Kubernetes.Namespace, r.Meshtls.Mesh, r.Meshtls.Verdict = "n\x00s", "m\u200b", "plain\x1btext"
	out := everything(t, graphOf(topology.Inventory{}, 1, r))
	for _, bad := range []string{`\u001b`, `\u0007`, `\u202e`, "\u202e", `\u0000`, "\u200b", `\ufffd`, "javascript"} {
		if strings.Contains(out, bad) {
			t.Errorf("%q is in %s", bad, out[:min(len(out), 2000)])
		}
	}
	if len(out) > 12000 {
		t.Errorf("%d bytes", len(out))
	}
}
