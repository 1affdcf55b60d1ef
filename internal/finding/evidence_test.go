package finding_test

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// TestEvidence: evidence is asked for once for each alert, with the identifier, the rule and the sentence of its record, and is in this record
// only.
func TestEvidence(t *testing.T) {
	var asked []finding.Alert
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Mesh: "istio", Evidence: func(a *finding.Alert) record.Evidence {
		asked = append(asked, *a)
		if len(asked) > 1 {
			return record.Evidence{} // none was stored
		}
		return record.Evidence{Name: "a.pcapng", SHA256: "0000000000000000000000000000000000000000000000000000000000000000", Length: 7}
	}})
	r.e.Tick(noon)
	r.e.Add(plain(1, noon+minute))
	r.e.Add(plain(2, noon+2*minute))
	r.e.Add(oneWay(3, noon+3*minute))
	r.e.Tick(noon + 21*minute)

	alerts, with := 0, 0
	for _, d := range r.docs {
		if d.text("meshtls.evidence.name") != "" {
			with++
		}
		if d.text("event.kind") != "alert" {
			continue
		}
		if alerts >= len(asked) {
			t.Fatalf("%d alerts, evidence was asked for %d", alerts+1, len(asked))
		}
		a := asked[alerts]
		if a.ID != d.text("event.id") || a.Rule != d.text("rule.id") || a.Message != d.text("message") || a.Connection == nil {
			t.Errorf("asked for %+v of %v", a, d)
		}
		alerts++
	}
	if alerts != len(asked) || alerts < 2 || with != 1 || len(r.docs) < 4 {
		t.Errorf("%d alerts, evidence was asked for %d, %d records have it", alerts, len(asked), with)
	}
}
