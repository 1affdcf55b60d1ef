package credentials

// ldapClient reads a message of a client of LDAP. Binds can follow other requests: many clients search for a user first and then bind with
// the user's password (RFC 4511 section 4.2).
func ldapClient(r *Reader, b []byte) int {
	const sequence, bindRequest = 0x30, 0x60
	tag, message, size := element(b)
	switch {
	case size == 0:
		return 0
	case tag != sequence || size < 0:
		r.fail()
		return 0
	case size > MaxUnit:
		return size
	case size > len(b):
		return 0
	}
	_, _, id := element(message)
	if id <= 0 || id > len(message) {
		return size
	}
	if op, bind, n := element(message[id:]); op == bindRequest && n > 0 && n <= len(message)-id {
		ldapBind(r, bind)
	}
	return size
}

// ldapBind reads BindRequest: version, name, and the choice of the authentication. A simple bind without a password is anonymous or
// unauthenticated (RFC 4513 section 5.1).
func ldapBind(r *Reader, b []byte) {
	const simple, sasl = 0x80, 0xa3
	for range 2 { // version and name
		_, _, n := element(b)
		if n <= 0 || n > len(b) {
			return
		}
		b = b[n:]
	}
	tag, value, n := element(b)
	switch {
	case n <= 0 || n > len(b):
	case tag == simple:
		r.add(LDAPSimpleBind, len(value) > 0)
	case tag == sasl:
		_, name, size := element(value)
		if size <= 0 || size > len(value) {
			return
		}
		if _, response, n := element(value[size:]); n > 0 && n <= len(value)-size {
			r.saslMessage(mechanismOf(name), response)
		}
	}
}

// element returns the tag and the contents of an element of BER with a definite length, and its size with its header. The contents are
// only the part of them that b has. The size is 0 if b is too short for the header, and -1 if the header is invalid.
func element(b []byte) (tag byte, contents []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	at, n := 2, int(b[1])
	if b[1]&0x80 != 0 {
		digits := int(b[1] & 0x7f)
		if digits == 0 || digits > 4 {
			return b[0], nil, -1
		}
		if at += digits; len(b) < at {
			return 0, nil, 0
		}
		n = 0
		for _, c := range b[2:at] {
			n = n<<8 | int(c)
		}
	}
	return b[0], b[at:min(at+n, len(b))], at + n
}
