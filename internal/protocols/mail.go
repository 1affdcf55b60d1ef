package protocols

import (
	"bytes"
	"strings"
)

// Recognizers of mail, news and FTP, whose greetings look alike.

func smtpGreeting(b []byte) Match { return greeting220(b, "SMTP") }
func lmtpGreeting(b []byte) Match { return greeting220(b, "LMTP") }
func ftpGreeting(b []byte) Match  { return greeting220(b, "FTP") }

// greeting220 recognizes a greeting of SMTP, LMTP or FTP, which all begin with 220 (RFC 5321 section 4.2, RFC 2033, RFC 959). If the first
// line names none of these protocols, the result is Maybe: the client's commands decide.
func greeting220(b []byte, name string) Match {
	if a := anyOf("220 ", "220-")(b); a != Yes {
		return a
	}
	line, a := plainLine(b, 1024)
	if a != Yes {
		return a
	}
	switch named := namedIn(line); named {
	case name:
		return Yes
	case "":
		return Maybe
	default:
		return No
	}
}

// namedIn returns the first of SMTP, LMTP and FTP that a line contains, or "".
func namedIn(line []byte) string {
	for _, name := range []string{"SMTP", "LMTP", "FTP"} {
		if containsFold(line, name) {
			return name
		}
	}
	return ""
}

// ftpCommand recognizes the commands that an FTP client can send first (RFC 959, RFC 4217).
func ftpCommand(b []byte) Match { return anyFold("USER ", "AUTH ", "FEAT\r\n")(b) }

// imapCommand recognizes a tag and a command that an IMAP client can send first (RFC 9051 section 6).
func imapCommand(b []byte) Match {
	if strings.IndexByte(tags, b[0]) < 0 {
		return No
	}
	line, a := plainLine(b, 512)
	if a != Yes {
		return a
	}
	_, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return No
	}
	if anyFold("CAPABILITY", "LOGIN ", "STARTTLS", "AUTHENTICATE ", "ID ", "NOOP", "LOGOUT")(rest) != Yes {
		return No
	}
	return Yes
}

// pop3Command recognizes the commands that a POP3 client can send first (RFC 1939, RFC 2595), apart from AUTH, which Redis has, too.
func pop3Command(b []byte) Match {
	return anyFold("USER ", "CAPA\r\n", "STLS\r\n", "APOP ")(b)
}

// pop3Greeting recognizes "+OK" with the name POP or an APOP timestamp (RFC 1939 sections 4 and 7). Any other line gives Maybe, because
// replies of Redis look the same.
func pop3Greeting(b []byte) Match {
	if a := prefix(b, "+OK"); a != Yes {
		return a
	}
	line, a := plainLine(b, 512)
	switch {
	case a != Yes:
		return a
	case containsFold(line, "POP"), timestamp(line):
		return Yes
	}
	return Maybe
}

// timestamp reports whether a line ends with a timestamp as APOP needs it: <DIGITS...@HOST>.
func timestamp(line []byte) bool {
	i := bytes.LastIndexByte(line, '<')
	return i >= 0 && i+1 < len(line) && line[i+1] >= '0' && line[i+1] <= '9' &&
		bytes.IndexByte(line[i:], '@') > 0 && bytes.HasSuffix(bytes.TrimRight(line, " "), []byte(">"))
}

// nntpCommand recognizes the commands that an NNTP client can send first (RFC 3977 section 5, RFC 4642).
func nntpCommand(b []byte) Match {
	return anyFold("CAPABILITIES", "MODE READER", "MODE STREAM", "STARTTLS", "GROUP ", "LIST", "AUTHINFO ")(b)
}

// nntpGreeting recognizes a greeting with 200 or 201 (RFC 3977 section 5.1). The greeting must name NNTP or INN; otherwise the result is
// Maybe.
func nntpGreeting(b []byte) Match {
	if a := anyOf("200 ", "201 ")(b); a != Yes {
		return a
	}
	line, a := plainLine(b, 512)
	switch {
	case a != Yes:
		return a
	case containsFold(line, "NNTP"), containsFold(line, "INN "):
		return Yes
	}
	return Maybe
}

// sieveCommand recognizes the commands of ManageSieve (RFC 5804 section 2).
func sieveCommand(b []byte) Match {
	return anyFold("STARTTLS", "AUTHENTICATE \"", "CAPABILITY", "LISTSCRIPTS", "LOGOUT")(b)
}

// sieveGreeting recognizes the list of capabilities that a ManageSieve server sends first (RFC 5804 section 1.7).
func sieveGreeting(b []byte) Match {
	return max(anyFold("\"IMPLEMENTATION\" \"", "\"SIEVE\" \"")(b), weak(anyFold("\"STARTTLS\"", "\"SASL\" \"", "OK"))(b))
}
