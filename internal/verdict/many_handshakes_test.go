package verdict_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestManyHandshakes checks a connection with more handshakes than a session examines. If the rest is not examined, the
// verdict is unknown. It is never mtls.
func TestManyHandshakes(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		mutual := talk(t, version, capturetest.Presented).Chunks
		for n, want := range []verdict.Verdict{verdict.MTLS, verdict.MTLS, verdict.MTLS, verdict.MTLS, verdict.Unknown, verdict.Unknown} {
			var chunks []capturetest.Chunk
			for range n + 1 {
				chunks = slices.Concat(chunks, after(chunks, mutual))
			}
			j, c, s := verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), dissect.New()
			var at [2]int64
			for _, x := range chunks {
				side := dissect.Originator
				if x.FromServer {
					side = dissect.Responder
				}
				s.Data(side, at[side], x.Data, int64(x.Read), 0)
				at[side] += int64(len(x.Data))
			}
			if got := j.Judge(c, s, "eth0", true); got.Verdict != want {
				t.Errorf("%s, %d handshakes: %s %v, want %s", tls.VersionName(version), n+1, got.Verdict, got.Reasons, want)
			}
		}
	}
}
