package verdict_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// flightOf returns the records of a server's flight, in the form that player.play takes. A message that is longer than
// limit is fragmented. over is the overhead of a record. All sizes are in bytes.
func flightOf(limit, over int, messages ...int) string {
	var b strings.Builder
	b.WriteString("S")
	for _, n := range messages {
		for ; n > limit; n -= limit {
			fmt.Fprintf(&b, " %d", limit+over)
		}
		fmt.Fprintf(&b, " %d", n+over)
	}
	return b.String() + " | "
}

// TestServerLimits checks servers that send no CertificateRequest and fragment their flight by a limit. For every
// limit, the judge must not conclude that a client without a certificate sent one.
func TestServerLimits(t *testing.T) {
	for _, limit := range []int{256, 500, 512, 520, 528, 1000, 1024, 1300, 1400, 2048, 4096, 8192, 16384} {
		for _, certificate := range []int{170, 400, 512, 800, 1024, 1579, 2048, 4500, 9000} {
			for _, signature := range []int{64, 71, 103, 256, 512, 2420} {
				for _, extensions := range []int{6, 40, 600} {
					for _, over := range []int{17, 17 + 16} {
						server := flightOf(limit, over, extensions, certificate, 8+signature, 36)
						for _, client := range []string{fmt.Sprintf("C %d %d %d | ", 833+over, 264+over, 36+over), "C 850 | "} {
							w := newPlayer(t, hello{}, hello{}).play(server + client + "C 120 | S 209")
							if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict == verdict.MTLS {
								t.Errorf("limit %d: %s%s: %s", limit, server, client, said(got))
							}
						}
					}
				}
			}
		}
	}
}

// TestServerLimitsMutual checks servers that send a CertificateRequest and fragment their flight by a limit: most
// mutual handshakes are still recognized.
func TestServerLimitsMutual(t *testing.T) {
	all, mutual := 0, 0
	for _, limit := range []int{512, 1024, 2048, 4096, 16384} {
		for _, certificate := range []int{400, 800, 1579, 4500} {
			for _, signature := range []int{71, 256} {
				for _, request := range []int{60, 113, 300} {
					server := flightOf(limit, 17, 6, request, certificate, 8+signature, 36)
					client := "C" + strings.TrimPrefix(flightOf(limit, 17, 833, 264, 36), "S")
					w := newPlayer(t, hello{}, hello{}).play(server + client + "C 120 | S 209")
					if got := w.judge(verdict.New(verdict.Config{}), 1, true); got.Verdict == verdict.MTLS {
						mutual++
					}
					all++
				}
			}
		}
	}
	if mutual < all*95/100 {
		t.Errorf("%d of %d mutual handshakes were seen", mutual, all)
	}
}
