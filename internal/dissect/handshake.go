package dissect

// Handshake message types (RFC 8446 section 4, RFC 5246 section 7.4, RFC 6347).
const (
	typeHelloRequest          = 0
	typeClientHello           = 1
	typeServerHello           = 2
	typeHelloVerifyRequest    = 3
	typeNewSessionTicket      = 4
	typeHelloRetryRequest     = 6 // TLS 1.3 drafts up to 21
	typeCertificate           = 11
	typeServerKeyExchange     = 12
	typeCertificateRequest    = 13
	typeServerHelloDone       = 14
	typeCertificateVerify     = 15
	typeClientKeyExchange     = 16
	typeFinished              = 20
	typeCompressedCertificate = 25 // RFC 8879
)

// maxMessage bounds a ClientHello that is read, in bytes.
const maxMessage = maxHeld

// firstRoom is what is set aside for a message of more than smallMessage bytes of which
// only the beginning has come: enough for the hello of a client that offers a post-quantum
// share.
const (
	firstRoom    = 2 << 10
	smallMessage = 64
)

// keep says how many bytes of a handshake message's body are kept to be read. A
// Certificate is read as it comes, the rest is only named.
func keep(typ uint8) int {
	switch typ {
	case typeClientHello, typeNewSessionTicket:
		return maxMessage
	case typeServerHello, typeHelloRetryRequest:
		return 8 << 10
	case typeServerKeyExchange:
		return 4
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
	short  bool // the message does not fit in the session's bound
}

func (h *handshake) typ() uint8 { return h.hdr[0] }

// between reports whether a message may begin here.
func (h *handshake) between() bool { return h.hdrN == 0 }

// handshakeLost notes that bytes of a side's handshake were lost.
func (s *Session) handshakeLost(side Side, h *handshake) {
	h.broken = true
	s.release(&h.buf)
	if h.chain != nil {
		s.release(&h.chain.leaf)
		h.chain = nil
	}
	if !s.tls.LostHandshake[side] {
		s.tls.LostHandshake[side] = true
		s.revision++
	}
}

// handshake takes cleartext handshake bytes of a side; offset is where they stand.
func (s *Session) handshake(side Side, b []byte, offset int64) {
	h := &s.sides[side].p.hs
	for !h.broken && len(b) > 0 {
		if h.hdrN < len(h.hdr) {
			n := copy(h.hdr[h.hdrN:], b)
			h.hdrN += n
			b, offset = b[n:], offset+int64(n)
			if h.hdrN < len(h.hdr) {
				return
			}
			if !s.beginMessage(side) {
				return
			}
		}
		n := min(h.left, len(b))
		body := b[:n]
		b, offset = b[n:], offset+int64(n)
		h.left -= n
		if h.left > 0 || len(h.buf) > 0 || h.chain != nil {
			s.messageBytes(side, body)
			body = h.buf
		} else if limit := keep(h.typ()); n > limit { // in one piece: it is read where it is
			body, h.short = body[:limit], true
		}
		if h.left == 0 && !h.broken {
			s.endMessage(side, offset, body)
		}
	}
}

// beginMessage reads a message's header. It tells whether a message goes on there.
func (s *Session) beginMessage(side Side) bool {
	h, r, t := &s.sides[side].p.hs, &s.sides[side].p.rec, s.tls
	h.left = int(h.hdr[1])<<16 | int(h.hdr[2])<<8 | int(h.hdr[3])
	h.short = false
	if r.peek {
		// A handshake record behind a ChangeCipherSpec, and the version is not known
		// yet: a hello behind a HelloRetryRequest (TLS 1.3), or an encrypted Finished.
		r.peek = false
		if h.typ() != typeClientHello && h.typ() != typeServerHello || h.left < 38 || h.left+4 < r.length() {
			r.opaq, h.hdrN = true, 0
			return false
		}
	}
	switch h.typ() {
	case typeClientHello:
		if t.Hello == nil {
			t.HelloBegun = true
			t.setRoles(side)
		}
		h.short = h.left > keep(typeClientHello)
	case typeServerHello:
		h.short = h.left > keep(typeServerHello)
	case typeCertificate:
		if t.Certs[side] == nil {
			h.chain = newChainReader(h.left)
		}
	}
	if h.short {
		s.handshakeLost(side, h)
	}
	return !h.broken
}

func (s *Session) messageBytes(side Side, b []byte) {
	h := &s.sides[side].p.hs
	if h.chain != nil {
		s.certificates(h.chain, b)
		return
	}
	limit := keep(h.typ())
	if limit == 0 {
		return
	}
	limit = min(limit, len(h.buf)+len(b)+h.left)
	if h.buf == nil && limit > smallMessage {
		h.buf = s.room(firstRoom)
	}
	var whole bool
	h.buf, whole = s.hold(h.buf, b, limit)
	if !whole && limit > 4 {
		h.short = true
		if h.typ() != typeNewSessionTicket {
			s.handshakeLost(side, h)
		}
	}
}

// endMessage reads a whole handshake message, of which as much is there as keep says;
// offset is where the stream stands right after it.
func (s *Session) endMessage(side Side, offset int64, body []byte) {
	h, t := &s.sides[side].p.hs, s.tls
	h.hdrN = 0
	s.revision++
	switch h.typ() {
	case typeClientHello:
		s.clientHello(side, body, offset)
	case typeServerHello:
		s.serverHello(side, body, offset)
	case typeHelloRetryRequest:
		t.HelloRetry = true
	case typeHelloVerifyRequest:
		t.HelloVerify = true
	case typeCertificate:
		if h.chain != nil {
			t.Certs[side] = h.chain.chain()
			h.chain = nil
			s.note(chainBytes)
		}
	case typeCompressedCertificate:
		if t.Certs[side] == nil {
			t.Certs[side] = &Chain{Compressed: true, Broken: true}
		}
	case typeServerKeyExchange:
		// curve_type named_curve(3), then the group (RFC 8422 section 5.4)
		if len(body) >= 3 && body[0] == 3 && t.Server != nil && ecdhe(t.Server.CipherSuite) {
			t.ServerKeyGroup = uint16(body[1])<<8 | uint16(body[2])
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
		if !h.short {
			t.NewTicket = newTicket(body)
		}
	}
	s.memory.free(h.buf)
	s.release(&h.buf)
}

func (s *Session) clientHello(side Side, body []byte, offset int64) {
	t := s.tls
	hello, ok := parseClientHello(body, t.Over)
	if !ok {
		s.handshakeLost(side, &s.sides[side].p.hs)
		return
	}
	s.memory.mark(hello, t.Over)
	t.setRoles(side)
	if side == t.Client {
		t.ClientHelloEnd = offset
	}
	if t.Hello == nil {
		t.Hello, t.HelloBegun = hello, false
		s.note(helloBytes + min(len(body), maxHelloBytes))
	} else if side == t.Client && t.HelloRetry {
		t.SecondHello = true
		t.Hello.join(hello)
	}
}

func (s *Session) serverHello(side Side, body []byte, offset int64) {
	t := s.tls
	hello, ok := parseServerHello(body, t.Over)
	if !ok {
		s.handshakeLost(side, &s.sides[side].p.hs)
		return
	}
	s.memory.markServer(hello)
	t.setRoles(side.Other())
	switch {
	case hello.Retry:
		t.HelloRetry = true
	case t.Server == nil && side != t.Client:
		t.Server, t.ServerHelloEnd = hello, offset
	}
}
