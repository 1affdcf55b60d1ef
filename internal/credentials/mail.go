package credentials

import "bytes"

// Readers of mail, news and FTP. Each ends where content of users may follow: a mail can contain lines that look like commands.

// smtpClient reads a command of SMTP or LMTP (RFC 5321, RFC 4954).
func smtpClient(r *Reader, b []byte) int {
	line, size := lineOf(b)
	if size == 0 || r.answers(line) {
		return size
	}
	word, rest := wordOf(line)
	switch {
	case is(word, "auth"):
		r.authenticate(wordOf(rest))
	case is(word, "bdat"): // as many bytes of a mail follow (RFC 3030)
		n, _ := wordOf(rest)
		size += max(0, decimal(n))
	}
	return size
}

// smtpServer reads a reply: 354 asks for a mail.
func smtpServer(r *Reader, b []byte) int {
	if bytes.HasPrefix(b, []byte("354")) {
		r.end()
	}
	return r.replyCode(b, "334")
}

// replyCode reads a reply that begins with three digits. challenge is the code that asks for the next response of SASL.
func (r *Reader) replyCode(b []byte, challenge string) int {
	line, size := lineOf(b)
	switch {
	case size == 0 || len(line) > 3 && line[3] == '-':
	case bytes.HasPrefix(line, []byte(challenge)):
		r.challenge()
	default:
		r.concluded()
	}
	return size
}

// imapClient reads a command of IMAP (RFC 9051 sections 6.1 and 6.2).
func imapClient(r *Reader, b []byte) int {
	line, size := lineOf(b)
	if size == 0 || r.answers(line) {
		return size
	}
	_, rest := wordOf(line)
	word, args := wordOf(rest)
	switch {
	case is(word, "login"):
		if size = withLiterals(b); size == 0 {
			return 0
		}
		password, _ := stringOf(afterWords(b[:size], 3)) // the words before it: tag, LOGIN, user
		r.add(IMAPPassword, len(password) > 0)
	case is(word, "authenticate"):
		r.authenticate(wordOf(args))
	case len(word) == 0, isAny(word, "capability", "id", "noop", "starttls", "enable", "logout"):
	default:
		r.started = true
	}
	return size
}

// imapServer reads a response: "+" asks for the next response of SASL, and a response with a tag ends the command. If the command needs an
// authentication and is accepted, no authentication follows.
func imapServer(r *Reader, b []byte) int {
	line, size := lineOf(b)
	switch {
	case len(line) == 0 || line[0] == '*':
	case line[0] == '+':
		r.challenge()
	default:
		_, rest := wordOf(line)
		if status, _ := wordOf(rest); r.started && is(status, "ok") {
			r.end()
		}
		r.started = false
		r.concluded()
	}
	return size
}

// withLiterals returns the size of a command that may contain literals ({SIZE}, a line end, and as many bytes), or 0 if it is incomplete.
func withLiterals(b []byte) int {
	for at := 0; ; {
		line, size := lineOf(b[at:])
		if size == 0 {
			return 0
		}
		at += size
		n, ok := literalSize(line)
		if !ok {
			return at
		}
		if at += n; at > len(b) {
			return 0
		}
	}
}

// literalSize returns the size of the literal that a line announces at its end (RFC 9051 section 4.3, RFC 7888).
func literalSize(line []byte) (n int, ok bool) {
	line, ok = bytes.CutSuffix(line, []byte("}"))
	at := bytes.LastIndexByte(line, '{')
	if !ok || at < 0 {
		return 0, false
	}
	n = decimal(bytes.TrimSuffix(line[at+1:], []byte("+")))
	return n, n >= 0
}

// stringOf returns the string at the start of b: quoted, a literal, or a word. rest follows the string.
func stringOf(b []byte) (value, rest []byte) {
	b = bytes.TrimLeft(b, " ")
	switch {
	case len(b) == 0:
		return nil, nil
	case b[0] == '"':
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return b[1:i], b[i+1:]
			}
		}
		return nil, nil
	case b[0] == '{':
		line, size := lineOf(b)
		n, ok := literalSize(line)
		if !ok || size+n > len(b) {
			return nil, nil
		}
		return b[size : size+n], b[size+n:]
	}
	end := bytes.IndexAny(b, " \r\n")
	if end < 0 {
		end = len(b)
	}
	return b[:end], b[end:]
}

