package dissect

// recognizeDatagram decides what a direction of a UDP exchange speaks, from its first
// datagrams.
func (s *Session) recognizeDatagram(side Side, b []byte) {
	st := &s.sides[side]
	switch {
	case st.protocol == "quic":
		s.readQUIC(b)
		return
	case st.kind != KindNone:
		return
	case dnsMessage(b):
		st.kind, st.protocol = KindPlain, "dns"
	case quicPacket(b) && (len(b) >= minInitial || s.sides[side.Other()].protocol == "quic"):
		st.kind, st.protocol = KindTLS, "quic"
		s.readQUIC(b)
	default:
		return
	}
	s.revision++
}

// minInitial is the least size of a datagram with an Initial (RFC 9000 section 14.1).
const minInitial = 1200

// readQUIC looks for the ClientHello in a client's Initial packets. Those of the server
// are protected by other keys and so are passed over.
func (s *Session) readQUIC(b []byte) {
	if s.quic == nil {
		s.quic = &quic{}
	}
	if hello := s.quic.datagram(b); hello != nil {
		s.hello = hello
		s.revision++
	}
}

// QUICHello returns the ClientHello of a QUIC connection, nil if it was not seen whole.
func (s *Session) QUICHello() *ClientHello { return s.hello }

// dnsMessage: a DNS query or response with one question (RFC 1035 section 4.1).
func dnsMessage(b []byte) bool {
	if len(b) < 17 || b[4] != 0 || b[5] != 1 || b[2]&0x78 > 0x28 || b[3]&0x40 != 0 {
		return false
	}
	i := 12
	for i < len(b) && b[i] != 0 {
		if b[i] > 63 {
			return false
		}
		i += int(b[i]) + 1
	}
	// QTYPE and QCLASS behind the name: a class of IN, CH, HS or any, mDNS's top bit aside
	return i+5 <= len(b) && (b[i+3]&0x7f == 0 && (b[i+4] == 1 || b[i+4] == 3 || b[i+4] == 4 || b[i+4] == 255))
}

// quicPacket: a long header of QUIC version 1 or 2 (RFC 9000 section 17.2, RFC 9369).
func quicPacket(b []byte) bool {
	if len(b) < 7 || b[0]&0xc0 != 0xc0 || b[5] > maxConnID {
		return false
	}
	_, known := quicVersions[uint32(b[1])<<24|uint32(b[2])<<16|uint32(b[3])<<8|uint32(b[4])]
	return known
}
