package credentials

// isSessionName reports whether the name of a cookie looks like that of a session or a token: it contains "session",
// "sessid", "token" or "jwt", or has a word "sid", "sess" or one that ends in "auth". Words are separated by other characters than letters
// and digits. Names with "csrf" or "xsrf" do not count: such a cookie is no credential on its own.
func isSessionName(name []byte) bool {
	session := false
	for i, c := range name {
		rest := name[i:]
		switch c | 0x20 {
		case 's':
			session = session || starts(rest, "session") || starts(rest, "sessid") || !within(name, i-1) && (isWord(rest, "sid") || isWord(rest, "sess"))
			if i > 0 && starts(rest, "srf") && (name[i-1]|0x20 == 'c' || name[i-1]|0x20 == 'x') {
				return false
			}
		case 't':
			session = session || starts(rest, "token")
		case 'j':
			session = session || starts(rest, "jwt")
		case 'a':
			session = session || isWord(rest, "auth")
		}
	}
	return session
}

// starts reports whether b starts with s, ignoring the case of letters.
func starts(b []byte, s string) bool { return len(b) >= len(s) && is(b[:len(s)], s) }

// isWord reports whether b begins with s and the word ends there.
func isWord(b []byte, s string) bool { return starts(b, s) && !within(b, len(s)) }

// within reports whether b has a letter or digit at an index.
func within(b []byte, i int) bool {
	if i < 0 || i >= len(b) {
		return false
	}
	c := lower(b[i])
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
}
