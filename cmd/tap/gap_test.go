package main

import (
	"io"
	"testing"
	"time"
)

func TestOpenedConnections(t *testing.T) {
	for list, want := range map[string]uint64{
		"": 0,
		"Ip: Forwarding\nIp: 1\nTcp: RtoMax ActiveOpens PassiveOpens CurrEstab\nTcp: 120000 7 2 5\nUdp: InDatagrams\nUdp: 9\n": 9,
		"Tcp: ActiveOpens PassiveOpens\n":               0, // no values
		"Tcp: ActiveOpens PassiveOpens\nTcp: 3\n":       3, // one is missing
		"Tcp: ActiveOpens PassiveOpens\nTcp: x -1\n":    0,
		"Tcp: PassiveOpens ActiveOpens New\nTcp: 1 2 9": 3, // in any order
	} {
		if got := openedConnections(list); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
}

// TestGap: unknown times are left out: the creation of a network whose file was created by the query itself, and the start of the
// capture while an interface is not captured.
func TestGap(t *testing.T) {
	if at := networkCreated(time.Unix(1, 0)); !at.IsZero() {
		t.Errorf("a network of the future came to be at %v", at)
	}
	g := gap{connections: 3}
	if told := g.told(); told.Network != 0 || told.Captured != 0 || told.Connections != 3 {
		t.Errorf("%+v", told)
	}
	s, _ := readEnvironment([]string{"TAP_INTERFACES=eth0,lo"})
	tap, err := newTap(s, streams{err: io.Discard, out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	for k, i := range tap.captures() {
		i.begin()
		i.mu.Lock()
		i.err, i.ended = nil, true // as if it were open
		i.mu.Unlock()
		now := time.Unix(int64(100+k), 0)
		if k == 0 {
			tap.captures()[1].begin()
		}
		tap.gap.note(tap, now)
		if got := tap.gap.captured; (k == 1) != got.Equal(now) {
			t.Errorf("with %d of 2 interfaces open all are captured since %v", k+1, got)
		}
	}
	tap.gap.settled = true
	tap.gap.note(tap, time.Unix(200, 0))
	if !tap.gap.captured.Equal(time.Unix(101, 0)) {
		t.Errorf("an interface that came back moved the start to %v", tap.gap.captured)
	}
}