// afterWords returns the bytes of b after its first n words.
func afterWords(b []byte, n int) []byte {
	for range n {
		_, b = stringOf(b)
	}
	return b
}

// pop3Client reads a command of POP3 (RFC 1939, RFC 5034).
func pop3Client(r *Reader, b []byte) int {
	line, size := lineOf(b)
	if size == 0 || r.answers(line) {
		return size
	}
	word, rest := wordOf(line)
	switch {
	case is(word, "pass"):
		r.add(POP3Password, len(rest) > 0)
	case is(word, "auth"):
		r.authenticate(wordOf(rest))
	case isAny(word, "stat", "list", "uidl", "retr", "top"):
		r.started = true
	}
	return size
}

// pop3Server reads a reply. "+" and a space ask for the next response of SASL. If a command that needs an authentication is accepted, no
// authentication follows.
func pop3Server(r *Reader, b []byte) int {
	line, size := lineOf(b)
	switch {
	case bytes.HasPrefix(line, []byte("+ ")), string(line) == "+":
		r.challenge()
	case size > 0:
		if r.started && bytes.HasPrefix(line, []byte("+OK")) {
			r.end()
		}
		r.started = false
		r.concluded()
	}
	return size
}

// ftpClient reads a command of FTP (RFC 959 section 4.1.1). The password of the user anonymous is public (RFC 1635).
func ftpClient(r *Reader, b []byte) int {
	line, size := lineOf(b)
	word, rest := wordOf(line)
	switch {
	case is(word, "user"):
		r.anonymous = isAny(rest, "anonymous", "ftp")
	case is(word, "pass"):
		r.add(FTPPassword, len(rest) > 0 && !r.anonymous)
	}
	return size
}

// ftpServer reads a reply: 230 completes the login.
func ftpServer(r *Reader, b []byte) int {
	line, size := lineOf(b)
	if bytes.HasPrefix(line, []byte("230 ")) && !r.anonymous {
		r.end()
	}
	return size
}

// nntpClient reads a command of NNTP (RFC 4643).
func nntpClient(r *Reader, b []byte) int {
	line, size := lineOf(b)
	if size == 0 || r.answers(line) {
		return size
	}
	word, rest := wordOf(line)
	switch {
	case is(word, "authinfo"):
		method, args := wordOf(rest)
		if is(method, "pass") {
			r.add(NNTPPassword, len(args) > 0)
		} else if is(method, "sasl") {
			r.authenticate(wordOf(args))
		}
	case is(word, "takethis"):
		r.end()
	}
	return size
}

// nntpServer reads a reply: 340 and 335 ask for an article.
func nntpServer(r *Reader, b []byte) int {
	if bytes.HasPrefix(b, []byte("340")) || bytes.HasPrefix(b, []byte("335")) {
		r.end()
	}
	return r.replyCode(b, "383")
}

// sieveClient reads a command of ManageSieve (RFC 5804 section 2).
func sieveClient(r *Reader, b []byte) int {
	line, size := lineOf(b)
	word, _ := wordOf(line)
	switch {
	case size == 0:
		return 0
	case r.asked:
		if size = withLiterals(b); size > 0 {
			value, _ := stringOf(b[:size])
			r.answers(value)
		}
	case is(word, "authenticate"):
		if size = withLiterals(b); size > 0 {
			name, rest := stringOf(afterWords(b[:size], 1))
			initial, _ := stringOf(rest)
			r.authenticate(name, initial)
		}
	case len(word) == 0, isAny(word, "capability", "starttls", "noop", "logout"):
	default:
		r.started = true
	}
	return size
}

// sieveServer reads a response: a string asks for the next response of SASL.
func sieveServer(r *Reader, b []byte) int {
	line, size := lineOf(b)
	word, _ := wordOf(line)
	switch {
	case size == 0:
	case isAny(word, "ok", "no", "bye"), bytes.HasPrefix(line, []byte("OK(")):
		if r.started && starts(line, "ok") {
			r.end() // a command that needs an authentication was accepted
		}
		r.started = false
		r.concluded()
	default:
		r.challenge()
	}
	return size
}
