package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// OneSided reports whether one end of a TCP connection sent nothing but RSTs, or nothing at all, while the other end
// sent other packets. packets is the number of the other end's packets, and resets the number of the first end's RSTs.
// RSTs do not show that the connection exists: a host replies with a RST to a segment of no connection (RFC 9293,
// section 3.10.7.1), and with an acknowledgement to a segment that it accepts.
func (c *Conn) OneSided() (packets, resets uint64, oneSided bool) {
	if c.Transport != wire.ProtoTCP {
		return 0, 0, false
	}
	for side := range Side(2) {
		if n := uint64(c.tcp.resets[side.Other()]); c.endpoint(side.Other()).Packets == n && c.endpoint(side).Packets > uint64(c.tcp.resets[side]) {
			return c.endpoint(side).Packets, n, true
		}
	}
	return 0, 0, false
}

// Unanswered reports whether packets of a connection arrived for this host and the host has sent none, not even a RST. It is false if
// Config.Local is nil.
func (c *Conn) Unanswered() bool {
	switch {
	case c.Transport != wire.ProtoTCP || !c.Located || c.OrigLocal == c.RespLocal:
		return false
	case c.OrigLocal:
		return c.Orig.Packets == 0 && c.Resp.Packets > 0
	default:
		return c.Resp.Packets == 0 && c.Orig.Packets > 0
	}
}

// maxResets bounds the count of RSTs of a side.
const maxResets = 255

// countReset counts a RST of a side. A RST that arrives in a live capture counts only if its numbers answer a segment:
// a third host may have forged it to make a connection look refused.
func (c *Conn) countReset(side Side, d *Decoded) {
	if n := &c.tcp.resets[side]; *n < maxResets && (!d.arrived || c.refuses(side, d)) {
		*n++
	}
}

// refuses reports whether a RST of a side may answer a segment that belongs to no connection: the RST has the
// segment's acknowledgement number as its sequence number, or it acknowledges the segment.
func (c *Conn) refuses(side Side, d *Decoded) bool {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&wire.FlagACK == 0 {
		return s.known && d.Seq == s.base
	}
	n := o.offset(d.Ack)
	return o.known && n >= 0 && n <= c.sentEnd(side.Other())
}

// endsOneSided reports whether c ceases to be OneSided with the packet d of a side, which was already counted, if the
// other side has sent payload. The packet is then the side's first one that is not a RST. A packet with payload does
// not count.
func (c *Conn) endsOneSided(side Side, d *Decoded) bool {
	return c.endpoint(side).Packets == 1+uint64(c.tcp.resets[side]) && d.PayloadLen == 0 && d.Flags&wire.FlagRST == 0 &&
		d.Transport == wire.ProtoTCP && c.endpoint(side.Other()).Bytes > 0 && !c.Excluded
}
