package pipeline_test

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestLateStart: the start of a connection was not captured, and its packets are in another order than they were sent. A side's stream
// then begins with a later packet, and the ServerHello before it is not delivered. That is no failed handshake, and the result is not
// better than what was sent.
func TestLateStart(t *testing.T) {
	mutual, oneWay := handshakes(t)
	then := []capturetest.Chunk{client(sealed(200)), server(sealed(5000)), client(sealed(210)), server(sealed(900))}
	for version := range mutual {
		for want, talk := range map[string][]capturetest.Chunk{"mtls": mutual[version], "tls": oneWay[version]} {
			all := packetsOf(joined(talk, then), capturetest.Options{MSS: 600})
			for name, lost := range map[string][]int{"SYN-ACK": {1}, "both": {0, 1}, "all three": {0, 1, 2}} {
				packets := without(all, lost)
				for from := range min(14, len(packets)) {
					for to := range from { // the packet at from is captured before the one at to
						moved := slices.Insert(slices.Delete(slices.Clone(packets), from, from+1), to, packets[from])
						for _, x := range tell(t, records(t, moved, nil)) {
							if v := x.MeshTLS.Verdict; v == "failed" || v == "plaintext" || v == "mtls" && want != "mtls" {
								t.Errorf("%s, %s, without %s, packet %d before %d: %s %v", version, want, name, from, to, v, x.MeshTLS.Reasons)
							}
						}
					}
				}
			}
		}
	}
}

func without(packets []flow.Packet, lost []int) (out []flow.Packet) {
	for i := range packets {
		if !slices.Contains(lost, i) {
			out = append(out, packets[i])
		}
	}
	return out
}
