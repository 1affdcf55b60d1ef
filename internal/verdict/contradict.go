package verdict

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// doubts returns reasons to suspect that the ends have read other bytes than the tap. datagrams reports whether
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

// withdrawContradicted withdraws a conclusion about client authentication if packets of c contradict each other, even
// after the verdict has settled. Later connections then inherit nothing from c.
func (j *Judge) withdrawContradicted(out *Judged, c *flow.Conn) {
	withdrawUnreadEnd(out, c)
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
		j.resumptions.unproven.note(out)
		j.resumptions.tlsSessions.distrustAll(out.ID)
	}
}

// withdrawUnreadEnd withdraws the verdict failed if the receiver may not have read the alert or the end of the
// connection. They may be urgent data, or belong to another MPTCP subflow.
func withdrawUnreadEnd(out *Judged, c *flow.Conn) {
	if out.Verdict != Failed || !c.Urgent && !c.Multipath {
		return
	}
	out.Verdict = Unknown
	out.Reasons = slices.Clone(out.Reasons)
	out.because(doubts(c, false)...)
}
