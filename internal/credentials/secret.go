package credentials

// separated decodes base64 (RFC 4648 section 4) piece by piece and reports whether any bytes follow a number of separators. It stores no
// decoded byte.
type separated struct {
	separator byte
	left      uint8 // separators that are still expected
	follows   bool  // a byte follows the last expected separator
	ended     bool  // padding was seen
	bad       bool  // a byte is not base64
	bits      uint8 // bits in pending
	pending   uint16
}

// userAndPassword returns a reader of Basic: USER:PASSWORD (RFC 7617 section 2).
func userAndPassword() separated { return separated{separator: ':', left: 1} }

// plainMessage returns a reader of PLAIN: [IDENTITY] NUL USER NUL PASSWORD (RFC 4616 section 2).
func plainMessage() separated { return separated{separator: 0, left: 2} }

// add decodes the next byte of base64.
func (s *separated) add(c byte) {
	if c == '=' {
		s.ended = true
		return
	}
	v, ok := sextet(c)
	if !ok || s.ended {
		s.bad = true
		return
	}
	s.pending = s.pending<<6 | uint16(v)
	if s.bits += 6; s.bits >= 8 {
		s.bits -= 8
		s.decoded(byte(s.pending >> s.bits))
		s.pending &= 1<<s.bits - 1
	}
}

// decoded processes the next decoded byte.
func (s *separated) decoded(c byte) {
	switch {
	case s.left == 0:
		s.follows = true
	case c == s.separator:
		s.left--
	}
}

// secret reports whether a secret that is not empty was read.
func (s *separated) secret() bool { return s.follows && !s.bad }

// sextet returns the value of a character of base64.
func sextet(c byte) (byte, bool) {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A', true
	case 'a' <= c && c <= 'z':
		return c - 'a' + 26, true
	case '0' <= c && c <= '9':
		return c - '0' + 52, true
	case c == '+':
		return 62, true
	case c == '/':
		return 63, true
	}
	return 0, false
}

// plainInBase64 reports whether b is a message of PLAIN in base64 whose password is not empty.
func plainInBase64(b []byte) bool {
	s := plainMessage()
	for _, c := range b {
		s.add(c)
	}
	return s.secret()
}

// plainPassword reports whether b is a message of PLAIN whose password is not empty.
func plainPassword(b []byte) bool {
	s := plainMessage()
	for _, c := range b {
		s.decoded(c)
	}
	return s.secret()
}
