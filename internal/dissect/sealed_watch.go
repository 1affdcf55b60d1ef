package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/protocols"

// What a protocol seals by its own means shows in messages; that one was sealed does not
// say that all are: SMB encrypts by share, ONC RPC and DCE-RPC by call. So a connection
// that is encrypted is looked at further, and one message of an application in plaintext
// makes it plaintext. What negotiates comes in plaintext of necessity and is none.

// sealedWatch is how much of a connection that is encrypted is looked at, in bytes of
// both directions together, at most maxUpgrade of each.
const sealedWatch = 2 * maxUpgrade

// watch follows the messages of one direction of a protocol that seals.
type watch struct {
	left  int  // bytes of the current message still to come
	reads bool // which is sealed, or none of the protocol: text in it is plaintext
	blind bool // bytes were not seen: only the start of a segment tells
	text  textRun
}

// addGap notes that bytes of a direction were not seen.
func (w *watch) addGap() { *w = watch{blind: true} }

// watchSealed looks for plaintext of an application in a direction's next bytes. It
// reports whether there is any, also before.
func (s *Session) watchSealed(side Side, data []byte) bool {
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

// nextMessage notes what the message is that data begins with.
func (s *Session) nextMessage(side Side, data []byte) {
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

// unseal takes back that the directions are encrypted.
func (s *Session) unseal() {
	for i := range s.sides {
		st := &s.sides[i]
		if st.kind == KindEncrypted {
			st.kind = KindPlain
		}
		st.sealed = false
	}
	s.revision++
}

// watched reports whether a connection is encrypted and still looked at.
func (s *Session) watched() bool {
	return s.encrypted() && s.udp == nil && s.sides[0].seen+s.sides[1].seen <= sealedWatch
}

func (s *Session) encrypted() bool {
	return s.sides[0].kind == KindEncrypted || s.sides[1].kind == KindEncrypted
}
