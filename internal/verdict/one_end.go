package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// What one end sends is a claim: the other may speak plaintext and ignore it. So encryption
// is established, and settled, only by the bytes of both ends, and only where what they
// carry does not contradict it.

// fromStart reports whether a connection over TCP was seen whole, from its first byte on.
func fromStart(c *flow.Conn, s *dissect.Session) bool {
	return c.Transport == wire.ProtoTCP && !missedAny(c, s) && !hasPending(c)
}

// missedAny reports whether what was seen of a connection may begin in the middle of it.
func missedAny(c *flow.Conn, s *dissect.Session) bool {
	return c.MissedStart || c.Doubtful() || missedBytes(c, s) > 0 || s.Upgraded()
}

// bothSpoke reports whether both ends spoke TLS: each sent a hello or a record as only TLS
// has it, and the client a hello where its first bytes were seen.
func bothSpoke(c *flow.Conn, s *dissect.Session, t *dissect.TLS) bool {
	for _, side := range sides {
		kind, _ := s.Kind(side)
		if kind != dissect.KindTLS || t.Over == dissect.OverTCP && t.Chained(side) == 0 {
			return false
		}
	}
	return t.Hello != nil || t.HelloBegun || !fromStart(c, s)
}

// revertOneEnd reverts what one end alone cannot show. Its failure is not settled while the other
// end can still send, and is none where that end sent something else.
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

// spokeOtherwise reports whether a side sent what is neither TLS nor anything that is
// known, where no handshake shows that it spoke TLS. Over UDP an end's first datagram is a
// hello, whatever is lost of it later.
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

// midstream reports whether of a handshake no hello was seen whole.
func midstream(t *dissect.TLS) bool {
	return t.Over == dissect.OverTCP && t.Hello == nil && t.Server == nil
}

const (
	// minChained is how many records, one right behind the other, it takes to call the
	// middle of a stream TLS.
	minChained = 3
	// minAnswered is how many of them it takes from each end to settle on that.
	minAnswered = 2
)

// enoughChained reports whether records in a row show that the middle of a stream is TLS.
func enoughChained(t *dissect.TLS) bool {
	return t.Chained(dissect.Originator)+t.Chained(dissect.Responder) >= minChained
}

// chainedBothWays reports whether the records of both ends show the middle of a stream of
// TLS. A stream that begins with protected records, without a hello, is none.
func chainedBothWays(c *flow.Conn, s *dissect.Session, t *dissect.TLS) bool {
	return enoughChained(t) && t.Chained(dissect.Originator) >= minAnswered && t.Chained(dissect.Responder) >= minAnswered && missedAny(c, s)
}

// judgeMidstream judges TLS whose handshake was not seen.
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

// judgeReadable makes plaintext of a TLS connection whose content can be read: its suite
// authenticates and does not encrypt, or text stands in its records. Of a suite that is not
// known it cannot be told whether it encrypts.
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

// greetingLacks says what is missing for a protocol that both ends have to begin.
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
