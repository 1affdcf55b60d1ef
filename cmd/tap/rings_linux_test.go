package main

import (
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestFloodLeavesTCPItsRing: while the tap is stopped, a flood of datagrams fills the ring for datagrams, but no TCP
// packet is lost.
func TestFloodLeavesTCPItsRing(t *testing.T) {
	norace(t)
	a, b := pods(t)
	needs(t, "curl", "curl")
	a.serve(t, "MESHTLS_LIVE=server", a.address)
	tap := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=flows,posture"}, releasedTap(t), "run")
	a.ready(t)
	r := mathrand.New(mathrand.NewPCG(7, 7))
	flood := make([]capturetest.Frame, 5000) // several times as many as fit into the ring
	for i := range flood {
		flood[i] = capturetest.Frame{Time: captureStart, Data: capturetest.UDPFrame(anybody(r), floodedPod(443), madeUpInitial(r))}
	}
	if err := tap.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	b.forge(t, a.mac(t), flood)
	const controls = 3
	for range controls {
		b.run(t, "", "curl", "-sS", "-m", "300", "-o", "/dev/null", fmt.Sprintf("http://%s:%d/", a.address, portHTTP))
	}
	if err := tap.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the flood is counted", func() bool { return a.metric(t, `ring_dropped_packets_total{interface="eth0"}`) > 0 })
	if n := a.metric(t, `ring_dropped_tcp_packets_total{interface="eth0"}`); n != 0 {
		t.Errorf("%d packets of TCP were dropped", n)
	}
	got := flowsBy(t, tap.end(t))
	n := 0
	for _, f := range got {
		if f == fmt.Sprintf("eth0 %s:%d plaintext", a.address, portHTTP) {
			n++
		}
	}
	if n != controls {
		slices.Sort(got)
		t.Errorf("%d of %d connections were judged: %q", n, controls, slices.Compact(got)[:min(5, len(got))])
	}
}
