package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// sslv2Hello looks for a hello of SSL 2.0 in the first bytes of a direction. It reports whether it processed the bytes, or buffered them
// until the rest comes.
func (s *Session) sslv2Hello(side Side, offset int64, b []byte, ack int64) bool {
	p := s.sides[side].p
	if s.tls != nil && s.tls.Hello != nil && s.tls.Hello.V2 && side != s.tls.Client {
		return s.sslv2ServerHello(side, offset, b, ack)
	}
	hello, size, truncated := tlsmsg.ParseV2ClientHello(b)
	switch {
	case truncated:
		s.bufferHead(side, offset, b, ack)
		return true
	case hello == nil:
		return false
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

// sslv2ServerHello does the same as sslv2Hello for the answer to a CLIENT-HELLO.
func (s *recognition) sslv2ServerHello(side Side, offset int64, b []byte, ack int64) bool {
	hello, chain, size, truncated := tlsmsg.ParseV2ServerHello(b)
	switch {
	case truncated && len(b) < protocols.MaxHead:
		s.bufferHead(side, offset, b, ack)
		return true
	case hello == nil:
		return false
	}
	s.startTLS(side, offset, false)
	t := s.tls
	t.Server, t.ServerHelloEnd = hello, offset+int64(size)
	t.Certs[side] = chain
	t.layers[side].telling++
	// the record layer of SSL 2.0, which follows, is not parsed
	s.loseRecords(side)
	s.loseRecords(side.Other())
	return true
}
