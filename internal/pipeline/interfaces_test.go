package pipeline_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// TestDirectionsOnTwoInterfaces checks that the directions of a connection are not joined if each was captured on an interface of its own.
func TestDirectionsOnTwoInterfaces(t *testing.T) {
	mutual, _ := handshakes(t)
	for version, talk := range mutual {
		for _, joins := range []bool{true, false} {
			packets := packetsOf(joined(talk), capturetest.Options{})
			for i, f := range packets {
				if !joins && bytes.Equal(f.Data[26:30], packets[0].Data[26:30]) { // the client is the source
					packets[i].Interface = 1
				}
			}
			x := tell(t, records(t, packets, nil))
			if joins && (len(x) != 1 || x[0].MeshTLS.Verdict != "mtls") {
				t.Errorf("%s, one interface: %+v", version, x)
			}
			if !joins && (len(x) != 2 || !slices.Contains(x[0].MeshTLS.Reasons, "one_direction_only") || !slices.Contains(x[1].MeshTLS.Reasons, "one_direction_only")) {
				t.Errorf("%s, two interfaces: %+v", version, x)
			}
		}
	}
}
