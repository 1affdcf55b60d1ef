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
			if len(rest) < len("sid") {
				continue
			}
			switch rest[1] | 0x20 {
			case 'e':
				session = session || starts(rest, "session") || starts(rest, "sessid") || !within(name, i-1) && isWord(rest, "sess")
			case 'i':
				session = session || !within(name, i-1) && isWord(rest, "sid")
			case 'r':
				if i > 0 && starts(rest, "srf") && (name[i-1]|0x20 == 'c' || name[i-1]|0x20 == 'x') {
					return false
				}
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

// mayNameSession reports whether a name with the letters in a set (see nameEnd) can be one that isSessionName reports. Most names of
// other cookies lack a letter of each of its words.
func mayNameSession(letters uint32) bool {
	const (
		session = 1<<('s'&31) | 1<<('e'&31) // session, sessid, sess
		sid     = 1<<('s'&31) | 1<<('i'&31) | 1<<('d'&31)
		token   = 1<<('t'&31) | 1<<('o'&31) | 1<<('k'&31) | 1<<('e'&31) | 1<<('n'&31)
		jwt     = 1<<('j'&31) | 1<<('w'&31) | 1<<('t'&31)
		auth    = 1<<('a'&31) | 1<<('u'&31) | 1<<('t'&31) | 1<<('h'&31)
	)
	return letters&session == session || letters&sid == sid || letters&token == token || letters&jwt == jwt || letters&auth == auth
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
