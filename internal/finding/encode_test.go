package finding_test

import (
	"encoding/json"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/ocsf"
)

// TestEncode: another format changes only Record.Value. Identifiers and keys are those of the record's own format.
func TestEncode(t *testing.T) {
	run := func(encode finding.Encoder) (out []finding.Record) {
		e := finding.New(finding.Config{
			Tap: pod.UID, Identity: pod, Findings: true, Posture: true, Flows: true, Encode: encode,
			Emit: func(r finding.Record) { out = append(out, r) },
		})
		e.Started(noon, finding.SelfTest{})
		e.Add(plain(1, noon+minute))
		e.Add(everything())
		e.Tick(noon + 11*minute)
		e.Stopped(noon+12*minute, "SIGTERM")
		return out
	}
	own, other := run(nil), run(ocsf.Append)
	if len(own) != len(other) || len(own) < 6 {
		t.Fatalf("%d and %d records", len(own), len(other))
	}
	for i, a := range own {
		b := other[i]
		var event struct {
			Metadata struct {
				UID     string
				Dataset string `json:"log_name"`
			}
		}
		if err := json.Unmarshal(b.Value, &event); err != nil || event.Metadata.UID != a.ID || event.Metadata.Dataset != a.Dataset {
			t.Errorf("%v: %+v of %s", err, event, b.Value)
		}
		a.Value, b.Value = nil, nil
		if a.ID != b.ID || a.Key != b.Key || a.Dataset != b.Dataset || a.Rule != b.Rule || a.Time != b.Time {
			t.Errorf("%+v\nand %+v", a, b)
		}
	}
}
