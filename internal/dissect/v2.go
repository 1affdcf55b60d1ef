package dissect

import "golang.org/x/crypto/cryptobyte"

// v2Hello looks for SSL 2.0's CLIENT-HELLO, with which old clients offer SSL 3.0 and
// TLS too (RFC 5246 appendix E.2). It tells whether it took the direction.
func (s *Session) v2Hello(side Side, offset int64, b []byte, ack int64) bool {
	hello, size := parseV2Hello(b)
	if hello == nil {
		return false
	}
	st := &s.sides[side]
	st.head = nil
	s.startTLS(side)
	s.tls.setRoles(side)
	if s.tls.Hello == nil {
		s.tls.Hello = hello
	}
	if len(b) > size {
		s.feed(side, offset+int64(size), b[size:], ack)
	}
	return true
}

// parseV2Hello returns the hello and its size on the wire, nil if b does not begin with
// a whole one.
func parseV2Hello(b []byte) (*ClientHello, int) {
	s := cryptobyte.String(b)
	var size, version, suites, id, challenge uint16
	var typ uint8
	if !s.ReadUint16(&size) || size&0x8000 == 0 || !s.ReadUint8(&typ) || typ != 1 || !s.ReadUint16(&version) ||
		!s.ReadUint16(&suites) || !s.ReadUint16(&id) || !s.ReadUint16(&challenge) {
		return nil, 0
	}
	size &= 0x7fff
	if version != 2 && !plausibleVersion(version) || suites == 0 || suites%3 != 0 || id != 0 && id != 16 ||
		challenge < 16 || challenge > 32 || int(size) != 9+int(suites)+int(id)+int(challenge) {
		return nil, 0
	}
	h := &ClientHello{Version: version, V2: true}
	var list, rest []byte
	if !s.ReadBytes(&list, int(suites)) || !s.ReadBytes(&rest, int(id)) || !s.ReadBytes(&rest, int(challenge)) {
		return nil, 0
	}
	copy(h.Random[32-len(rest):], rest)
	for ; len(list) >= 3; list = list[3:] {
		if list[0] == 0 { // three-byte kinds of SSL 2.0 itself have no TLS number
			h.CipherSuites = append(h.CipherSuites, uint16(list[1])<<8|uint16(list[2]))
		}
	}
	return h, int(size) + 2
}
