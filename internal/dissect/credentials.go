package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
)

// maxLogin is how many bytes of both ends together are read for credentials, in protocols other than HTTP.
const maxLogin = 4 << 10

// login is the search for credentials in plaintext.
type login struct {
	kinds    credentials.Kinds
	over     bool         // the reader has ended
	read     bool         // see Credentials
	lost     bool         // bytes that may contain credentials are missing or were not understood
	repeated bool         // a later request of HTTP was read
	reader   *loginReader // nil before the start and after the end of the authentication
}

// loginReader reads the authentication in a protocol other than HTTP.
type loginReader struct {
	credentials.Reader

	protocol string
	held     [2][]byte // an incomplete message of each direction
}

// Credentials returns the kinds of credentials that the originator sent in plaintext. read reports whether the part of the connection that
// is searched for them was read completely so far: in HTTP the first request, in other protocols the authentication. If read is false, the
// absence of a kind proves nothing.
func (s *plainLayer) Credentials() (kinds credentials.Kinds, read bool) {
	return s.login.kinds, s.login.read && !s.login.lost
}

// addCredentials adds kinds that were found.
func (s *plainLayer) addCredentials(kinds credentials.Kinds) {
	if kinds&^s.login.kinds != 0 {
		s.login.kinds |= kinds
		s.revision++
	}
}

// startLogin starts the reader of a direction's protocol, unless the protocol has none or the authentication is over.
func (s *plainLayer) startLogin(protocol string) {
	l := &s.login
	if l.reader != nil || l.over || !credentials.Reads(protocol) {
		return
	}
	l.reader, l.read = s.pool.loginReader(), true
	l.reader.protocol = protocol
	l.reader.Start(protocol)
	l.lost = l.lost || s.sides[0].startLost || s.sides[1].startLost
}

// readLogin passes the next bytes of a direction to the reader of credentials, if there is one. Bytes of an incomplete message are buffered,
// and overwritten once the message was read.
func (s *plainLayer) readLogin(side Side, data []byte) {
	l := &s.login
	r := l.reader
	if r == nil || s.sides[side].protocol != r.protocol {
		return
	}
	from := credentials.Client
	if side == Responder {
		from = credentials.Server
	}
	for held := &r.held[side]; len(data) > 0 && !r.Over(); {
		if len(*held) == 0 {
			if data = data[r.Read(from, data):]; len(data) > 0 {
				*held, _ = s.bufferBytes(nil, data, credentials.MaxUnit)
				l.lost = l.lost || len(*held) < len(data)
			}
			break
		}
		before := len(*held)
		*held, _ = s.bufferBytes(*held, data, credentials.MaxUnit)
		added := len(*held) - before
		n := r.Read(from, *held)
		if n == 0 && added < len(data) {
			s.loseLogin(side)
			return
		}
		data = data[added:]
		s.dropRead(held, n)
	}
	s.addCredentials(r.Kinds())
	if r.Over() || s.sides[0].seen+s.sides[1].seen > maxLogin {
		l.lost = l.lost || r.Failed()
		s.endLogin()
	}
}

// checkLoginAck notes that a side acknowledges bytes of the other side that were not seen: they may contain credentials.
func (s *plainLayer) checkLoginAck(side Side, ack int64) {
	if other := &s.sides[side.Other()]; ack > other.seen+other.missed {
		s.login.lost = true
	}
}

// dropRead removes and overwrites the first n bytes of a buffer.
func (s *memory) dropRead(held *[]byte, n int) {
	left := copy(*held, (*held)[n:])
	clear((*held)[left:])
	if *held = (*held)[:left]; left == 0 {
		s.release(held)
	}
}

// endLogin ends the reader of credentials.
func (s *plainLayer) endLogin() {
	r := s.login.reader
	if r == nil {
		return
	}
	s.addCredentials(r.Kinds())
	for i := range r.held {
		s.dropRead(&r.held[i], len(r.held[i]))
	}
	s.login.reader, s.login.over = nil, true
	s.pool.putLoginReader(r)
	s.revision++
}

// loseLogin notes that bytes of a direction are missing or were not examined. It must be called before the readers of plaintext are
// released.
func (s *plainLayer) loseLogin(side Side) {
	p := s.sides[side].p
	switch {
	case s.login.reader != nil:
		s.login.lost = true
		s.endLogin()
	case side == Originator && (s.sides[side].kind == KindNone || p.http != nil || p.http2 != nil || s.tunnelOpen || s.awaitsRepetition()):
		s.login.lost = true
	}
}

// awaitsLogin reports whether the authentication of a plaintext connection is still being read.
func (s *plainLayer) awaitsLogin() bool {
	switch {
	case s.sides[0].kind == KindTLS || s.sides[1].kind == KindTLS:
		return false
	case s.login.reader != nil:
		return s.sides[0].seen+s.sides[1].seen <= maxLogin
	}
	return s.awaitsRepetition()
}

// awaitsRepetition reports whether a client of HTTP may repeat its request with the credentials that the server has asked for.
func (s *plainLayer) awaitsRepetition() bool {
	h := s.http
	return h != nil && (h.Status == 401 || h.Status == 407) && s.sides[Originator].protocol == "http" && s.sides[Originator].asks &&
		!s.strayed && !s.login.repeated && s.login.kinds == 0 && s.sides[0].seen+s.sides[1].seen <= maxHTTPHeader
}

// scanField looks for credentials in a part of a line of a request's header; ended reports whether the part is the last one. A line that
// begins with whitespace continues the field of the line before (RFC 9112 section 5.2).
func (s *plainLayer) scanField(r *httpReader, part []byte, ended bool) {
	if !r.within && (len(part) == 0 || part[0] != ' ' && part[0] != '\t') {
		if r.scans {
			r.field = credentials.Field{}
		}
		r.scans = credentials.Begins(part)
	}
	r.within = !ended
	if !r.scans {
		return
	}
	if r.field.Write(part); ended {
		s.addCredentials(r.field.Kinds())
	}
}

// requestRead notes that the header of a request of a side was read completely; again reports whether it is not the first one.
func (s *plainLayer) requestRead(side Side, again bool) {
	if side != Originator {
		return
	}
	if s.login.read = true; s.sides[side].startLost {
		s.login.lost = true
	}
	if again {
		s.login.repeated = true
		s.revision++
	}
}

// inFields returns the kinds of credentials in a header field of HTTP/2. scanned counts the bytes that were searched in the same block: a
// block can refer to a long field many times.
func inFields(name, value string, scanned *int) credentials.Kinds {
	const most = 2 * maxBlock
	if *scanned += len(value); *scanned > most {
		return 0
	}
	return credentials.InField(name, value)
}
