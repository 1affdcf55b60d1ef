package tlslab_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

var update = flag.Bool("update", false, "rewrite testdata/scores.tsv")

// floor is the least share of correct judgements. The share counts only connections whose truth can be known from the
// packets.
const floor = 0.97

// result classifies a judgement by comparison with the truth.
type result string

const (
	right   result = "right"
	abstain result = "abstain" // the judgement claims less than the truth
	wrong   result = "wrong"
)

// compare compares a judgement with the truth, and returns the result and the judgement in words.
func compare(r row, j *verdict.Judged) (result, string) {
	x := j.TLS
	if x == nil {
		x = &verdict.TLSInfo{}
	}
	auth, mutual := x.ClientAuth, j.Verdict == verdict.MTLS
	said := fmt.Sprintf("%s %s/%s %s", j.Verdict, auth, x.ClientAuthBasis, x.Outcome)
	truth, ok := r["client_auth"], r["outcome"] == "established"
	knows := auth == verdict.AuthPresented || auth == verdict.AuthDeclined || auth == verdict.AuthNotRequested
	switch {
	case mutual && (truth != verdict.AuthPresented || !ok):
		return wrong, said
	case knows && truth != "" && auth != truth, knows && truth == "" && auth == verdict.AuthPresented:
		return wrong, said
	case ok && j.Verdict == verdict.Failed, !ok && x.Outcome == verdict.OutcomeEstablished:
		return wrong, said
	case r["version"] == "1.3" && x.ClientAuthBasis == verdict.BasisObserved, (r["resumed"] == "yes") != x.Resumed && x.Outcome == verdict.OutcomeEstablished:
		return wrong, said
	case r["resumed"] == "yes" && knows && x.ClientAuthBasis != verdict.BasisInherited:
		return wrong, said
	case x.ClientChainBytes > 0 && r["chain_bytes"] != "" && !chainFits(r["chain_bytes"], x.ClientChainBytes):
		return wrong, fmt.Sprintf("%s chain %d, truth %s", said, x.ClientChainBytes, r["chain_bytes"])
	case x.ClientKeyHint != "" && x.ClientKeyHint != r["key"]:
		return wrong, said + " key " + x.ClientKeyHint
	case truth != "" && auth != truth, ok && truth == verdict.AuthPresented && !mutual, !ok && j.Verdict != verdict.Failed:
		return abstain, said
	}
	return right, said
}

// chainFits reports whether a judged size of a chain fits the true one. Each certificate after the first adds up to 5
// bytes to the judged size, and their number is unknown. Therefore the judged size may be up to 15 bytes larger.
func chainFits(truth string, said int) bool {
	var n int
	if _, err := fmt.Sscan(truth, &n); err != nil {
		return false
	}
	return said >= n && said <= n+5*3
}

// TestScore judges every capture of the lab. No judgement may be wrong, and testdata/scores.tsv must have a reason
// for each abstention.
func TestScore(t *testing.T) {
	files, rows := manifest(t)

	var lines []string
	count := map[result]int{}
	judgeable := map[result]int{}
	byStack := map[string]map[result]int{}
	for _, file := range files {
		got := judge(load(t, capturePath(file)))
		if len(got) != len(rows[file]) {
			t.Errorf("%s: %d connections, the manifest has %d", file, len(got), len(rows[file]))
			continue
		}
		for i, r := range rows[file] {
			how, said := compare(r, &got[i])
			line := fmt.Sprintf("%s\t%s\t%s\t%s %s\t%s\t%s", file, r["conn"], how, r["client_auth"], r["outcome"], said, strings.Join(got[i].Reasons, ","))
			lines = append(lines, line)
			count[how]++
			stack := strings.TrimRight(r["client"], ".0123456789")
			if byStack[stack] == nil {
				byStack[stack] = map[result]int{}
			}
			byStack[stack][how]++
			if !strings.HasPrefix(r["note"], "may abstain") || how == wrong {
				judgeable[how]++
			}
			switch how {
			case wrong:
				t.Errorf("%s", line)
			case abstain:
				if len(got[i].Reasons) == 0 {
					t.Errorf("abstained without a reason: %s", line)
				}
				t.Log(line)
			case right:
			}
		}
	}

	names := make([]string, 0, len(byStack))
	for name := range byStack {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Logf("%-40s %3d right %3d abstained %3d wrong", name, byStack[name][right], byStack[name][abstain], byStack[name][wrong])
	}

	total := judgeable[right] + judgeable[abstain] + judgeable[wrong]
	share := float64(judgeable[right]) / float64(max(total, 1))
	t.Logf("all: %d right, %d abstained, %d wrong; judgeable: %d of %d right, %.3f", count[right], count[abstain], count[wrong], judgeable[right], total, share)
	if share < floor {
		t.Errorf("%.3f of the judgeable connections are right, want %.2f", share, floor)
	}

	golden(t, "testdata/scores.tsv", strings.Join(append([]string{"file\tconn\tresult\ttruth\tsaid\treasons"}, lines...), "\n")+"\n")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	old := strings.Split(string(want), "\n")
	for line := range strings.SplitSeq(got, "\n") {
		if !slices.Contains(old, line) {
			t.Errorf("new: %s", line)
		}
	}
	t.Errorf("%s differs: rewrite it with -update", path)
}
