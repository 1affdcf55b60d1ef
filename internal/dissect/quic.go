package dissect

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
)

const (
	// maxInitials bounds the Initial packets of a side that are decrypted.
	maxInitials = 24
	maxConnID   = 20 // RFC 9000 section 17.2
	// minInitial is the least size of a datagram with an Initial (RFC 9000 section 14.1).
	minInitial = 1200
	// enough1RTT is how many packets with the keys of application data each side must send before the handshake counts as established.
	enough1RTT = 4
	// maxCoalesced bounds the packets of a datagram that are read.
	maxCoalesced = 16
)

// quic reads the Initial packets of a connection up to the hellos. The keys of Initial packets derive from the client's first destination
// connection ID, so anybody can compute them (RFC 9001 section 5.2).
type quic struct {
	client     Side
	dcid       []byte // the keys derive from it; nil until a packet was decrypted
	guess      []byte // likely dcid, from an Initial that was truncated or deferred
	guessed    Side   // side of guess
	keys       [2]*initialKeys
	version    uint32 // version of keys
	tried      [2]int
	crypto     [2]cryptoStream
	deferredOf Side                  // side whose packets are deferred
	deferred   int                   // how many packets
	deferredAt [maxDeferredOf]uint16 // slots of the packets
}

// cryptoStream is the CRYPTO stream of a side's Initials.
type cryptoStream struct {
	next  uint64
	early reorderBuffer
}

// quicPacket reports whether b begins with a long header of QUIC version 1 or 2, except a version negotiation (RFC 9000 section 17.2, RFC
// 9369).
func quicPacket(b []byte) bool {
	h, ok := readLongHeader(b)
	return ok && h.kind != packetNegotiation
}

// quicBegins reports whether b may be a client's first datagram: it begins with a quicPacket and is large enough. If the capture has
// truncated the datagram, the length in the packet's header counts.
func quicBegins(b []byte) bool {
	h, ok := readLongHeader(b)
	return ok && h.kind != packetNegotiation && max(len(b), h.end) >= minInitial
}

// quicAnswer reports whether b may be the first datagram of a server: it has a long header, or is a version negotiation.
func quicAnswer(b []byte) bool {
	_, ok := readLongHeader(b)
	return ok
}

// Kinds of packets with a long header.
const (
	packetInitial = iota
	packet0RTT
	packetHandshake
	packetRetry
	packetNegotiation
)

// longHeader has the unprotected fields of a long header of QUIC (RFC 9000 section 17.2).
type longHeader struct {
	version  uint32
	kind     int
	dcid     []byte
	numberAt int // offset of the packet number
	end      int // offset right after the packet
}

// readLongHeader parses the header of a packet. ok is false if the header is not a long header of a known version. If the packet is
// truncated, h.end is beyond the end of b.
func readLongHeader(b []byte) (h longHeader, ok bool) {
	s := cryptobyte.String(b)
	var first, n uint8
	var scid []byte
	if !s.ReadUint8(&first) || first&0x80 == 0 || !s.ReadUint32(&h.version) || !s.ReadUint8(&n) || n > maxConnID || !s.ReadBytes(&h.dcid, int(n)) ||
		!s.ReadUint8(&n) || n > maxConnID || !s.ReadBytes(&scid, int(n)) {
		return h, false
	}
	if h.version == 0 {
		h.kind, h.end = packetNegotiation, len(b)
		return h, true
	}
	v, known := quicVersions[h.version]
	if !known || first&0x40 == 0 {
		return h, false
	}
	h.kind = int(first>>4&3-v.initial) & 3
	if h.kind == packetRetry {
		h.end = len(b)
		return h, true
	}
	if h.kind == packetInitial {
		token, ok := readVarint(&s)
		if !ok || token > uint64(len(s)) || !s.Skip(int(token)) {
			return h, false
		}
	}

	length, ok := readVarint(&s)
	if !ok || length > 1<<16 {
		return h, false
	}
	h.numberAt = len(b) - len(s)
	h.end = h.numberAt + int(length)
	return h, true
}

// readVarint consumes a variable-length integer (RFC 9000 section 16).
func readVarint(s *cryptobyte.String) (uint64, bool) {
	var b uint8
	if !s.ReadUint8(&b) {
		return 0, false
	}
	v := uint64(b & 0x3f)
	for range 1<<(b>>6) - 1 {
		if !s.ReadUint8(&b) {
			return 0, false
		}
		v = v<<8 | uint64(b)
	}
	return v, true
}

// quicDatagram processes the packets of one datagram.
func (s *udpLayer) quicDatagram(side Side, b []byte) {
	t, q := s.tls, s.udp.quic
	if q.deferred > 0 && side != q.deferredOf {
		s.readDeferred()
	}
	for i := range maxCoalesced {
		if len(b) == 0 {
			return
		}
		if b[0]&0x80 == 0 {
			if i > 0 && b[0]&0x40 == 0 {
				return // the rest is not a packet but padding of the datagram
			}
			s.examinePacket(side, b)
			if t.Protected1RTT[side]++; t.Protected1RTT[side] <= enough1RTT {
				s.revision++
			}
			return
		}
		h, ok := readLongHeader(b)
		if !ok {
			return
		}
		switch h.kind {
		case packetNegotiation:
			return
		case packetRetry:
			t.QUICRetry = true
			return
		}
		t.QUICVersion = h.version
		s.examinePacket(side, b[h.numberAt:max(h.numberAt, min(h.end, len(b)))])
		if h.end > len(b) {
			if h.kind == packetInitial {
				q.guessFrom(side, h)
			}
			return
		}
		if h.kind == packetInitial && !s.quicDone(side) && q.tried[side] < maxInitials {
			q.tried[side]++
			if s.sides[side.Other()].seen > 0 || s.pool.mayRead(s.source) {
				s.quicInitial(side, b[:h.end], h)
			} else {
				q.guessFrom(side, h)
				s.deferPacket(side, b[:h.end])
			}
		}
		b = b[h.end:]
	}
}

