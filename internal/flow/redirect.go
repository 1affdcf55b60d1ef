package flow

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// Under a mesh's REDIRECT (netfilter's NAT to a local port) a loopback interface shows one connection with two faces.
// The originator's packets go to the proxy, `podIP:p > 127.0.0.1:15001`, and the proxy's packets seem to come from the
// original destination, `10.2.2.2:80 > podIP:p`. Each face looks like a connection whose other side never answers. Two
// faces are paired by the originator's address and port, and by sequence and acknowledgement numbers, which NAT does
// not change.

// face is a key of a connection with only one side seen. It consists of one end of the connection.
type face struct {
	addr   [16]byte
	port   uint16
	iface  uint16
	ipv6   bool
	sender bool // the end is the sender of the packets, otherwise their receiver
}

// tolerance is how many bytes the numbers of the two faces may differ in mid-stream, because of data in flight.
const tolerance = 1 << 20

// addFace enters c, which a packet has just created, in the table of faces.
func (t *Table) addFace(c *Conn, d *Decoded) {
	c.tcp.faces = true
	t.faces[face{d.Src, d.SrcPort, c.Interface, d.IPv6, true}] = c
	t.faces[face{d.Dst, d.DstPort, c.Interface, d.IPv6, false}] = c
}

// removeFace removes c from the table of faces: it was answered, is paired or ends.
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

// pair returns the connection whose second face appears in a packet with an unknown key. Only one face of that
// connection was seen before. pair returns nil if there is no such connection.
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

// answeredBy reports whether a packet comes from the responder of c, if c is a face with only its originator seen.
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

// askedBy reports whether a packet comes from the originator of c, if c is a face with only its responder seen.
func (c *Conn) askedBy(d *Decoded) bool {
	s, o := &c.tcp.side[Originator], &c.tcp.side[Responder]
	if d.SrcPort != c.Orig.Port || c.Orig.Addr != address(d, &d.Src) || d.Flags&wire.FlagSYN != 0 {
		return false
	}
	return s.known && o.known && s.near(d.Seq) && o.near(d.Ack)
}

// near reports whether a sequence number is within tolerance of the next one of s.
func (s *stream) near(seq uint32) bool {
	d := s.offset(seq) - s.next
	return -tolerance <= d && d <= tolerance
}

// reserveKey reports whether the table has capacity for a second key of c. It evicts another connection if necessary.
func (t *Table) reserveKey(c *Conn) bool {
	if t.conns.n >= t.cfg.MaxConns {
		t.unlist(c) // so that c itself is not evicted
		t.evict()
		t.touch(c)
	}
	return t.conns.n < t.cfg.MaxConns
}

// join makes k the second key of c. meant is the endpoint that the originator addressed. proxy is the endpoint to which
// NAT redirected the connection. join returns nil if the table is full.
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
