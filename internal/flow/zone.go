package flow

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Zone identifies the network of a packet, if a capture shows several networks. It is a hash of the VLANs (IEEE 802.1Q)
// and of the tunnels around the packet, with their identifiers and outer addresses. Two tenants may use the same
// addresses and ports in two zones. The zero value means no VLAN and no tunnel.
type Zone uint32

// In returns the zone of a network inside z. id is the network's identifier in a header. kind is the EtherType, IP
// protocol number or UDP port of that header; no two kinds in use are equal. Different identifiers of one kind in one
// zone give different zones.
func (z Zone) In(kind uint16, id uint32) Zone {
	const spread = 0x9e3779b1
	return max(scramble((z+Zone(kind)*spread)^Zone(id)), 1)
}

// scramble is the finalizer of MurmurHash3, a bijection.
func scramble(z Zone) Zone {
	z ^= z >> 16
	z *= 0x85ebca6b
	z ^= z >> 13
	z *= 0xc2b2ae35
	return z ^ z>>16
}

// VLAN returns the zone of a VLAN inside z, by the EtherType and the control information of its tag. A tag with
// identifier 0 carries only a priority and does not change the zone.
func (z Zone) VLAN(typ, control uint16) Zone {
	const identifier = 0x0fff
	if control&identifier == 0 {
		return z
	}
	return z.In(typ, uint32(control&identifier))
}

// enterTunnel starts the decoding of a tunneled packet (decapsulate). It sets a zone for the tunnel's two ends, which
// is the same in both directions. It returns false if no tunnel may be decapsulated.
func (d *Decoded) enterTunnel(kind uint16) bool {
	if d.tunnels == 0 {
		return false
	}
	z := d.Zone.In(kind, hashAddress(&d.Src)+hashAddress(&d.Dst))
	if !d.decapsulate() {
		return false
	}
	d.Zone = z
	return true
}

// hashAddress returns a hash of an address of a Decoded.
func hashAddress(a *[16]byte) uint32 {
	z := Zone(0)
	for i := 0; i < len(a); i += 4 {
		z = scramble(z ^ Zone(binary.BigEndian.Uint32(a[i:])))
	}
	return uint32(z)
}

// The two directions of a connection are usually in one zone, but may be in two. A router that is captured on its
// receiving interfaces shows two VLANs. MPLS labels and GTP-U endpoint identifiers belong to one direction. A load
// balancer may tunnel only one direction. So a connection with only one end seen (lone) also accepts packets of the
// other end from another zone, if their numbers fit. If either end then sends in the zone of the other end, that zone
// shows a conversation of its own. The connection is then marked with Conflict, and further packets in that zone belong
// to another connection.

// acrossZones returns the connection that a packet with an unknown key continues from another zone, nil if there is
// none.
func (t *Table) acrossZones(k key, d *Decoded) *Conn {
	if k.zone == 0 && len(t.lone) == 0 {
		return nil
	}
	anywhere := k
	anywhere.zone = 0
	c, other := t.lone[anywhere], (*Conn)(nil)
	if k.zone != 0 {
		other = t.conns.find(&anywhere, d)
	}
	if c == nil || !c.continuesAs(d) {
		c, other = other, nil
	}
	if c == nil || !c.continuesAs(d) {
		return nil
	}

	unsure := other != nil && other.continuesAs(d) || c.tcp.rival
	if !t.reserveKey(c) {
		return nil
	}
	if unsure {
		t.conflict(c) // the packet may belong to the other connection
	}
	t.unlistLone(c)
	c.Zones[c.sender(d)] = k.zone
	t.conns.add(&k, c)
	return c
}

// continuesAs reports whether a packet may be the first packet of an end of c, if only the other end was seen so far.
func (c *Conn) continuesAs(d *Decoded) bool {
	from := c.sender(d)
	if c.endpoint(from).Packets > 0 || c.endpoint(from.Other()).Packets == 0 {
		return false
	}
	if c.Transport == wire.ProtoUDP {
		return true
	}
	s, o := &c.tcp.side[from], &c.tcp.side[from.Other()]
	answers := c.isnSeen(from.Other()) && d.Ack-o.base <= uint32(o.next)
	switch {
	case d.Flags&(wire.FlagSYN|wire.FlagACK) == wire.FlagSYN: // the SYN-ACK has overtaken the SYN
		return from == Originator && c.RespISNSeen && s.known && d.Seq+1 == s.base
	case !o.known || d.Flags&wire.FlagACK == 0:
		return false
	case d.Flags&wire.FlagSYN != 0:
		return answers && (!s.known || d.Seq+1 == s.base)
	case d.Flags&wire.FlagRST != 0 && !s.known:
		return answers
	}
	return s.known && s.near(d.Seq) && o.near(d.Ack)
}

// listLone enters c, which was just created, in the table of lone connections. If the table has a lone connection with
// the same ports in another zone, c replaces it. It is then unknown to which of the two connections an answer belongs.
func (t *Table) listLone(c *Conn, k key) {
	if k.zone == 0 {
		return
	}
	if t.lone == nil {
		t.lone = map[key]*Conn{}
	}
	k.zone = 0
	if old := t.lone[k]; old != nil {
		c.tcp.rival, old.tcp.lone = true, false
	}
	t.lone[k], c.tcp.lone = c, true
}

// unlistLone removes c from the table of lone connections, because both ends were seen or c ends.
func (t *Table) unlistLone(c *Conn) {
	if c.tcp.lone {
		c.tcp.lone = false
		delete(t.lone, c.keyTo(&c.Resp, 0))
	}
}

// inOtherZone reports whether a packet of c is in the zone of the end that did not send it.
func (c *Conn) inOtherZone(k *key, d *Decoded) bool {
	return c.Zones[Originator] != c.Zones[Responder] && k.zone != c.Zones[c.sender(d)]
}

// splitZone removes a zone from c, because the zone shows a conversation of its own.
func (t *Table) splitZone(c *Conn, k *key) {
	t.conflict(c)
	t.conns.remove(k, c)
	t.last = nil
	for side := range Side(2) {
		if c.Zones[side] == k.zone {
			c.Zones[side] = c.Zones[side.Other()]
		}
	}
}
