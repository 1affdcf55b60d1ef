package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"

// maxMessage bounds a ClientHello that is read, in bytes.
const maxMessage = maxBuffered

// firstRoom is what is set aside for a message of more than smallMessage bytes of which
// only the beginning has come: enough for the hello of a client that offers a post-quantum
// share.
const (
	firstRoom    = 2 << 10
	smallMessage = 64
)

// bodyLimit says how many bytes of a handshake message's body are kept to be read. A
// Certificate is read as it comes, the rest is only named.
func bodyLimit(typ uint8) int {
	switch typ {
	case tlsmsg.TypeClientHello, tlsmsg.TypeNewSessionTicket:
		return maxMessage
	case tlsmsg.TypeServerHello, tlsmsg.TypeHelloRetryRequest:
		return 8 << 10
	case tlsmsg.TypeServerKeyExchange:
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

// addHandshakeGap notes that bytes of a side's handshake were lost.
func (s *Session) addHandshakeGap(side Side, h *handshake) {
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
			if !s.startMessage(side) {
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
		} else if limit := bodyLimit(h.typ()); n > limit { // in one piece: it is read where it is
			body, h.short = body[:limit], true
		}
		if h.left == 0 && !h.broken {
			s.endMessage(side, offset, body)
		}
	}
}

// startMessage reads a message's header. It tells whether a message goes on there.
func (s *Session) startMessage(side Side) bool {
	h, r, t := &s.sides[side].p.hs, &s.sides[side].p.rec, s.tls
	h.left = int(h.hdr[1])<<16 | int(h.hdr[2])<<8 | int(h.hdr[3])
	h.short = false
	if r.peek {
		// A handshake record behind a ChangeCipherSpec, and the version is not known
		// yet: a hello behind a HelloRetryRequest (TLS 1.3), or an encrypted Finished.
		r.peek = false
		if h.typ() != tlsmsg.TypeClientHello && h.typ() != tlsmsg.TypeServerHello || h.left < 38 || h.left+4 < r.length() {
			r.opaq, h.hdrN = true, 0
			return false
		}
	}
	switch h.typ() {
	case tlsmsg.TypeClientHello:
		if t.Hello == nil {
			t.HelloBegun = true
			t.setRoles(side)
		}
		h.short = h.left > bodyLimit(tlsmsg.TypeClientHello)
	case tlsmsg.TypeServerHello:
		h.short = h.left > bodyLimit(tlsmsg.TypeServerHello)
	case tlsmsg.TypeCertificate:
		if t.Certs[side] == nil {
			h.chain = newChainReader(h.left)
		}
	}
	if h.short {
		s.addHandshakeGap(side, h)
	}
	return !h.broken
}

func (s *Session) messageBytes(side Side, b []byte) {
	h := &s.sides[side].p.hs
	if h.chain != nil {
		s.certificates(h.chain, b)
		return
	}
	limit := bodyLimit(h.typ())
	if limit == 0 {
		return
	}
	limit = min(limit, len(h.buf)+len(b)+h.left)
	if h.buf == nil && limit > smallMessage {
		h.buf = s.reserve(firstRoom)
	}
	var whole bool
	h.buf, whole = s.bufferBytes(h.buf, b, limit)
	if !whole && limit > 4 {
		h.short = true
		if h.typ() != tlsmsg.TypeNewSessionTicket {
			s.addHandshakeGap(side, h)
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
	case tlsmsg.TypeClientHello:
		s.clientHello(side, body, offset)
	case tlsmsg.TypeServerHello:
		s.serverHello(side, body, offset)
	case tlsmsg.TypeHelloRetryRequest:
		t.HelloRetry = true
	case tlsmsg.TypeHelloVerifyRequest:
		t.HelloVerify = true
	case tlsmsg.TypeCertificate:
		if h.chain != nil {
			t.Certs[side] = h.chain.chain()
			h.chain = nil
			s.accountOther(chainBytes)
		}
	case tlsmsg.TypeCompressedCertificate:
		if t.Certs[side] == nil {
			t.Certs[side] = &tlsmsg.Chain{Compressed: true, Broken: true}
		}
	case tlsmsg.TypeServerKeyExchange:
		// curve_type named_curve(3), then the group (RFC 8422 section 5.4)
		if len(body) >= 3 && body[0] == 3 && t.Server != nil && tlsmsg.NamesCurve(t.Server.CipherSuite) {
			t.ServerKeyGroup = uint16(body[1])<<8 | uint16(body[2])
		}
	case tlsmsg.TypeCertificateRequest:
		t.CertificateRequest = true
	case tlsmsg.TypeServerHelloDone:
		t.ServerHelloDone = true
	case tlsmsg.TypeCertificateVerify:
		t.CertificateVerify = true
	case tlsmsg.TypeClientKeyExchange:
		t.ClientKeyExchange = true
	case tlsmsg.TypeNewSessionTicket:
		t.NewSessionTicket = true
		if !h.short {
			t.NewTicket = tlsmsg.ParseNewSessionTicket(body)
		}
	}
	s.pool.putBuffer(h.buf)
	s.release(&h.buf)
}

func (s *Session) clientHello(side Side, body []byte, offset int64) {
	t := s.tls
	hello, ok := tlsmsg.ParseClientHello(body, t.Over)
	if !ok {
		s.addHandshakeGap(side, &s.sides[side].p.hs)
		return
	}
	s.pool.cache().FingerprintClient(hello, t.Over)
	t.setRoles(side)
	if side == t.Client {
		t.ClientHelloEnd = offset
	}
	if t.Hello == nil {
		t.Hello, t.HelloBegun = hello, false
		s.accountOther(helloBytes + min(len(body), maxHelloBytes))
	} else if side == t.Client && t.HelloRetry {
		t.SecondHello = true
		t.Hello.Join(hello)
	}
}

func (s *Session) serverHello(side Side, body []byte, offset int64) {
	t := s.tls
	hello, ok := tlsmsg.ParseServerHello(body, t.Over)
	if !ok {
		s.addHandshakeGap(side, &s.sides[side].p.hs)
		return
	}
	s.pool.cache().FingerprintServer(hello)
	t.setRoles(side.Other())
	switch {
	case hello.Retry:
		t.HelloRetry = true
	case t.Server == nil && side != t.Client:
		t.Server, t.ServerHelloEnd = hello, offset
	}
}
