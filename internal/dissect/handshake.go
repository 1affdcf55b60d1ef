package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"

// maxMessage bounds a ClientHello that is parsed, in bytes.
const maxMessage = maxBuffered

// firstRoom is the capacity of the first buffer for an incomplete message of more than smallMessage bytes. It is enough for a ClientHello
// with a post-quantum key share.
const (
	firstRoom    = 2 << 10
	smallMessage = 64
)

// bodyLimit returns how many bytes of the body of a handshake message are buffered to be parsed. It is 0 for a Certificate, which is parsed
// piece by piece, and for messages whose contents are not used.
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

// handshake reassembles the handshake messages of one side from its records.
type handshake struct {
	hdr    [4]byte
	hdrN   int
	left   int
	buf    []byte
	chain  *chainReader
	broken bool // bytes are missing: the message boundaries are unknown
	short  bool // the message is not buffered completely
}

func (h *handshake) typ() uint8 { return h.hdr[0] }

// between reports whether the next byte would be the first byte of a message.
func (h *handshake) between() bool { return h.hdrN == 0 }

// addHandshakeGap notes that bytes of a side's handshake are missing.
func (s *tlsLayer) addHandshakeGap(side Side, h *handshake) {
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

// handshake processes plaintext handshake bytes of a side; offset is their position in the stream.
func (s *tlsLayer) handshake(side Side, b []byte, offset int64) {
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
		} else if limit := bodyLimit(h.typ()); n > limit { // complete: it is parsed without a copy
			body, h.short = body[:limit], true
		}
		if h.left == 0 && !h.broken {
			s.endMessage(side, offset, body)
		}
	}
}

// startMessage processes a message's header and reports whether the message's body follows.
func (s *tlsLayer) startMessage(side Side) bool {
	h, r, t := &s.sides[side].p.hs, &s.sides[side].p.rec, s.tls
	h.left = int(h.hdr[1])<<16 | int(h.hdr[2])<<8 | int(h.hdr[3])
	h.short = false
	if r.peek {
		// The version is unknown, and this handshake record follows a ChangeCipherSpec. It contains a hello after a HelloRetryRequest (TLS
		// 1.3), or an encrypted Finished.
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

// messageBytes buffers or parses a part of the body of a message.
func (s *tlsLayer) messageBytes(side Side, b []byte) {
	h := &s.sides[side].p.hs
	if h.chain != nil {
		h.chain.add(&s.memory, b)
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

// endMessage parses a complete handshake message. body is as much of the message's body as bodyLimit allows; offset is the stream offset
// right after the message.
func (s *tlsLayer) endMessage(side Side, offset int64, body []byte) {
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
			t.NewTicket, t.TicketLifetime = tlsmsg.ParseNewSessionTicket(body)
		}
	}

	s.pool.putBuffer(h.buf)
	s.release(&h.buf)
}

// clientHello parses the body of a ClientHello that ends at offset.
func (s *tlsLayer) clientHello(side Side, body []byte, offset int64) {
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
	} else if side == t.Client {
		t.mix(hello.Random != t.Hello.Random)
		if t.HelloRetry {
			t.SecondHello = true
			t.Hello.Join(hello)
		}
	}
}

// serverHello parses the body of a ServerHello that ends at offset.
func (s *tlsLayer) serverHello(side Side, body []byte, offset int64) {
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
	case side != t.Client:
		t.mix(hello.Random != t.Server.Random)
	}
}
