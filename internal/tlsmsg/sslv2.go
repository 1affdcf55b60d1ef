package tlsmsg

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// Messages of SSL 2.0 (draft-hickman-netscape-ssl-00). Old clients also offer SSL 3.0 and TLS in a CLIENT-HELLO (RFC 5246 appendix E.2).
const (
	v2ClientHello = 1
	v2ServerHello = 4
	version20     = 2
)

// ParseV2ClientHello parses a CLIENT-HELLO at the start of b, which must not be empty. It returns the hello and its size on the wire in
// bytes, or nil. truncated reports whether b is the beginning of a hello; hello is nil then.
func ParseV2ClientHello(b []byte) (hello *ClientHello, wireSize int, truncated bool) {
	if b[0]&0x80 == 0 || len(b) > 2 && b[2] != v2ClientHello || len(b) > 3 && b[3] != 0 && b[3] != 3 {
		return nil, 0, false
	}
	if len(b) < 11 {
		return nil, 0, true
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
	if version != version20 && !PlausibleVersion(version) || suites == 0 || suites%3 != 0 || suites > 3*maxSuites || id != 0 && id != 16 ||
		challenge < 16 || challenge > 32 || int(size) != 9+int(suites)+int(id)+int(challenge) {
		return nil, 0, false
	}
	h := &ClientHello{Version: version, V2: true}
	var list, rest []byte
	if !s.ReadBytes(&list, int(suites)) || !s.ReadBytes(&rest, int(id)) || !s.ReadBytes(&rest, int(challenge)) {
		return nil, 0, true
	}
	copy(h.Random[32-len(rest):], rest)
	for ; len(list) >= 3; list = list[3:] {
		if list[0] == 0 { // the other kinds are ciphers of SSL 2.0, which have no TLS number
			h.CipherSuites = append(h.CipherSuites, uint16(list[1])<<8|uint16(list[2]))
		}
	}
	h.computeFingerprints(OverTCP)
	return h, int(size) + 2, false
}

// ParseV2ServerHello parses a SERVER-HELLO at the start of b as ParseV2ClientHello does. It also returns the server's
// certificate, or nil.
func ParseV2ServerHello(b []byte) (hello *ServerHello, chain *Chain, wireSize int, truncated bool) {
	if b[0]&0x80 == 0 || len(b) > 2 && b[2] != v2ServerHello || len(b) > 3 && b[3] > 1 {
		return nil, nil, 0, false
	}
	if len(b) < 13 {
		return nil, nil, 0, true
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
		return nil, nil, 0, false
	}
	if len(b) < int(size)+2 {
		return nil, nil, 0, true
	}
	h := &ServerHello{LegacyVersion: version20, Version: version20, V2: true}
	var der []byte
	if !s.ReadBytes(&der, int(certificate)) || len(der) == 0 {
		return h, nil, int(size) + 2, false
	}
	c := &Chain{Length: 1, Bytes: len(der), SHA256: sha256.Sum256(der)}
	c.Leaf, c.Subject, c.Issuer = ParseCertificate(der)
	c.Broken = c.Leaf == nil
	return h, c, int(size) + 2, false
}
