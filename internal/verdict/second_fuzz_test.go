package verdict_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// FuzzSecondHandshake passes two handshakes to a session, in segments of a size, with bytes of one end between the two.
// Only one of the handshakes is mutual. One segment may be lost. The verdict must never be mtls.
func FuzzSecondHandshake(f *testing.F) {
	f.Add([]byte("a2 LOGIN me secret\r\n"), uint16(1448), uint16(0), uint8(0))
	f.Add([]byte{}, uint16(600), uint16(5), uint8(3))
	f.Add([]byte("\x17\x03\x03\x00\x13nineteen bytes here\x16\x03"), uint16(7), uint16(40), uint8(6))
	type pair struct{ mutual, oneWay []capturetest.Chunk }
	var talks [2]pair
	for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		talks[i] = pair{talk(f, version, capturetest.Presented).Chunks, talk(f, version, capturetest.NotRequested).Chunks}
	}
	f.Fuzz(func(t *testing.T, between []byte, size, lost uint16, choice uint8) {
		first, second := talks[choice&1].mutual, talks[choice>>1&1].oneWay
		if choice&4 != 0 {
			first, second = second, first
		}
		chunks := slices.Concat(first, after(first, []capturetest.Chunk{{FromServer: choice&8 != 0, Data: between}}))
		chunks = slices.Concat(chunks, after(chunks, second))
		j, c, s := verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), dissect.New()
		var at, gap [2]int64
		n := 0
		for _, x := range chunks {
			side := dissect.Originator
			if x.FromServer {
				side = dissect.Responder
			}
			for piece := range slices.Chunk(x.Data, int(size)+1) {
				if n++; n == int(lost) {
					gap[side] += int64(len(piece))
				} else {
					s.Data(side, at[side], piece, int64(x.Read), gap[side])
					gap[side] = 0
				}
				at[side] += int64(len(piece))
			}
		}
		if got := j.Judge(c, s, "eth0", true); got.Verdict == verdict.MTLS {
			t.Errorf("%s %v", got.Verdict, got.Reasons)
		}
	})
}
