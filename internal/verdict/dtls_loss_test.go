package verdict_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestLossAroundSecondDTLSHandshake checks two handshakes of DTLS on the same ports, one of which requests no client
// certificate. Whichever datagram is lost, or two of them, the verdict is not mtls.
func TestLossAroundSecondDTLSHandshake(t *testing.T) {
	datagrams := func(auth capturetest.ClientAuth, size int) []capturetest.Chunk {
		return capturetest.Datagrams(capturetest.DTLS(talk(t, tls.VersionTLS12, auth)), size)
	}
	for _, size := range []int{1200, 400} {
		mutual, oneWay := datagrams(capturetest.Presented, size), datagrams(capturetest.NotRequested, size)
		for name, chunks := range map[string][]capturetest.Chunk{
			"mutual, one-way": slices.Concat(mutual, oneWay), "one-way, mutual": slices.Concat(oneWay, mutual), "mutual twice, one-way": slices.Concat(mutual, mutual, oneWay),
		} {
			for i := range chunks {
				for n := 1; n <= 2 && i+n <= len(chunks); n++ {
					if got := resumed(t, slices.Delete(slices.Clone(chunks), i, i+n)); got.Verdict == verdict.MTLS || got.Verdict == verdict.Plaintext {
						t.Errorf("%s, fragments of %d, without %d from %d of %d: %s %v", name, size, n, i, len(chunks), got.Verdict, got.Reasons)
					}
				}
			}
		}
	}
}
