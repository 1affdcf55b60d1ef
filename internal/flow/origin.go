package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// Origin is what the kernel says of how a packet came before the interface (sll_pkttype
// of packet(7)).
type Origin uint8

// The origins.
const (
	OriginUnknown   Origin = iota // a capture file, or the loopback interface, where all packets are the host's own
	OriginSent                    // the packet left this host
	OriginArrived                 // the packet arrived for this host
	OriginGroup                   // the packet arrived for a group or for all hosts
	OriginElsewhere               // the packet arrived for another host, as a bridge floods it
	origins                       // how many there are
)

// admits reports whether a packet of a known origin takes part in a conversation of this
// host, and counts it where it does not. c is the packet's connection, nil if there is
// none yet.
//
// The local end must be the one that the origin implies: the sender of a packet that left,
// the receiver of one that arrived. A packet that arrived from one of the host's own
// addresses is forged, whatever its destination: the kernel sends those over lo.
func (t *Table) admits(c *Conn, from Origin, d *Decoded) bool {
	switch {
	case from == OriginUnknown || t.cfg.Local == nil:
		return true
	case from == OriginSent && (c != nil || t.cfg.Local(address(d, &d.Src))):
		return true
	case from == OriginSent:
	case c != nil && c.isLocal(c.sender(d)), c == nil && t.cfg.Local(address(d, &d.Src)):
		t.stats.Refused++
		return false
	case c != nil, t.cfg.Local(address(d, &d.Dst)):
		return true
	case d.Transport == wire.ProtoUDP && t.cfg.Group != nil && t.cfg.Group(address(d, &d.Dst)):
		return true
	}
	if t.forwards() {
		return true
	}
	t.stats.Foreign++
	return false
}

// forwards reports whether conversations without a local end are admitted.
func (t *Table) forwards() bool { return t.cfg.Forwarded != nil && t.cfg.Forwarded() }

// locate notes which ends of a new connection are the host's own.
func (t *Table) locate(c *Conn) {
	if t.cfg.Local != nil {
		c.Located, c.OrigLocal, c.RespLocal = true, t.cfg.Local(c.Orig.Addr), t.cfg.Local(c.Resp.Addr)
	}
}

func (c *Conn) isLocal(s Side) bool {
	if s == Originator {
		return c.OrigLocal
	}
	return c.RespLocal
}
