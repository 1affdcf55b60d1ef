package main

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// busyOn makes connections busy on an interface, of which nothing more is wanted.
func busyOn(table *flow.Table, iface uint16) {
	for i := range 100 {
		packet := []byte{
			0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
			0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
		}
		table.Add(&flow.Packet{Time: int64(i), Data: packet, Length: len(packet), Link: flow.LinkRaw, Interface: iface})
	}
}

// Where one interface takes no filter that leaves something out, and so no choice is made any more, the other one must not
// keep the last choice for ever.
func TestThinLetsAllGoWhereItEnds(t *testing.T) {
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	p := newPipeline(flow.Config{Exclude: func(*flow.Conn) bool { return true }}, verdict.Config{}, finding.Config{Window: time.Hour})
	x := &tap{pipeline: p, log: silent, thinner: thinner{most: thinMost}}
	for n := range 2 {
		h, err := afpacket.Open(afpacket.Config{Interface: loopback, RingBytes: 1 << 20})
		if err != nil {
			absent(t, "lo cannot be opened: %v", err)
		}
		defer h.Close()
		i := &interfaceTap{tap: x, name: loopback, index: uint16(n), log: silent, handle: h}
		i.whole[0] = pcapfilter.Default(pcapfilter.Config{Link: pcapfilter.LinkEthernet, Live: true})
		x.taps = append(x.taps, i)
	}
	for len(x.taps[1].whole[0]) < 4096 { // no room for more
		x.taps[1].whole[0] = append(x.taps[1].whole[0], x.taps[1].whole[0][len(x.taps[1].whole[0])-1])
	}
	now := time.Unix(1000, 0)
	x.thin(now)
	busyOn(p.table, 0)
	x.thin(now.Add(thinEvery))
	if n, _ := x.taps[0].thinning(); n != 1 {
		t.Fatalf("%d connections on the first interface, want 1", n)
	}
	busyOn(p.table, 1)
	x.thin(now.Add(2 * thinEvery))
	if n, _ := x.taps[0].thinning(); n != 0 || x.thinner.most != 0 || len(p.table.Thinned()) != 0 {
		t.Errorf("%d connections left out, at most %d, %d chosen; want none", n, x.thinner.most, len(p.table.Thinned()))
	}
}

// A clock that is set back keeps no choice until it has caught up.
func TestThinClockSetBack(t *testing.T) {
	p := newPipeline(flow.Config{Exclude: func(*flow.Conn) bool { return true }}, verdict.Config{}, finding.Config{Window: time.Hour})
	n := thinner{most: thinMost}
	now := time.Unix(100000, 0).UnixNano()
	n.look(p.table, now)
	busyOn(p.table, 0)
	if !n.look(p.table, now+int64(thinEvery)) || len(p.table.Thinned()) != 1 {
		t.Fatal("nothing was chosen")
	}
	if back := now - int64(time.Hour); !n.look(p.table, back) || len(p.table.Thinned()) != 0 || n.next != back+int64(thinEvery) {
		t.Errorf("%d chosen, the next look in %v", len(p.table.Thinned()), time.Duration(n.next-back))
	}
}
