package dissect

// Handshake message types (RFC 8446 section 4, RFC 5246 section 7.4).
const (
	typeHelloRequest       = 0
	typeClientHello        = 1
	typeServerHello        = 2
	typeNewSessionTicket   = 4
	typeHelloRetryRequest  = 6 // TLS 1.3 drafts up to 21
	typeCertificate        = 11
	typeServerKeyExchange  = 12
	typeCertificateRequest = 13
	typeServerHelloDone    = 14
	typeCertificateVerify  = 15
	typeClientKeyExchange  = 16
	typeFinished           = 20
)

// keep says how many bytes of a handshake message's body are kept to be read. A
// Certificate is read as it comes, the rest is only named.
func keep(typ uint8) int {
	switch typ {
	case typeClientHello:
		return 64 << 10
	case typeServerHello, typeHelloRetryRequest:
		return 16 << 10
	case typeServerKeyExchange:
		return 4
	case typeNewSessionTicket:
		return maxTicket
	}
	return 0
}

// handshake puts the handshake messages of one side together, over records.
type handshake struct {
	hdr    [4]byte
	hdrN   int
	left   int
	buf    []byte
	chain  *chainReader
	broken bool // bytes were lost: no message boundary is known any more
}

func (h *handshake) typ() uint8 { return h.hdr[0] }

func (h *handshake) free() { h.buf, h.chain = nil, nil }

func (h *handshake) lost() {
	h.broken = true
	h.free()
}

// handshake takes cleartext handshake bytes of a side; offset is where they stand.
func (s *Session) handshake(side Side, b []byte, offset int64) {
	h := &s.sides[side].rec.hs
	for !h.broken && len(b) > 0 {
		if h.hdrN < len(h.hdr) {
			n := copy(h.hdr[h.hdrN:], b)
			h.hdrN += n
			b, offset = b[n:], offset+int64(n)
			if h.hdrN < len(h.hdr) {
				return
			}
			s.beginMessage(side)
		}
		n := min(h.left, len(b))
		s.messageBytes(h, b[:n])
		b, offset = b[n:], offset+int64(n)
		h.left -= n
		if h.left == 0 {
			s.endMessage(side, offset)
		}
	}
	if h.broken && !s.tls.LostHandshake[side] {
		s.tls.LostHandshake[side] = true
		s.revision++
	}
}

func (s *Session) beginMessage(side Side) {
	h := &s.sides[side].rec.hs
	h.left = int(h.hdr[1])<<16 | int(h.hdr[2])<<8 | int(h.hdr[3])
	h.buf = h.buf[:0]
	switch h.typ() {
	case typeClientHello:
		if s.tls.Hello == nil {
			s.tls.HelloBegun = true
		}
		if h.left > keep(typeClientHello) {
			h.broken = true
		}
	case typeServerHello:
		if h.left > keep(typeServerHello) {
			h.broken = true
		}
	case typeCertificate:
		h.chain = newChainReader(h.left)
	}
}

func (s *Session) messageBytes(h *handshake, b []byte) {
	if h.chain != nil {
		h.chain.feed(b)
		return
	}
	if n := min(keep(h.typ())-len(h.buf), len(b)); n > 0 {
		h.buf = append(h.buf, b[:n]...)
	}
}

// endMessage reads a whole handshake message; offset is where the stream stands right
// after it.
func (s *Session) endMessage(side Side, offset int64) {
	h := &s.sides[side].rec.hs
	h.hdrN = 0
	t := s.tls
	s.revision++
	switch h.typ() {
	case typeClientHello:
		s.clientHello(side, h.buf)
	case typeServerHello:
		s.serverHello(side, h.buf, offset)
	case typeHelloRetryRequest:
		t.HelloRetry = true
	case typeCertificate:
		if t.Certs[side] == nil {
			t.Certs[side] = h.chain.chain()
		}
		h.chain = nil
	case typeServerKeyExchange:
		// curve_type named_curve(3), then the group (RFC 8422 section 5.4)
		if len(h.buf) >= 3 && h.buf[0] == 3 && t.Server != nil && ecdhe(t.Server.CipherSuite) {
			t.ServerKeyGroup = uint16(h.buf[1])<<8 | uint16(h.buf[2])
		}
	case typeCertificateRequest:
		t.CertificateRequest = true
	case typeServerHelloDone:
		t.ServerHelloDone = true
	case typeCertificateVerify:
		t.CertificateVerify = true
	case typeClientKeyExchange:
		t.ClientKeyExchange = true
	case typeNewSessionTicket:
		t.NewSessionTicket = true
		t.NewTicket = newTicket(h.buf)
	}
	h.buf = nil
}

func (s *Session) clientHello(side Side, body []byte) {
	t := s.tls
	hello, ok := parseClientHello(body)
	if !ok {
		s.sides[side].rec.hs.broken = true
		return
	}
	t.setRoles(side)
	if t.Hello == nil {
		t.Hello, t.HelloBegun = hello, false
	} else if side == t.Client && t.HelloRetry {
		t.SecondHello = true
	}
}

func (s *Session) serverHello(side Side, body []byte, offset int64) {
	t := s.tls
	hello, ok := parseServerHello(body)
	if !ok {
		s.sides[side].rec.hs.broken = true
		return
	}
	t.setRoles(side.Other())
	switch {
	case hello.Retry:
		t.HelloRetry = true
	case t.Server == nil && side != t.Client:
		t.Server, t.ServerHelloEnd = hello, offset
	}
}
