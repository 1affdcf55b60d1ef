package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TLS bytes of one end are only a claim, because the other end may ignore them and speak plaintext. So encryption
// counts as established, and its verdict settles, only if both ends sent TLS bytes. The contents of these bytes must
// not contradict the verdict.

// fromStart reports whether a TCP connection was captured without loss from its first byte.
func fromStart(c *flow.Conn, s *dissect.Session) bool {
	return c.Transport == wire.ProtoTCP && !missedAny(c, s) && !hasPending(c)
}

// missedAny reports whether bytes of c may be missing, so that the captured bytes may begin in the middle of a stream.
func missedAny(c *flow.Conn, s *dissect.Session) bool {
	return c.MissedStart || c.Doubtful() || missedBytes(c, s) > 0 || s.Upgraded()
}

// bothSpoke reports whether both ends spoke TLS: each sent a hello or TLS records, and the client sent a hello if its
// first bytes were captured.
func bothSpoke(c *flow.Conn, s *dissect.Session, t *dissect.TLS) bool {
	for _, side := range sides {
		kind, _ := s.Kind(side)
		if kind != dissect.KindTLS || t.Over == tlsmsg.OverTCP && t.Chained(side) == 0 {
			return false
		}
	}
	return t.Hello != nil || t.HelloBegun || !fromStart(c, s)
}

// revertOneEnd reverts conclusions that need both ends. A failure does not settle while either end can still send. If
// an end sent something other than TLS, there is no failure.
func (h *handshake) revertOneEnd(c *flow.Conn, s *dissect.Session, t *dissect.TLS, ended bool) {
	if h.outcome == OutcomeEstablished {
		h.outcome = OutcomeIncomplete
		h.because("one_end_only")
	}
	if spokeOtherwise(c, s, t) {
		h.outcome, h.alert = OutcomeIncomplete, ""
	}
	h.decided = ended || h.decided && closed(s)
}

// closed reports whether neither end can send any more.
func closed(s *dissect.Session) bool {
	a, ar := s.Ended(dissect.Originator)
	b, br := s.Ended(dissect.Responder)
	return a && b || ar || br
}

// spokeOtherwise reports whether a side sent bytes of no known protocol, and no handshake shows TLS. Over UDP the first
// datagram of a TLS end is a hello, even if later datagrams are lost.
func spokeOtherwise(c *flow.Conn, s *dissect.Session, t *dissect.TLS) bool {
	if t.Hello != nil && t.Server != nil {
		return false
	}
	for _, side := range sides {
		if s.Unknown(side) {
			return fromStart(c, s) || c.Transport == wire.ProtoUDP
		}
	}
	return false
}

// midstream reports whether neither hello of a TLS connection over TCP was captured whole.
func midstream(t *dissect.TLS) bool {
	return t.Over == tlsmsg.OverTCP && t.Hello == nil && t.Server == nil
}

const (
	// minChained is the number of consecutive TLS records that identify the middle of a stream as TLS.
	minChained = 3
	// minAnswered is the number of consecutive TLS records that each end must have sent before the verdict settles.
	minAnswered = 2
)

// enoughChained reports whether consecutive TLS records identify the middle of a stream as TLS.
func enoughChained(t *dissect.TLS) bool {
	return t.Chained(dissect.Originator)+t.Chained(dissect.Responder) >= minChained
}

// chainedBothWays reports whether both ends sent consecutive TLS records in the middle of a stream. If a stream was
// captured from its start, and begins with protected records instead of a hello, it is not TLS.
func chainedBothWays(c *flow.Conn, s *dissect.Session, t *dissect.TLS) bool {
	return enoughChained(t) && t.Chained(dissect.Originator) >= minAnswered && t.Chained(dissect.Responder) >= minAnswered && missedAny(c, s)
}

// judgeMidstream judges TLS whose handshake was not captured.
func judgeMidstream(out *Judged, c *flow.Conn, s *dissect.Session) {
	t := s.TLS()
	h := newHandshake()
	switch {
	case t.HelloBegun:
		h.because("no_server_hello", "too_little_data")
	case t.Readable:
	case !enoughChained(t):
		out.Verdict = Unknown
		out.Protocol = ""
		out.because("too_little_data")
		return
	case fromStart(c, s):
		out.Verdict = Unknown
		out.Protocol = ""
		out.because("no_client_hello", "unrecognized_data")
		return
	default:
		h.because("no_client_hello", "mid_stream_records")
		if t.Chained(dissect.Originator) == 0 || t.Chained(dissect.Responder) == 0 {
			h.because("one_end_only")
		}
		out.Settled = out.Settled || chainedBothWays(c, s, t)
	}

	out.TLS = tlsInfo(t, &h)
	out.Verdict = TLS
	out.because(h.reasons...)
	judgeReadable(out, t)
}

// judgeReadable sets the verdict of a TLS connection to plaintext if its content can be read: its suite authenticates
// without encrypting, or its records contain text. If the suite is unfamiliar, the verdict is unknown, because the
// suite may not encrypt.
func judgeReadable(out *Judged, t *dissect.TLS) {
	c := chosenCiphering(t)
	switch {
	case t.Readable:
		out.because("cipher_without_encryption", "text_in_records")
		out.Verdict, out.Settled = Plaintext, true
	case c == leavesPlain:
		out.because("cipher_without_encryption")
		if out.Verdict != Failed {
			out.Verdict = Plaintext
			out.Settled = out.Settled || t.Server == nil && t.AppRecords[0] > 0 && t.AppRecords[1] > 0
		}
	case c == unfamiliar:
		out.because("unfamiliar_suite")
		if out.Verdict != Failed {
			out.Verdict = Unknown
		}
	}
}

// greetingLacks returns the reason why a protocol that starts with a greeting of each end is not established.
func greetingLacks(s *dissect.Session) string {
	why := "too_little_data"
	for _, side := range sides {
		switch kind, _ := s.Kind(side); kind {
		case dissect.KindUnreadable:
			return "unrecognized_data"
		case dissect.KindNone:
			why = "one_end_only"
		default:
		}
	}
	return why
}
