package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// Undelivered reports whether a TCP side has sent more than the Handler was given: bytes wait
// for a gap before them, the other side has acknowledged more, or the side's own sequence
// numbers are further on. Until Undelivered is false, or the missing bytes were reported as a
// gap, nothing may be concluded from their absence. A FIN that was never seen counts as one
// byte. Undelivered is false for a connection whose payload is not wanted (Done, Excluded).
func (c *Conn) Undelivered(side Side) bool {
	if c.Transport != wire.ProtoTCP || c.tcp.done || c.Excluded {
		return false
	}
	s := &c.tcp.side[side]
	most := max(s.acked, s.sent)
	if s.fin >= 0 {
		most = min(most, s.fin) // a FIN takes one number too
	}
	return most > s.next || s.next > s.delivered || c.gapped(side) || c.suspects() > 0
}
