package dissect

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// SSL 2.0's messages (draft-hickman-netscape-ssl-00): CLIENT-HELLO, with which old
// clients offer SSL 3.0 and TLS too (RFC 5246 appendix E.2), and SERVER-HELLO.
const (
	v2ClientHello = 1
	v2ServerHello = 4
	version20     = 2
)

// v2 looks for a hello of SSL 2.0. It tells whether it took the direction, or waits for
// the rest of it.
func (s *Session) v2(side Side, offset int64, b []byte, ack int64) bool {
	p := s.sides[side].p
	if s.tls != nil && s.tls.Hello != nil && s.tls.Hello.V2 && side != s.tls.Client {
		return s.v2Server(side, offset, b, ack)
	}
	hello, size, a := parseV2Hello(b)
	switch a {
	case no:
		return false
	case more:
		s.wait(side, offset, b, ack)
		return true
	default:
	}
	s.startTLS(side, offset, false)
	s.tls.setRoles(side)
	s.tls.layers[side].telling++
	if s.tls.Hello == nil {
		s.tls.Hello = hello
	}
	s.release(&p.head)
	if len(b) > size {
		s.feed(side, offset+int64(size), b[size:], ack)
	}
	return true
}

func (s *Session) v2Server(side Side, offset int64, b []byte, ack int64) bool {
	hello, chain, size, a := parseV2ServerHello(b)
	switch a {
	case no:
		return false
	case more:
		if len(b) >= maxHead {
			return false
		}
		s.wait(side, offset, b, ack)
		return true
	default:
	}
	s.startTLS(side, offset, false)
	t := s.tls
	t.Server, t.ServerHelloEnd = hello, offset+int64(size)
	t.Certs[side] = chain
	t.layers[side].telling++
	// what follows is SSL 2.0's own record layer, which is not read
	s.lose(side)
	s.lose(side.Other())
	return true
}

// parseV2Hello returns the hello and its size on the wire, if b begins with a whole one.
func parseV2Hello(b []byte) (*ClientHello, int, answer) {
	if b[0]&0x80 == 0 || len(b) > 2 && b[2] != v2ClientHello || len(b) > 3 && b[3] != 0 && b[3] != 3 {
		return nil, 0, no
	}
	if len(b) < 11 {
		return nil, 0, more
	}
	s := cryptobyte.String(b)
	var size, version, suites, id, challenge uint16
	s.ReadUint16(&size)
	s.Skip(1)
	s.ReadUint16(&version)
	s.ReadUint16(&suites)
	s.ReadUint16(&id)
	s.ReadUint16(&challenge)
	size &= 0x7fff
	if version != version20 && !plausibleVersion(version) || suites == 0 || suites%3 != 0 || suites > 3*maxSuites || id != 0 && id != 16 ||
		challenge < 16 || challenge > 32 || int(size) != 9+int(suites)+int(id)+int(challenge) {
		return nil, 0, no
	}
	h := &ClientHello{Version: version, V2: true}
	var list, rest []byte
	if !s.ReadBytes(&list, int(suites)) || !s.ReadBytes(&rest, int(id)) || !s.ReadBytes(&rest, int(challenge)) {
		return nil, 0, more
	}
	copy(h.Random[32-len(rest):], rest)
	for ; len(list) >= 3; list = list[3:] {
		if list[0] == 0 { // three-byte kinds of SSL 2.0 itself have no TLS number
			h.CipherSuites = append(h.CipherSuites, uint16(list[1])<<8|uint16(list[2]))
		}
	}
	h.mark(OverTCP)
	return h, int(size) + 2, yes
}

// parseV2ServerHello returns the hello, the server's certificate, nil if there is none,
// and its size on the wire.
func parseV2ServerHello(b []byte) (*ServerHello, *Chain, int, answer) {
	if b[0]&0x80 == 0 || len(b) > 2 && b[2] != v2ServerHello || len(b) > 3 && b[3] > 1 {
		return nil, nil, 0, no
	}
	if len(b) < 13 {
		return nil, nil, 0, more
	}
	s := cryptobyte.String(b)
	var size, version, certificate, suites, id uint16
	s.ReadUint16(&size)
	s.Skip(3)
	s.ReadUint16(&version)
	s.ReadUint16(&certificate)
	s.ReadUint16(&suites)
	s.ReadUint16(&id)
	size &= 0x7fff
	if version != version20 || suites%3 != 0 || id > 32 || int(size) != 11+int(certificate)+int(suites)+int(id) {
		return nil, nil, 0, no
	}
	if len(b) < int(size)+2 {
		return nil, nil, 0, more
	}
	h := &ServerHello{LegacyVersion: version20, Version: version20, V2: true}
	var der []byte
	if !s.ReadBytes(&der, int(certificate)) || len(der) == 0 {
		return h, nil, int(size) + 2, yes
	}
	c := &Chain{Length: 1, Bytes: len(der), SHA256: sha256.Sum256(der), Leaf: parseCertificate(der)}
	c.Subject, c.Issuer = fencedNames(der)
	c.Broken = c.Leaf == nil
	return h, c, int(size) + 2, yes
}
