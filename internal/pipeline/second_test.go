package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestLostSecondHandshake: a second handshake without a certificate counts, even if any of its packets are lost.
// Facts that were lost with them are not taken from the first handshake.
func TestLostSecondHandshake(t *testing.T) {
	mutual, oneWay := handshakes(t)
	for version, talk := range mutual {
		bye := sealed(19)
		if version == "TLS 1.2" {
			bye = "\x15\x03\x03\x00\x1a" + sealed(26)[5:]
		}
		first := []capturetest.Chunk{client(sealed(90)), server(sealed(1200)), client(bye), server(bye)}
		then := []capturetest.Chunk{client(sealed(200)), server(sealed(5000)), client(sealed(210)), server(sealed(9000))}
		from := len(packetsOf(joined(talk, first), capturetest.Options{NoFIN: true})) - 2
		packets := packetsOf(joined(talk, first, oneWay[version], then), capturetest.Options{})
		for at := from; at < len(packets)-12; at++ {
			for _, n := range []int{1, 2, 3, 5} {
				got := records(t, slices.Delete(slices.Clone(packets), at, at+n), nil)
				for _, x := range tell(t, got) {
					if x.MeshTLS.Verdict == "mtls" {
						t.Errorf("%s, without the packets %d to %d of the second handshake: mtls %v", version, at-from, at-from+n-1, x.MeshTLS.Reasons)
					}
				}
			}
		}
	}
}

// TestLossKeepsTheVerdict: small records look like alerts. Records that are lost after a small record do not count
// as a second handshake, unless both sides sent a small record immediately before the loss.
func TestLossKeepsTheVerdict(t *testing.T) {
	mutual, _ := handshakes(t)
	small, record := sealed(19), sealed(700)
	c, s := client(record), server(record)
	for name, x := range map[string]struct {
		talk []capturetest.Chunk
		lost []int // indexes of lost packets among the last ones
	}{
		"one side, after a small record":    {[]capturetest.Chunk{client(small), server(small), c, s, c, s, c, s, c, s}, []int{2, 4}},
		"both sides, after records":         {[]capturetest.Chunk{client(small), server(small), c, s, c, s, c, s, c, s}, []int{4, 5, 6}},
		"small records of both":             {[]capturetest.Chunk{client(small), server(small), client(small), server(small), c, s, c, s, c, s}, []int{2, 3}},
		"the other side's loss came before": {append(slices.Repeat([]capturetest.Chunk{s, c}, 40), client(small), c, s, c, s), []int{4, 81}},
	} {
		for version, talk := range mutual {
			packets := packetsOf(joined(talk, x.talk), capturetest.Options{NoFIN: true})
			from := len(packets) - len(x.talk)
			for _, k := range slices.Backward(x.lost) {
				packets = slices.Delete(packets, from+k, from+k+1)
			}
			got := records(t, packets, nil)
			checkFollowed(t, fmt.Sprintf("%s, %s", version, name), got, "mtls", "tls", "")
		}
	}
}

// TestCutHeaders: text in a record counts for any record type, any split of the record into segments, and any
// order of the segments.
func TestCutHeaders(t *testing.T) {
	mutual, _ := handshakes(t)
	const text = "the merger is on friday, do not tell anyone about this, agreed? "
	for version, talk := range mutual {
		for _, typ := range []byte{20, 21, 22, 23, 24} {
			record := string([]byte{typ, 3, 3, 0, byte(len(text))}) + text
			for cut := 1; cut < len(record); cut++ {
				pieces := []capturetest.Chunk{client(sealed(90)), server(sealed(90)), client(record[:cut]), client(record[cut:])}
				packets := packetsOf(joined(talk, pieces), capturetest.Options{NoFIN: true})
				n := len(packets)
				swapped := slices.Concat(packets[:n-2], []flow.Packet{packets[n-1], packets[n-2]})
				again := slices.Concat(packets[:n-1], []flow.Packet{packets[n-2], packets[n-1]})
				for how, p := range map[string][]flow.Packet{"": packets, "swapped": swapped, "again": again} {
					got := records(t, p, nil)
					checkFollowed(t, fmt.Sprintf("%s, type %d, cut at %d %s", version, typ, cut, how), got, "plaintext", "tls", "text_in_records")
				}
			}
		}
	}
}

// TestTakenPortsInheritNothing: a connection that reuses the ports of an earlier one is judged by its own bytes
// only. The test varies the end of the earlier connection, and the number of lost first packets of the new one.
func TestTakenPortsInheritNothing(t *testing.T) {
	mutual, oneWay := handshakes(t)
	far := [][2]int64{{100e6, 100e6}, {100e6, -100e6}, {900e6, 900e6}, {-900e6, 20e6}, {3e6, 2e9}, {-2e9, -3e6}, {-70e6, 0}}
	then := []capturetest.Chunk{client(sealed(200)), server(sealed(5000)), client(sealed(210)), server(sealed(900))}
	for version, talk := range mutual {
		for i, end := range []capturetest.Options{{NoFIN: true}, {Reset: true}, {}} {
			jumps := far
			if !end.NoFIN {
				jumps = append(slices.Clone(far), [2]int64{100e3, 200e3}, [2]int64{20e6, 30e6}, [2]int64{-20e6, 30e6})
			}
			for _, jump := range jumps {
				o := end
				o.ClientISN, o.ServISN = 3e9, 1e9
				packets := packetsOf(joined(talk, then), o)
				o.Start = time.Unix(0, packets[len(packets)-1].Time).Add(100 * time.Millisecond)
				o.ClientISN, o.ServISN, o.NoFIN, o.Reset = uint32(3e9+jump[0]), uint32(1e9+jump[1]), true, false
				next := packetsOf(joined(oneWay[version], then), o)
				for lost := range 8 {
					got := records(t, slices.Concat(packets, next[lost:]), nil)
					all := tell(t, got)
					if n := len(all); n == 1 && all[0].MeshTLS.Verdict == "mtls" || n == 2 && (all[0].MeshTLS.Verdict != "mtls" || all[1].MeshTLS.Verdict != "tls") || n > 2 {
						t.Errorf("%s, end %d, %v, without the first %d: %s", version, i, jump, lost, strings.Join(got, "\n"))
					}
				}
			}
		}
	}
}
