package verdict

import (
	"cmp"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// kindOrder lists the kinds of a side that is not TLS, the most specific first. Plaintext of one end outweighs any
// claim of the other.
var kindOrder = [...]dissect.Kind{dissect.KindPlain, dissect.KindText, dissect.KindStructured, dissect.KindEncrypted, dissect.KindGreeting, dissect.KindUnreadable}

// kindOf returns, for a connection that is not TLS, the more specific of the two sides' kinds, and
// its protocol's name. It returns KindEncrypted only if both sides have that kind.
func kindOf(s *dissect.Session) (best dissect.Kind, protocol string) {
	a, name := s.Kind(dissect.Originator)
	b, other := s.Kind(dissect.Responder)
	for _, kind := range kindOrder {
		switch {
		case kind == dissect.KindEncrypted && (a == kind) != (b == kind):
			return dissect.KindGreeting, cmp.Or(name, other)
		case a == kind:
			return kind, name
		case b == kind:
			return kind, other
		}
	}
	return dissect.KindNone, ""
}

// kindSettled reports whether the verdict for a kind is settled.
func kindSettled(s *dissect.Session, kind dissect.Kind) bool {
	switch kind {
	case dissect.KindPlain, dissect.KindText, dissect.KindStructured:
		return plainSettled(s)
	case dissect.KindEncrypted:
		return true
	default:
		return false
	}
}

// judgeOther judges a connection that is not TLS.
func (j *Judge) judgeOther(out *Judged, c *flow.Conn, s *dissect.Session) {
	kind, protocol := kindOf(s)
	out.Protocol = protocol
	out.Settled = out.Settled || kindSettled(s, kind) && !j.classPending(c, s)

	if (kind == dissect.KindPlain || kind == dissect.KindText || kind == dissect.KindStructured) && s.Doubtful() {
		out.Verdict = Unknown
		out.because("tls_may_follow")
		return
	}

	switch kind {
	case dissect.KindPlain:
		out.Verdict = Plaintext
		plainReasons(out, s, protocol)
	case dissect.KindEncrypted:
		out.Verdict = Encrypted
		if s.Sealed() {
			out.because("own_encryption")
		} else {
			out.because(protocol + "_banner")
		}
	case dissect.KindGreeting:
		out.Verdict = Unknown
		if protocol == "ssh" {
			out.because("ssh_banner")
		}
		out.because(greetingLacks(s))
	case dissect.KindText:
		out.Verdict = Plaintext
		out.because("text_like")
	case dissect.KindStructured:
		out.Verdict = Plaintext
		out.because("structured_plaintext")
	case dissect.KindUnreadable:
		out.Verdict = Unknown
		out.because("unrecognized_data")
	default:
		out.Verdict = Unknown
		out.because("too_little_data")
	}

	if s.TLS() != nil {
		out.because("cleartext_answer_to_hello")
	}
}

// plainSettled reports whether plaintext will remain plaintext. If TLS may follow (STARTTLS), it returns true only
// after enough bytes.
func plainSettled(s *dissect.Session) bool {
	a, _ := s.Seen(dissect.Originator)
	b, _ := s.Seen(dissect.Responder)
	if a+b > s.PlainAfter() {
		return true
	}
	if h := s.HTTP(); h != nil && h.Method == "CONNECT" && h.Status == 0 {
		return false
	}
	return !s.MayTurn()
}

// plainReasons adds the reasons for which a connection counts as plaintext of a protocol.
func plainReasons(out *Judged, s *dissect.Session, protocol string) {
	switch protocol {
	case "ssh":
		out.because("cipher_without_encryption")
	case "http":
		if s.HTTP() != nil && s.HTTP().Method != "" {
			out.because("http_request_line")
		}
		if s.HTTP() != nil && s.HTTP().Status != 0 {
			out.because("http_response_line")
		}
	case "http2", "grpc":
		out.because("http2_frames")
	case "dns":
		out.because("dns_message")
	default:
		out.because(protocol + "_message")
	}
	if len(out.Reasons) == 0 {
		out.because("http_request_line")
	}
}
