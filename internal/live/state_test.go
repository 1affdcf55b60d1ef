package live

import (
	"io"
	"log/slog"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// TestStatesOmitInterfacesThatAreGone: an interface that is not open yet has a problem. An interface that is gone has no problem
// and is not among the states.
func TestStatesOmitInterfacesThatAreGone(t *testing.T) {
	c := New(Config{Interfaces: []string{"eth0", "net1"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	c.Attach(pipeline.New(pipeline.Config{Engine: finding.Config{Window: 1}}))
	gone := c.Interfaces()[1]
	gone.leave()
	states := c.States()
	if len(states) != 1 || states[0].Name != "eth0" || states[0].Captured || states[0].Error == "" {
		t.Errorf("%+v", states)
	}
	if err := gone.Problem(); err != nil {
		t.Errorf("gone, and a problem: %v", err)
	}
}
