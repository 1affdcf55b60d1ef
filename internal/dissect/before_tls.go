package dissect

import (
	"bytes"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// Preceded returns the kind of the bytes before TLS, and the name of their protocol if it is known. The kind is KindPlain, KindText,
// KindStructured, KindUnreadable (unrecognized bytes), or KindNone. KindNone means that there were no such bytes, or so few that they may
// be a preface of TLS.
func (s *recognition) Preceded() (Kind, string) {
	if s.preceding == KindPlain {
		return KindPlain, s.upgraded
	}
	return s.preceding, ""
}

// Negotiated reports whether the client sent only a negotiation of TLS before TLS began, in a known protocol. For HTTP, any request
// counts as a negotiation.
func (s *recognition) Negotiated() bool {
	return s.preceding == KindPlain && (s.upgraded == "http" || !s.saidMore)
}

// precede notes what both ends sent before TLS. TLS begins at offset in the bytes of side. In an After, precede is called for both sides,
// and the kind with the highest rank counts.
func (s *recognition) precede(side Side, offset int64) {
	said, short, clean := s.saidBefore(side, offset), 0, true
	best := KindNone
	for i := range s.sides {
		st := &s.sides[i]
		kind := st.kind
		if kind == KindNone && st.p != nil {
			head := st.p.head
			if Side(i) == side { // without the first bytes of TLS
				head = head[:max(min(int64(len(head)), offset-st.p.headOffset), 0)]
			}
			if kind = KindUnreadable; len(head) >= protocols.MinText {
				kind = textKind(head)
			} else {
				short += len(head)
				clean = clean && protocols.CountNonText(head) == 0
			}
		}
		if rank(kind) > rank(best) {
			best = kind
		}
		if kind == KindPlain && s.depth > 0 && s.upgraded == "" {
			s.upgraded = st.protocol
		}
	}

	switch {
	case rank(best) > rank(KindUnreadable):
	case s.structured():
		best = KindStructured
	case short >= minShortText && clean:
		best = KindText
	case said <= maxPreface, s.depth > 0 && clean && said == int64(short):
		best = KindNone
	}

	if rank(best) > rank(s.preceding) || s.depth == 0 {
		s.preceding = best
	}
	s.saidMore = s.saidMore || said > mayUpgradeWithin
}

// saidBefore returns how many bytes the ends sent before TLS, except an end that was noted before. TLS begins at offset in the bytes of side.
func (s *recognition) saidBefore(side Side, offset int64) int64 {
	st, other := &s.sides[side], &s.sides[side.Other()]
	switch {
	case s.depth == 0:
		return offset + other.seen
	case other.kind == KindTLS:
		return offset - st.tlsAt // the bytes of the other side were noted before
	}
	return offset - st.tlsAt + other.seen
}

// Outside returns the kind of the bytes of an After that are not TLS records, and the name of their protocol if it is known. The kind is
// KindPlain, KindText, KindStructured, KindUnreadable (unrecognized bytes before another handshake), or KindNone. It stays when a handshake
// follows the bytes: between two handshakes no byte is protected.
func (s *recognition) Outside() (kind Kind, protocol string) {
	kind, protocol = s.Preceded()
	for i := range s.sides {
		if st := &s.sides[i]; rank(st.kind) > max(rank(kind), rank(KindUnreadable)) {
			kind, protocol = st.kind, st.protocol
		}
	}
	if kind == KindUnreadable && (s.udp != nil || s.sides[0].missed+s.sides[1].missed > 0) {
		return KindNone, "" // the bytes may be the remainder of a record or of a handshake message
	}
	return kind, protocol
}

// rank orders the kinds of bytes before TLS. The highest kind counts.
func rank(k Kind) int {
	switch k { //nolint:exhaustive // all other kinds rank lowest
	case KindPlain:
		return 4
	case KindText:
		return 3
	case KindStructured:
		return 2
	case KindUnreadable:
		return 1
	}
	return 0
}

// negotiates reports whether a client's segment contains only a request for TLS, or only commands that usually come before such a
// request. A segment with credentials or content does not count. Commands that are split over segments are not recognized.
func negotiates(b []byte) bool {
	const least, most = 4, 512
	switch {
	case len(b) <= least:
		return protocols.CountNonText(b) > 0
	case len(b) > most:
		return false
	case b[0] == 0x30: // LDAP's StartTLS (RFC 4511 section 4.14.1)
		return bytes.Contains(b, []byte("1.3.6.1.4.1.1466.20037"))
	case b[0] == '<': // XMPP (RFC 6120 section 5.4)
		return !bytes.Contains(b, []byte("<auth")) && (bytes.Contains(b, []byte("<stream:stream")) || bytes.Contains(b, []byte("<starttls")))
	case b[0] == 0x12, b[0] == 0x03: // PRELOGIN of TDS, connection request of RDP
		return true
	case b[0] == 0xff && len(b) <= 64: // options of Telnet
		return true
	case len(b) == 8 && b[0] == 0 && b[3] == 8, len(b) == 36 && b[3] == 1: // PostgreSQL, MySQL
		return true
	case bytes.HasPrefix(b, []byte("AMQP")) && len(b) == 8, bytes.HasPrefix(b, []byte("RFB 00")), bytes.HasPrefix(b, []byte("IHAVEOPT")):
		return true
	}

	for line := range bytes.Lines(b) {
		if !negotiatesLine(line) {
			return false
		}
	}
	return true
}

// negotiatesLine does the same as negotiates for one command of a text protocol (RFC 3207, RFC 2595, RFC 4217, RFC 4642, RFC 5804).
func negotiatesLine(line []byte) bool {
	var word [3][]byte
	n := 0
	for w := range bytes.FieldsSeq(line) {
		if n++; n > len(word) {
			return false
		}
		word[n-1] = w
	}

	is := func(i int, names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return foldsTo(word[i], name) })
	}
	switch {
	case n == 0:
		return true
	case is(0, "ehlo", "helo", "lhlo", "cap"):
		return true
	case is(0, "starttls", "stls", "capa", "capability", "capabilities", "feat", "noop"):
		return n == 1
	case is(0, "auth"):
		return n == 2 && is(1, "tls", "ssl")
	case is(0, "mode"):
		return n == 2 && is(1, "reader")
	}

	return n == 2 && is(1, "starttls", "capability", "noop") // an IMAP command, after its tag
}
