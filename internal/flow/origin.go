package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// Origin is how a packet came to the interface, as the kernel reports it (sll_pkttype in packet(7)).
type Origin uint8

// The origins.
const (
	OriginUnknown   Origin = iota // a capture file, or the loopback interface, where all packets are the host's own
	OriginSent                    // the packet left this host
	OriginArrived                 // the packet arrived for this host
	OriginGroup                   // the packet arrived for a multicast group or for all hosts
	OriginElsewhere               // the packet arrived for another host, for example flooded by a bridge
	origins                       // number of origins
)

// admits reports whether a packet belongs to a conversation of this host, and counts a packet that does not. c
// is the packet's connection, or nil if it has no connection yet.
//
// If a packet left this host its sender must be local; if it arrived, its receiver must be. A packet that arrived from
// one of the host's own addresses is forged, because the kernel sends packets between these addresses over lo.
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

// locate sets which ends of a new connection are local.
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
