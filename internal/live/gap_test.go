package live

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// TestOpenedConnections: counts that are missing or malformed count as 0.
func TestOpenedConnections(t *testing.T) {
	for list, want := range map[string]uint64{
		"": 0,
		"Ip: Forwarding\nIp: 1\nTcp: RtoMax ActiveOpens PassiveOpens CurrEstab\nTcp: 120000 7 2 5\nUdp: InDatagrams\nUdp: 9\n": 9,
		"Tcp: ActiveOpens PassiveOpens\n":               0, // no values
		"Tcp: ActiveOpens PassiveOpens\nTcp: 3\n":       3, // one value is missing
		"Tcp: ActiveOpens PassiveOpens\nTcp: x -1\n":    0,
		"Tcp: PassiveOpens ActiveOpens New\nTcp: 1 2 9": 3, // in any order
	} {
		if got := openedConnections(list); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
}

// TestGap: the time at which a network was created is unknown if the query itself created the network's file. The start
// of the capture is unknown until all interfaces were captured. It does not change when an interface is opened again.
func TestGap(t *testing.T) {
	if at := networkCreated(time.Unix(1, 0)); !at.IsZero() {
		t.Errorf("a network was created at %v, in the future", at)
	}
	g := gap{connections: 3}
	if r := g.record(); r.Network != 0 || r.Captured != 0 || r.Connections != 3 {
		t.Errorf("%+v", r)
	}
	c := New(Config{Interfaces: []string{"eth0", "lo"}, OwnConnections: func() uint64 { return 0 }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	c.Attach(pipeline.New(pipeline.Config{Engine: finding.Config{Window: time.Hour}}))
	for k, i := range c.Interfaces() {
		i.mu.Lock()
		i.ended = true // the state of an interface that was opened
		i.mu.Unlock()
		now := time.Unix(int64(100+k), 0)
		c.countBefore(now)
		if got := c.gap.captured; (k == 1) != got.Equal(now) {
			t.Errorf("with %d of 2 interfaces open all are captured since %v", k+1, got)
		}
	}
	c.Gap()
	c.countBefore(time.Unix(200, 0))
	if got := time.Unix(0, c.AllCapturedSince()); !got.Equal(time.Unix(101, 0)) {
		t.Errorf("an interface that was opened again moved the start to %v", got)
	}
}
