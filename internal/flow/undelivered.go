package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// Undelivered reports whether a TCP side has sent bytes that were neither delivered nor reported as a gap: bytes after
// a gap are buffered, the other side has acknowledged more, or the side's own sequence numbers are further ahead. While
// Undelivered is true, the absence of bytes proves nothing. A FIN that was not captured counts as one byte. The result
// is false for a connection whose payload is not delivered (Done, Excluded).
func (c *Conn) Undelivered(side Side) bool {
	if c.Transport != wire.ProtoTCP || c.tcp.done || c.Excluded {
		return false
	}
	s := &c.tcp.side[side]
	most := max(s.acked, s.sent)
	if s.fin >= 0 {
		most = min(most, s.fin) // a FIN has a sequence number too
	}
	return most > s.next || s.next > s.delivered || c.gapped(side) || c.suspects() > 0
}

// LateStart reports whether a side of a TCP connection has sent bytes before the first ones that were delivered: its SYN was not seen,
// and earlier bytes were captured later or acknowledged. They are not delivered, so their absence proves nothing.
func (c *Conn) LateStart() bool {
	return c.tcp.side[Originator].origin == startLate || c.tcp.side[Responder].origin == startLate
}
