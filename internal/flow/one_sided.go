package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// OneSided reports whether one end of a TCP connection is all that was seen of it, but for RSTs of the
// other end. It returns the number of packets of that end, and that of the RSTs of the other one.
// A host answers each segment that belongs to no connection with a RST (RFC 9293, section 3.10.7.1);
// one that takes what a segment brings says so by an acknowledgement.
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

// maxResets is how many RSTs of a side are counted.
const maxResets = 255

// countReset counts a RST of a side. One that arrives at a live capture counts only if its numbers
// are those of an answer: others may have made it up, to make a connection look refused.
func (c *Conn) countReset(side Side, d *Decoded) {
	if n := &c.tcp.resets[side]; *n < maxResets && (!d.arrived || c.refuses(side, d)) {
		*n++
	}
}

// refuses reports whether the numbers of a RST are those by which a host answers a segment that
// belongs to no connection: the segment's acknowledgement number as its own sequence number, or an acknowledgement of the segment.
func (c *Conn) refuses(side Side, d *Decoded) bool {
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if d.Flags&wire.FlagACK == 0 {
		return s.known && d.Seq == s.base
	}
	n := o.offset(d.Ack)
	return o.known && n >= 0 && n <= c.sentEnd(side.Other())
}

// endsOneSided reports whether the packet of a side that was just counted is the first one of that side
// that is no RST, has no payload, and follows payload of the other side, which was alone until then.
func (c *Conn) endsOneSided(side Side, d *Decoded) bool {
	return c.endpoint(side).Packets == 1+uint64(c.tcp.resets[side]) && d.PayloadLen == 0 && d.Flags&wire.FlagRST == 0 &&
		d.Transport == wire.ProtoTCP && c.endpoint(side.Other()).Bytes > 0 && !c.Excluded
}
