package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// Under a mesh's REDIRECT (netfilter's NAT to a local port) a loopback interface shows
// one connection with two faces: what the originator sends goes to the proxy's address,
// `podIP:p > 127.0.0.1:15001`, and what the proxy sends seems to come from where the
// originator meant to go, `10.2.2.2:80 > podIP:p`. Each face alone is a connection
// whose other side never answers. They are paired by the originator's address and port
// and by sequence and acknowledgement numbers, which NAT leaves alone.

// face finds a connection of which one side was seen only, by one of its ends.
type face struct {
	addr   [16]byte
	port   uint16
	iface  uint16
	ipv6   bool
	sender bool // the end that the packets come from, else the one they go to
}

// tolerance is how far sequence and acknowledgement numbers of the two faces may be
// apart in mid-stream: what is in flight.
const tolerance = 1 << 20

// addFace lists c, which a packet has just opened, to be found by its second face.
func (t *Table) addFace(c *Conn, d *Decoded) {
	c.tcp.faces = true
	t.faces[face{d.Src, d.SrcPort, c.Interface, d.IPv6, true}] = c
	t.faces[face{d.Dst, d.DstPort, c.Interface, d.IPv6, false}] = c
}

// removeFace takes c from the list: it was answered, paired or is over.
func (t *Table) removeFace(c *Conn) {
	if !c.tcp.faces {
		return
	}
	c.tcp.faces = false
	for side := range Side(2) {
		e := c.endpoint(side)
		f := face{addr: bytesOf(e.Addr), port: e.Port, iface: c.Interface, ipv6: !e.Addr.Is4()}
		for range 2 {
			if t.faces[f] == c {
				delete(t.faces, f)
			}
			f.sender = true
		}
	}
}

// pair returns the connection that a packet of an unknown tuple is the second face of,
// or nil.
func (t *Table) pair(k key, d *Decoded) *Conn {
	if d.Flags&wire.FlagACK == 0 {
		return nil
	}
	if c := t.faces[face{d.Dst, d.DstPort, k.iface(), d.IPv6, true}]; c != nil && c.answeredBy(d) {
		return t.join(c, k, Endpoint{Addr: address(d, &d.Src), Port: d.SrcPort}, c.Resp)
	}
	if c := t.faces[face{d.Src, d.SrcPort, k.iface(), d.IPv6, false}]; c != nil && c.askedBy(d) {
		return t.join(c, k, c.Resp, Endpoint{Addr: address(d, &d.Dst), Port: d.DstPort})
	}
	return nil
}

// answeredBy reports whether a packet answers c, a face of which only the originator was
// seen.
func (c *Conn) answeredBy(d *Decoded) bool {
	s, o := &c.tcp.side[Originator], &c.tcp.side[Responder]
	if d.DstPort != c.Orig.Port || c.Orig.Addr != address(d, &d.Dst) || !s.known {
		return false
	}
	if d.Flags&wire.FlagSYN != 0 {
		return c.OrigISNSeen && (d.Ack == c.OrigISN+1 || d.Ack == s.base+uint32(s.next))
	}
	return o.known && s.near(d.Ack) && o.near(d.Seq)
}

// askedBy reports whether a packet is the originator's side of c, a face of which only the
// responder was seen.
func (c *Conn) askedBy(d *Decoded) bool {
	s, o := &c.tcp.side[Originator], &c.tcp.side[Responder]
	if d.SrcPort != c.Orig.Port || c.Orig.Addr != address(d, &d.Src) || d.Flags&wire.FlagSYN != 0 {
		return false
	}
	return s.known && o.known && s.near(d.Seq) && o.near(d.Ack)
}

// near reports whether a sequence number is close to what comes next in s.
func (s *stream) near(seq uint32) bool {
	d := s.offset(seq) - s.next
	return -tolerance <= d && d <= tolerance
}

// reserveKey makes room for a second key of c and reports whether there is some.
func (t *Table) reserveKey(c *Conn) bool {
	if t.conns.n >= t.cfg.MaxConns {
		t.unlist(c) // not to be evicted for its own sake
		t.evict()
		t.touch(c)
	}
	return t.conns.n < t.cfg.MaxConns
}

// join makes k the second tuple of c, whose originator meant to go to one address and
// was taken to another. It returns nil if there is no room.
func (t *Table) join(c *Conn, k key, meant, proxy Endpoint) *Conn {
	if !t.reserveKey(c) {
		return nil
	}
	t.removeFace(c)
	c.Resp.Addr, c.Resp.Port = meant.Addr, meant.Port
	c.Redirected = &Endpoint{Addr: proxy.Addr, Port: proxy.Port}
	t.conns.add(&k, c)
	t.stats.Redirected++
	return c
}
