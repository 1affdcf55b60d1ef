package evidence

import (
	"bytes"
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

const (
	// maxConversations bounds the connections that a Truncator knows. Each takes about 700 bytes.
	maxConversations = 4096

	// flightBytes is the length in bytes of the start of a direction in which the headers of all protected records are written, which
	// show the sizes of the handshake's encrypted messages. Later only the headers before the first protected content of a packet are.
	flightBytes = 32 << 10
)

// A Truncator removes payload from packets as they are captured. Headers remain, and so do TLS, DTLS and QUIC handshakes that are not
// encrypted. Of a TCP direction in plaintext only the first payload remains, masked as in evidence and up to the end of its first line.
// The content of protected records is replaced, and the last one of a packet is removed. It is not safe for concurrent use.
type Truncator struct {
	known map[conversationKey]*conversation
	raw   []byte // the payload of the current packet as it was captured
}

// conversationKey identifies a connection. The lower end is first.
type conversationKey struct {
	addresses [2][16]byte
	ports     [2]uint16
	transport uint8
	iface     uint16
	zone      flow.Zone
}

// conversation is the state of a connection.
type conversation struct {
	sides     [2]direction
	datagrams datagrams
}

// direction is the state of one direction of a TCP connection.
type direction struct {
	stream stream
	start  start
	known  bool
	next   uint32 // the next sequence number
	sent   int    // bytes of the stream up to next
}

// start is the part of a stream's state that only a Truncator uses.
type start struct {
	midway   bool // the SYN was not seen
	over     bool // the first payload in plaintext, or TLS, was seen
	end      int  // index after the last byte of the current packet that was not replaced
	replaced int  // index of the first byte of the current packet that was replaced; -1: none
}

// NewTruncator returns a Truncator that has seen no packet.
func NewTruncator() *Truncator { return &Truncator{known: map[conversationKey]*conversation{}} }

// Truncate returns the number of bytes of p.Data that may be written. It replaces some of them in p.Data. A TCP segment that was sent again or
// arrives out of order loses its payload.
func (t *Truncator) Truncate(p *flow.Packet) int {
	var d flow.Decoded
	ok := flow.Decode(p, &d)
	at := headerBytes(p.Link, p.Data)
	if !ok || d.Fragment {
		return at
	}
	if len(d.Payload) > 0 {
		at, _ = payloadOffset(p.Data, d.Payload)
	}
	c, side := t.find(p, &d)
	if d.Transport == wire.ProtoUDP {
		return at + c.datagrams.truncate(d.Payload)
	}
	return at + c.sides[side].truncate(&d, &t.raw)
}

// find returns the connection of a packet, and the index of the sender's side. If too many are known, it forgets one of them.
func (t *Truncator) find(p *flow.Packet, d *flow.Decoded) (*conversation, int) {
	k := conversationKey{[2][16]byte{d.Src, d.Dst}, [2]uint16{d.SrcPort, d.DstPort}, d.Transport, p.Interface, d.Zone}
	side := 0
	if order := bytes.Compare(d.Src[:], d.Dst[:]); order > 0 || order == 0 && d.SrcPort > d.DstPort {
		k.addresses[0], k.addresses[1] = d.Dst, d.Src
		k.ports[0], k.ports[1] = d.DstPort, d.SrcPort
		side = 1
	}
	c := t.known[k]
	if c == nil {
		for old := range t.known {
			if len(t.known) < maxConversations {
				break
			}
			delete(t.known, old)
		}
		c = &conversation{}
		t.known[k] = c
	}
	return c, side
}

// truncate processes a segment and returns how many bytes of its payload may be written. raw is memory for a copy of the payload.
func (x *direction) truncate(d *flow.Decoded, raw *[]byte) int {
	seq, n := d.Seq, d.PayloadLen
	if d.Flags&wire.FlagSYN != 0 {
		seq++
		*x = direction{known: true, next: seq}
	} else if !x.known {
		*x = direction{known: true, next: seq, start: start{midway: true}}
	}
	s := &x.stream
	ahead := int(int32(seq - x.next))
	if fresh := ahead + n; ahead < 0 || n == 0 {
		if n > 0 && fresh > 0 {
			s.gap(int64(fresh))
			x.next += uint32(fresh)
		}
		return 0
	}
	if ahead > 0 {
		s.gap(int64(ahead))
	}
	x.next = seq + uint32(n)
	x.sent += ahead + n

	*raw = append((*raw)[:0], d.Payload...)
	s.raw, s.out, s.brief = *raw, d.Payload, &x.start
	x.start.end, x.start.replaced = 0, -1
	s.add(0, len(d.Payload))
	s.raw, s.out = nil, nil
	if missing := n - len(d.Payload); missing > 0 {
		s.gap(int64(missing))
	}
	if x.start.replaced >= 0 && x.sent > flightBytes {
		return min(x.start.end, x.start.replaced)
	}
	return x.start.end
}

// kept notes that the byte before index at is written as it was captured.
func (s *stream) kept(at int) {
	if s.brief != nil {
		s.brief.end = at
	}
}

// addStart does for a Truncator what addPlain does for a file of evidence: only the first payload of a direction is masked and written. If the
// start of the connection was not seen, the payload must be text, since it may be the middle of a protected record.
func (s *stream) addStart(at, end int) int {
	x := s.brief
	if startsTLS(s.raw[at:end]) && (!x.over || startsHello(s.raw[at:end])) {
		x.over = true
		s.startTLS()
		return at
	}
	if x.over || x.midway && !isTextHead(s.raw[at:end]) {
		return end
	}
	x.over = true
	if !isTextHead(s.raw[at:end]) && !isRecognized(s.raw[at:end]) && preface(s.raw[at:end]) == 0 {
		return end // any of its bytes may be a value
	}
	at += maskPlain(s.out[at:end])
	x.end = at
	if at < end && startsTLS(s.raw[at:end]) {
		s.startTLS()
		return at
	}
	return end
}

// startsHello reports whether b begins with a record of a ClientHello or ServerHello. After plaintext TLS begins with one; other content that
// looks like a record is payload.
func startsHello(b []byte) bool {
	return len(b) > wire.RecordHeader && b[0] == wire.ContentHandshake && (b[wire.RecordHeader] == 1 || b[wire.RecordHeader] == 2)
}

// isRecognized reports whether a recognizer of protocols knows the start of a segment.
func isRecognized(b []byte) bool {
	candidates := protocols.StartingWith(b[0])
	for i := candidates.Next(0); i >= 0; i = candidates.Next(i + 1) {
		if r := &protocols.TCP[i]; r.Client(b) >= protocols.Maybe || r.Server(b) >= protocols.Maybe {
			return true
		}
	}
	return false
}

// truncate returns how many bytes of a datagram may be written. Of DTLS it replaces protected content. A connection is DTLS or QUIC from its
// first hello or Initial packet on.
func (g *datagrams) truncate(b []byte) int {
	const dtlsHeader = 13
	switch {
	case len(b) == 0:
	case b[0] >= wire.ContentChangeCipherSpec && b[0] <= wire.ContentCID && len(b) >= dtlsHeader && b[1] == 0xfe:
		plain := b[0] != wire.ContentApplicationData && b[3]|b[4] == 0 // epoch 0
		g.dtls = g.dtls || startsHelloDTLS(b)
		if plain && g.dtls {
			reduceDTLS(b)
			return len(b)
		}
		return dtlsHeader
	case g.dtls && b[0]>>5 == 1: // RFC 9147, section 4
		return min(5, len(b))
	case b[0]&0xc0 == 0xc0 && len(b) > 6 && (isQUIC(b[1:5]) || g.quic && b[1]|b[2]|b[3]|b[4] == 0):
		g.quic = true
		return initialBytes(b)
	case g.quic:
		return 1 // the flags of a short header
	}
	return 0
}

// startsHelloDTLS reports whether a datagram begins with a hello: ClientHello, ServerHello or HelloVerifyRequest (RFC 6347, section 4.3.2).
func startsHelloDTLS(b []byte) bool {
	return len(b) > 13 && b[0] == wire.ContentHandshake && b[3]|b[4] == 0 && b[13] >= 1 && b[13] <= 3
}

// isQUIC reports whether the four bytes are a version of QUIC: 1, 2 or a draft of version 1 (RFC 9000, section 15, RFC 9369).
func isQUIC(version []byte) bool {
	n := binary.BigEndian.Uint32(version)
	return n == 1 || n == 0x6b3343cf || n>>8 == 0xff0000
}

// initialBytes returns the length of an Initial packet at the start of a datagram (RFC 9000, section 17.2.2). Of any other packet with a long header
// it returns the length of version and connection IDs.
func initialBytes(b []byte) int {
	at := 6 + int(b[5])
	if at >= len(b) {
		return len(b[:6])
	}
	if at += 1 + int(b[at]); at > len(b) {
		return 6
	}
	initial := byte(0)
	if b[1] == 0x6b {
		initial = 1 // RFC 9369, section 3.2
	}
	if b[1]|b[2]|b[3]|b[4] == 0 || b[0]>>4&3 != initial {
		return at
	}
	token, n := varint(b[at:])
	if n == 0 || token > uint64(len(b)-at-n) {
		return at
	}
	size, m := varint(b[at+n+int(token):])
	if m == 0 {
		return at
	}
	end := at + n + int(token) + m
	return end + int(min(size, uint64(len(b)-end)))
}

// varint returns a variable-length integer and its length in bytes, 0 if b is too short (RFC 9000, section 16).
func varint(b []byte) (v uint64, n int) {
	if len(b) == 0 || len(b) < 1<<(b[0]>>6) {
		return 0, 0
	}
	n = 1 << (b[0] >> 6)
	v = uint64(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}
