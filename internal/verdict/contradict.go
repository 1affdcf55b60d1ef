package verdict

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// contradict withdraws what the bytes of c said of the client's authentication where
// packets contradict each other, also where that shows only after the verdict has settled.
// Nobody inherits it then.
func (j *Judge) contradict(out *Judged, c *flow.Conn) {
	if !c.Conflict || out.TLS == nil || out.TLS.ClientAuth == AuthUnknown {
		return
	}
	info := *out.TLS
	info.ClientAuth, info.ClientAuthBasis, info.ClientAuthAge = AuthUnknown, BasisNone, 0
	out.TLS = &info
	if out.Verdict == MTLS {
		out.Verdict = TLS
	}
	out.Reasons = slices.Clone(out.Reasons)
	out.because("conflicting_bytes")
	if !out.Foreign {
		j.memory.weak.note(out)
		j.memory.sessions.contradict(out.ID)
	}
}
