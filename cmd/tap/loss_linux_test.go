package main

import (
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// playLost plays a capture without one of its packets that have payload. The records of neither ring may contain a connection
// that failed because of the loss. This must hold even if segments still wait for the missing packet when the ends close.
func (l *listener) playLost(t *testing.T, file string, whole []flow.Packet) (packets int) {
	t.Helper()
	failed := func(records []string) bool {
		return slices.ContainsFunc(records, func(s string) bool {
			return strings.Contains(s, `"verdict":"failed"`) || strings.Contains(s, ": failed ")
		})
	}
	all, _ := records(t, whole, nil, false)
	r := mathrand.New(mathrand.NewPCG(uint64(len(file)), uint64(len(whole))))
	at := r.IntN(len(whole))
	for n := 0; n < len(whole) && tcpPayloadBytes(&whole[at]) == 0; n++ {
		at = (at + 1) % len(whole)
	}
	if failed(all) || len(whole) > 200 {
		return 0
	}
	packets = l.play(t, slices.Delete(slices.Clone(whole), at, at+1), false)
	if filtered, _ := l.end(t, file); failed(filtered) || failed(l.last) {
		t.Errorf("%s without packet %d: with the default filter\n%s\nwithout\n%s", file, at+1, filtered, l.last)
	}
	return packets
}

// tcpPayloadBytes returns the length of a TCP packet's payload, 0 for other packets.
func tcpPayloadBytes(p *flow.Packet) int {
	var d flow.Decoded
	if !flow.Decode(p, &d) || d.Transport != 6 {
		return 0
	}
	return d.PayloadLen
}