// quicInitial processes an Initial of a side.
func (s *udpLayer) quicInitial(side Side, packet []byte, h longHeader) {
	if payload := s.udp.quic.open(side, packet, h); payload != nil {
		s.tls.setRoles(s.udp.quic.client)
		s.quicFrames(side, payload)
	}
}

// guessFrom assumes that the connection ID of an unreadable Initial is the client's first one. It does nothing if the client's first
// connection ID is known or was guessed before.
func (q *quic) guessFrom(side Side, h longHeader) {
	if q.dcid == nil && q.guess == nil {
		q.guess, q.guessed = bytes.Clone(h.dcid), side
	}
}

// quicDone reports whether a side's Initials are not needed any more.
func (s *udpLayer) quicDone(side Side) bool {
	t, q := s.tls, s.udp.quic
	return t.Server != nil && t.Hello != nil || q.dcid != nil && s.sides[side].p.hs.broken
}

// open removes the protection of an Initial of a side, and determines the client. It returns nil if the packet cannot be decrypted.
func (q *quic) open(side Side, packet []byte, h longHeader) []byte {
	if q.dcid != nil {
		if h.version != q.version { // the server may select another version (RFC 9368)
			q.derive(h.version, q.dcid)
		}
		if payload := q.keys[side^q.client].open(packet, h); payload != nil || side != q.client || bytes.Equal(h.dcid, q.dcid) {
			return payload
		}
	}

	// The packet may be the client's first one, or its first one after a Retry.
	client := newInitialKeys(h.version, h.dcid, "client in")
	if payload := client.open(packet, h); payload != nil {
		q.client = side
		q.derive(h.version, h.dcid)
		return payload
	}
	if q.dcid != nil || q.guess == nil || side == q.guessed {
		return nil
	}
	// The packet may be the server's answer to the client's first packet, which could not be read.
	payload := newInitialKeys(h.version, q.guess, "server in").open(packet, h)
	if payload != nil {
		q.client = q.guessed
		q.derive(h.version, q.guess)
	}
	return payload
}

// derive computes the keys of the client and the server.
func (q *quic) derive(version uint32, dcid []byte) {
	q.version, q.dcid = version, bytes.Clone(dcid)
	if q.dcid == nil {
		q.dcid = []byte{}
	}
	q.keys = [2]*initialKeys{newInitialKeys(version, dcid, "client in"), newInitialKeys(version, dcid, "server in")}
}

// Frame types that are allowed in an Initial (RFC 9000 section 17.2.2).
const (
	quicPadding = 0
	quicPing    = 1
	quicACK     = 2
	quicACKECN  = 3
	quicCrypto  = 6
	quicClose   = 0x1c
)

// quicFrames processes the frames in the payload of a side's Initial (RFC 9000 section 19).
func (s *udpLayer) quicFrames(side Side, payload []byte) {
	in := cryptobyte.String(payload)
	for !in.Empty() {
		typ, ok := readVarint(&in)
		switch {
		case !ok:
			return
		case typ == quicPadding || typ == quicPing:
		case typ == quicACK || typ == quicACKECN:
			if !skipACK(&in, typ == quicACKECN) {
				return
			}
		case typ == quicCrypto:
			offset, ok := readVarint(&in)
			size, ok2 := readVarint(&in)
			var data []byte
			if !ok || !ok2 || size > uint64(len(in)) || !in.ReadBytes(&data, int(size)) {
				return
			}
			s.quicCrypto(side, offset, data)
		case typ == quicClose:
			// CRYPTO_ERROR carries a TLS alert (RFC 9001 section 4.8)
			if code, ok := readVarint(&in); ok && code>>8 == 1 {
				s.tls.alert(Alert{Side: side, Level: 2, Description: uint8(code)})
				s.revision++
			}
			return
		default:
			return
		}
	}
}

// quicCrypto processes data of a side's CRYPTO stream: it passes on bytes that are in order and buffers bytes that are early.
func (s *udpLayer) quicCrypto(side Side, offset uint64, data []byte) {
	c := &s.udp.quic.crypto[side]
	end := offset + uint64(len(data))
	switch {
	case end > 4*maxMessage || end <= c.next:
		return
	case offset > c.next:
		c.early.add(&s.memory, offset, end, data)
		return
	}
	s.handshake(side, data[c.next-offset:], int64(c.next))
	c.next = end
	for {
		p, ok := c.early.next(&s.memory, c.next)
		if !ok {
			return
		}
		s.handshake(side, p.data[c.next-p.at:], int64(c.next))
		c.next = p.end
	}
}

// skipACK consumes the rest of an ACK frame.
func skipACK(s *cryptobyte.String, ecn bool) bool {
	var fields [4]uint64 // largest, delay, range count, first range
	for i := range fields {
		var ok bool
		if fields[i], ok = readVarint(s); !ok {
			return false
		}
	}
	if fields[2] > uint64(len(*s)) {
		return false
	}
	n := 2 * fields[2]
	if ecn {
		n += 3
	}
	for ; n > 0; n-- {
		if _, ok := readVarint(s); !ok {
			return false
		}
	}
	return true
}
