package finding_test

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// TestRecordAfterPanic: if a panic leaves a record unfinished, the next record contains nothing of it.
// The pipeline recovers from such panics.
func TestRecordAfterPanic(t *testing.T) {
	panics := 0
	for failing := 1; failing <= 8; failing++ { // number of the call of Interfaces that panics
		call := 0
		states := []finding.InterfaceState{{Name: "eth0", Since: noon, Error: "operation not permitted"}}
		r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Interfaces: func() []finding.InterfaceState {
			if call++; call == failing { // Interfaces panics once
				panic("no interfaces")
			}
			return states
		}})
		func() {
			defer func() {
				if recover() != nil {
					panics++
				}
			}()
			r.e.Lost(noon, "eth0", "operation not permitted")
			r.e.Tick(noon + 6*second)
		}()
		call = failing
		r.e.Checked(noon + 7*second)
		last := r.docs[len(r.docs)-1]
		if last.text("event.action") != "check" || last.at("rule") != nil || last.at("meshtls.finding") != nil {
			t.Errorf("call %d fails: the next record has rule %v and finding %v", failing, last.at("rule"), last.at("meshtls.finding"))
		}
	}
	if panics < 3 {
		t.Errorf("%d panics: the tap-blind finding asks for the interfaces too", panics)
	}
}
