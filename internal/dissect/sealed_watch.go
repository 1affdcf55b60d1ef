package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/protocols"

// A protocol with encryption of its own can mix sealed and plaintext messages: SMB encrypts by share, ONC RPC and DCE-RPC by call.
// Therefore an encrypted connection is examined further, and one plaintext message of an application makes it plaintext. Negotiation must
// be plaintext, so it does not count.

// sealedWatch bounds how many bytes of both directions together are examined in an encrypted connection. In each direction at most
// maxUpgrade bytes are examined.
const sealedWatch = 2 * maxUpgrade

// watch follows the messages of one direction, in a protocol that can encrypt by its own means.
type watch struct {
	left  int  // remaining bytes of the current message
	reads bool // the message is not a negotiation: text in it is plaintext of an application
	blind bool // bytes were not seen: messages are found only at the starts of segments
	text  textRun
}

// addGap notes that bytes of a direction were not seen.
func (w *watch) addGap() { *w = watch{blind: true} }

// watchSealed looks for plaintext of an application in a direction's next bytes. It reports whether these or earlier bytes contained such
// plaintext.
func (s *plainLayer) watchSealed(side Side, data []byte) bool {
	st := &s.sides[side]
	w := &st.p.watch
	for len(data) > 0 && !s.unsealed && st.seen <= maxUpgrade {
		if w.left == 0 || w.blind {
			s.nextMessage(side, data)
		}
		n := min(w.left, len(data))
		if s.Sealed() && w.reads && w.text.add(data[:n]) {
			s.unsealed = true
		}
		w.left -= n
		data = data[n:]
	}
	if s.unsealed {
		s.unseal()
	}
	return s.unsealed
}

// nextMessage classifies the message at the start of data.
func (s *plainLayer) nextMessage(side Side, data []byte) {
	w := &s.sides[side].p.watch
	size, m := protocols.MessageOf(s.sides[side].protocol, data, s.Sealed() && !w.blind)
	if m == protocols.MessagePlain {
		s.unsealed = true
	}
	w.left, w.reads = size, !w.blind && m != protocols.MessageNegotiation
	switch {
	case m == protocols.MessageUnknown || size <= 0:
		w.left = len(data)
	case m == protocols.MessageSealed:
		w.text.reset()
	default:
	}
}

// unseal changes encrypted directions back to plaintext.
func (s *plainLayer) unseal() {
	for i := range s.sides {
		st := &s.sides[i]
		if st.kind == KindEncrypted {
			st.kind = KindPlain
		}
		st.sealed = false
	}
	s.revision++
}

// watched reports whether a connection is encrypted and still examined.
func (s *udpLayer) watched() bool {
	return s.encrypted() && s.udp == nil && s.sides[0].seen+s.sides[1].seen <= sealedWatch
}

// encrypted reports whether at least one direction is encrypted.
func (s *streams) encrypted() bool {
	return s.sides[0].kind == KindEncrypted || s.sides[1].kind == KindEncrypted
}
