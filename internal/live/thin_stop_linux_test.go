package live

import (
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// busyOn adds packets of a busy connection on an interface. The connection may be thinned, because the pipeline
// excludes all connections.
func busyOn(p *pipeline.Pipeline, iface uint16) {
	for i := range 100 {
		packet := []byte{
			0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
			0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
		}
		p.Add(flow.Packet{Time: int64(i), Data: packet, Length: len(packet), Link: wire.LinkRaw, Interface: iface})
	}
}

// addLoopback adds the loopback interface to x once more.
func addLoopback(t *testing.T, x *Capture) {
	t.Helper()
	h, err := afpacket.Open(afpacket.Config{Interface: Loopback, RingBytes: 1 << 20})
	if err != nil {
		absent(t, "lo cannot be opened: %v", err)
	}
	t.Cleanup(func() { h.Close() })
	i := &Interface{capture: x, name: Loopback, index: uint16(len(x.interfaces)), log: x.log, handle: h}
	i.filters[0] = tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	x.interfaces = append(x.interfaces, i)
}

// TestThinAcrossTicks: connections stay chosen when a tick follows a block, even if the tick was due before the block and had to
// wait for the lock. So the times of the two choices do not look like a clock that was set back.
func TestThinAcrossTicks(t *testing.T) {
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	p := pipeline.New(pipeline.Config{Table: flow.Config{Exclude: func(*flow.Conn) bool { return true }}, Engine: finding.Config{Window: time.Hour}})
	x := &Capture{pipeline: p, log: silent, thinner: pipeline.Thinner{Most: pipeline.MaxThinned}, nextCheck: time.Now().Add(time.Hour)}
	addLoopback(t, x)
	choose := func() { p.Do(func(l *pipeline.Locked) { x.thin(l, time.Now()) }) }

	choose()
	busyOn(p, 0)
	time.Sleep(pipeline.ThinEvery)
	ticked, held := make(chan struct{}), make(chan struct{})
	p.Do(func(l *pipeline.Locked) {
		go func() {
			close(held)
			p.Do(x.Tick) // waits for the lock
			close(ticked)
		}()
		<-held
		x.thin(l, time.Now()) // as after a block
	})
	<-ticked
	if n, changes := x.interfaces[0].Thinning(); n != 1 || changes != 1 {
		t.Errorf("%d connections thinned after %d changes of the filter, want 1 after 1", n, changes)
	}
}

// TestThinStops: one interface accepts no filter that thins. So no further connections are chosen, and the other interface must not
// keep the last choice.
func TestThinStops(t *testing.T) {
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	p := pipeline.New(pipeline.Config{Table: flow.Config{Exclude: func(*flow.Conn) bool { return true }}, Engine: finding.Config{Window: time.Hour}})
	x := &Capture{pipeline: p, log: silent, thinner: pipeline.Thinner{Most: pipeline.MaxThinned}}
	for range 2 {
		addLoopback(t, x)
	}
	for len(x.interfaces[1].filters[0]) < 4096 { // the longest program that the kernel accepts, so none that thins as well
		x.interfaces[1].filters[0] = append(x.interfaces[1].filters[0], x.interfaces[1].filters[0][len(x.interfaces[1].filters[0])-1])
	}
	now := time.Unix(1000, 0)
	thin := func(after time.Duration) { p.Do(func(l *pipeline.Locked) { x.thin(l, now.Add(after)) }) }
	thin(0)
	busyOn(p, 0)
	thin(pipeline.ThinEvery)
	if n, _ := x.interfaces[0].Thinning(); n != 1 {
		t.Fatalf("%d connections on the first interface, want 1", n)
	}
	busyOn(p, 1)
	thin(2 * pipeline.ThinEvery)
	chosen := 0
	p.Do(func(l *pipeline.Locked) { chosen = len(l.Thinned(0)) + len(l.Thinned(1)) })
	if n, _ := x.interfaces[0].Thinning(); n != 0 || x.thinner.Most != 0 || chosen != 0 {
		t.Errorf("%d connections thinned, at most %d, %d chosen; want none", n, x.thinner.Most, chosen)
	}
}

// absent skips a test that needs something that is missing. With MESHTLS_REQUIRE_ALL it fails the
// test instead.
func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
