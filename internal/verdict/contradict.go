package verdict

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// doubts returns why the bytes that were read may differ from those that the ends read. datagrams reports whether
// fragments of DTLS messages contradict each other.
func doubts(c *flow.Conn, datagrams bool) (why []string) {
	if c.Conflict || datagrams {
		why = append(why, "conflicting_bytes")
	}
	if c.Urgent {
		why = append(why, "urgent_data")
	}
	if c.Multipath {
		why = append(why, "multipath_tcp")
	}
	return why
}

// contradict withdraws what the bytes of c said of the client's authentication where
// packets contradict each other, also where that shows only after the verdict has settled.
// Nobody inherits it then.
func (j *Judge) contradict(out *Judged, c *flow.Conn) {
	unreadEnd(out, c)
	why := doubts(c, false)
	if len(why) == 0 || out.TLS == nil || out.TLS.ClientAuth == AuthUnknown {
		return
	}
	info := *out.TLS
	info.ClientAuth, info.ClientAuthBasis, info.ClientAuthAge = AuthUnknown, BasisNone, 0
	out.TLS = &info
	if out.Verdict == MTLS {
		out.Verdict = TLS
	}
	out.Reasons = slices.Clone(out.Reasons)
	out.because(why...)
	if !out.Foreign {
		j.memory.weak.note(out)
		j.memory.sessions.contradict(out.ID)
	}
}

// unreadEnd withdraws that a connection failed where its alert or its end may be one that
// nobody read: urgent data, or of a subflow.
func unreadEnd(out *Judged, c *flow.Conn) {
	if out.Verdict != Failed || !c.Urgent && !c.Multipath {
		return
	}
	out.Verdict = Unknown
	out.Reasons = slices.Clone(out.Reasons)
	out.because(doubts(c, false)...)
}
