package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// TestLostSecondHandshake: a second handshake without a certificate counts, whichever packets of it are lost; what cannot be
// seen of it is not the first one's.
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
				got, _ := records(t, slices.Delete(slices.Clone(packets), at, at+n), nil, false)
				for _, x := range tell(t, got) {
					if x.MeshTLS.Verdict == "mtls" {
						t.Errorf("%s, without the packets %d to %d of the second handshake: mtls %v", version, at-from, at-from+n-1, x.MeshTLS.Reasons)
					}
				}
			}
		}
	}
}

// TestLossKeepsTheVerdict: what is lost of records is no second handshake, though small records look like alerts: not of one
// side, and not of both unless such a record came right before.
func TestLossKeepsTheVerdict(t *testing.T) {
	mutual, _ := handshakes(t)
	small, record := sealed(19), sealed(700)
	c, s := client(record), server(record)
	for name, x := range map[string]struct {
		talk []capturetest.Chunk
		lost []int // of the last packets
	}{
		"one side, behind a small record":   {[]capturetest.Chunk{client(small), server(small), c, s, c, s, c, s, c, s}, []int{2, 4}},
		"both sides, behind records":        {[]capturetest.Chunk{client(small), server(small), c, s, c, s, c, s, c, s}, []int{4, 5, 6}},
		"small records of both":             {[]capturetest.Chunk{client(small), server(small), client(small), server(small), c, s, c, s, c, s}, []int{2, 3}},
		"the other side's loss came before": {append(slices.Repeat([]capturetest.Chunk{s, c}, 40), client(small), c, s, c, s), []int{4, 81}},
	} {
		for version, talk := range mutual {
			packets := packetsOf(joined(talk, x.talk), capturetest.Options{NoFIN: true})
			from := len(packets) - len(x.talk)
			for _, k := range slices.Backward(x.lost) {
				packets = slices.Delete(packets, from+k, from+k+1)
			}
			got, _ := records(t, packets, nil, false)
			checkFollowed(t, fmt.Sprintf("%s, %s", version, name), got, "mtls", "tls", "")
		}
	}
}

// TestCutHeaders: text in a record counts however the record's header is cut off of it, in whatever order the pieces come, and
// whatever type the header has.
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
					got, _ := records(t, p, nil, false)
					checkFollowed(t, fmt.Sprintf("%s, type %d, cut at %d %s", version, typ, cut, how), got, "plaintext", "tls", "text_in_records")
				}
			}
		}
	}
}
