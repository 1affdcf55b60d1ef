package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// endState is the state of one end, as in Zeek (src/analyzer/protocol/tcp/TCP_Endpoint.h).
type endState uint8

const (
	inactive endState = iota // no packet was seen
	synSent
	synAckSent
	partial // packets were seen, but no SYN
	established
	closed
	aborted
)

// updateState updates the states of the ends from a segment, except for its FIN or RST. Those take effect in close, in
// order with the data.
func (c *Conn) updateState(side Side, d *Decoded) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	switch {
	case d.Flags&wire.FlagSYN != 0 && s.state == partial && o.state == inactive && d.Flags&wire.FlagACK == 0:
		s.state = synSent
	case s.state != inactive || d.Flags&wire.FlagRST != 0:
		return
	case d.Flags&wire.FlagSYN != 0 && side == Originator:
		s.state = synSent
		if d.Flags&wire.FlagACK != 0 {
			s.state = synAckSent
		}
	case d.Flags&wire.FlagSYN != 0:
		if o.state == synSent {
			o.state = established
		}
		s.state = established
	case side == Responder && o.state == synSent && d.PayloadLen == 0 && d.Flags&wire.FlagFIN == 0:
		// Some stacks acknowledge a SYN before they send their own.
	case d.Flags&wire.FlagACK != 0 && o.state == established && c.isnSeen(side.Other()):
		s.state = established // the SYN was not captured, the SYN-ACK was
	default:
		s.state = partial
	}

	c.State = c.state()
}

// close applies a FIN (to closed) or a RST (to aborted) of a side.
func (c *Conn) close(side Side, to endState) {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	switch {
	case s.state == aborted:
		return
	case s.state == closed && (to == closed || o.state == closed):
		return
	case to == closed && o.state == aborted && o.prevState == closed:
		o.state = closed // a RST after the FIN: the connection ended normally
	}
	s.prevState, s.state = s.state, to
	c.State = c.state()
}

// state returns Zeek's conn_state (scripts/base/protocols/conn/main.zeek).
func (c *Conn) state() State {
	o, r := c.tcp.side[Originator].state, c.tcp.side[Responder].state
	origUnseen, respUnseen := o == inactive || o == partial, r == inactive || r == partial
	pick := func(cond bool, yes, no State) State {
		if cond {
			return yes
		}
		return no
	}

	switch {
	case r == aborted && (o == synSent || o == synAckSent),
		r == aborted && o == aborted && c.tcp.side[0].next+c.tcp.side[1].next == 0:
		return REJ
	case r == aborted:
		return pick(origUnseen, RSTRH, RSTR)
	case o == aborted && respUnseen:
		return pick(c.tcp.side[Originator].prevState == synSent, RSTOS0, OTH)
	case o == aborted:
		return RSTO
	case r == closed && o == closed:
		return SF
	case o == closed:
		return pick(respUnseen, SH, S2)
	case r == closed:
		return pick(origUnseen, SHR, S3)
	case o == synSent && r == inactive:
		return S0
	case o == established && r == established:
		return S1
	}

	return OTH
}

// closing reports whether the connection is about to end: both sides sent a FIN or one sent a RST. Data before them may
// still be missing.
func (c *Conn) closing() bool {
	o, r := &c.tcp.side[Originator], &c.tcp.side[Responder]
	return o.reset || r.reset || o.fin >= 0 && r.fin >= 0
}
