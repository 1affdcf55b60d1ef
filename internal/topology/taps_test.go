package topology_test

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// TestTaps: the runs of a pod add up, and a capture is a tap of its own.
func TestTaps(t *testing.T) {
	web := newPod("shop", "web", "web-0", "10.0.0.1")
	g := topology.New(topology.Inventory{})
	g.Add(web.tap("started", 5, 3))
	web.run = "second"
	g.Add(web.tap("started", 2, 4))
	capture := &pod{run: "a.pcap", sequence: map[string]uint64{}}
	g.Add(capture.tap("stopped", 9, 0))
	taps := g.Taps()
	if len(taps) != 2 || taps[0].Name != "a.pcap" || !taps[0].Capture || taps[1].Name != "shop/web-0" || taps[1].Capture {
		t.Fatalf("%+v", taps)
	}
	if x := taps[1]; x.Packets != 200 || x.Dropped != 7 || !x.First.Equal(at(2).Std()) || !x.Last.Equal(at(5).Std()) {
		t.Errorf("%+v", x)
	}
}
