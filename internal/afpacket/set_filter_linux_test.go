package afpacket

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// TestSetFilter: a new filter is effective from the next packet on, also during traffic. Once
// the capture has ended, a new filter does not resume it.
func TestSetFilter(t *testing.T) {
	undropped(t, setFilter)
}

func setFilter(t *testing.T) (dropped uint64) {
	n := loopback(t)
	from := n.datagrams(t, "udp4", "127.0.0.1")
	first, second := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	filters := [2][]bpf.RawInstruction{toPort(t, port(first)), toPort(t, port(second))}
	h := n.open(t, Config{Interface: "lo", Filter: filters[0]})
	c := run(t, h)
	var want []string
	for i := range 20 {
		if err := h.SetFilter(filters[i%2]); err != nil {
			t.Fatal(err)
		}
		for k, to := range []*net.UDPConn{first, second} {
			payload := fmt.Sprintf("round %02d", i)
			send(t, from, to, []byte(payload))
			if k == i%2 {
				want = append(want, payload)
			}
		}
	}
	if err := h.SetFilter(nil); err != nil {
		t.Fatal(err)
	}
	send(t, from, first, []byte("round 20"))
	send(t, from, second, []byte("round 21"))
	want = append(want, "round 20", "round 21")
	if err := h.SetFilter([]bpf.RawInstruction{{Op: opJump, K: 7}}); err == nil {
		t.Error("a program that the kernel does not take: no error")
	}
	send(t, from, first, []byte("round 22"))
	want = append(want, "round 22")

	var got []string
	for _, p := range c.stop(t) {
		if i := bytes.Index(p.Data, []byte("round ")); i >= 0 {
			got = append(got, string(p.Data[i:]))
		}
	}
	s := stats(t, h)
	if s.Drops == 0 && !slices.Equal(got, want) {
		t.Errorf("captured %q, want %q", got, want)
	}
	if err := h.SetFilter(nil); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if s.Packets != uint64(len(want)) {
		t.Errorf("%+v, want %d packets", s, len(want))
	}
	return s.Drops
}
