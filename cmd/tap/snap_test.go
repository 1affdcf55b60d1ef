package main

import (
	"encoding/json"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
)

// TestTruncatedCapturesClaimNoMore truncates every packet of the generated connections to a snap length. The records of the truncated
// packets must claim nothing that the records of the whole packets do not claim.
func TestTruncatedCapturesClaimNoMore(t *testing.T) {
	norace(t)
	packets := conversations(t)
	whole, _ := records(t, packets, nil, false)
	weaker := map[string]int{}
	for _, snap := range []uint32{54, 59, 60, 64, 66, 80, 96, 128, 200, 256, 400, 512, 1024, 1400, 2000, 4096, 16384} {
		cut, _ := records(t, packets, pcapfilter.Program{{Op: 6, K: snap}}, false) // return snap
		if len(cut) != len(whole) {
			t.Fatalf("snap length %d: %d connections, want %d", snap, len(cut), len(whole))
		}
		for i := range whole {
			a, b := claimOf(t, whole[i]), claimOf(t, cut[i])
			if a != b {
				weaker[b.Verdict]++
			}
			switch {
			case b.Verdict != a.Verdict && b.Verdict != "unknown" && b.Verdict != "tls",
				b.Verdict == "tls" && a.Verdict == "plaintext",
				b.Auth != a.Auth && b.Auth != "unknown" && b.Auth != "",
				b.Outcome != a.Outcome && b.Outcome != "incomplete" && b.Outcome != "aborted" && b.Outcome != "":
				t.Errorf("snap length %d: %+v, of whole packets %+v\n%s\n%s", snap, b, a, cut[i], whole[i])
			}
		}
	}
	t.Logf("what is said of cut packets, where it is less: %v", weaker)
	if weaker["unknown"] == 0 || weaker["tls"] == 0 {
		t.Errorf("nothing was lost: %v", weaker)
	}
}

// claim has the claims of a record, without reasons.
type claim struct{ Verdict, Auth, Outcome string }

func claimOf(t *testing.T, record string) claim {
	t.Helper()
	var r struct {
		Meshtls struct {
			Verdict string
			TLS     struct {
				Auth    string `json:"client_auth"`
				Outcome string
			}
		}
	}
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		t.Fatal(err)
	}
	return claim{r.Meshtls.Verdict, r.Meshtls.TLS.Auth, r.Meshtls.TLS.Outcome}
}
