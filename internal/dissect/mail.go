package dissect

import "bytes"

// Recognizers of mail, news and file transfer, whose greetings need not name the protocol.

func smtpGreeting(b []byte) answer { return greeting220(b, "SMTP") }
func lmtpGreeting(b []byte) answer { return greeting220(b, "LMTP") }
func ftpGreeting(b []byte) answer  { return greeting220(b, "FTP") }

// greeting220 recognizes a greeting of SMTP, LMTP or FTP, which begin alike (RFC 5321
// section 4.2, RFC 2033, RFC 959). A first line that names none of them is a maybe: the
// client's words decide.
func greeting220(b []byte, name string) answer {
	if a := anyOf("220 ", "220-")(b); a != yes {
		return a
	}
	line, a := plainLine(b, 1024)
	if a != yes {
		return a
	}
	switch named := namedIn(line); named {
	case name:
		return yes
	case "":
		return maybe
	default:
		return no
	}
}

// namedIn returns which of SMTP, LMTP and FTP a line names, empty if none.
func namedIn(line []byte) string {
	for _, name := range []string{"SMTP", "LMTP", "FTP"} {
		if containsFold(line, name) {
			return name
		}
	}
	return ""
}

// containsFold reports whether b contains word, which is in upper case, in any case.
func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if prefixFold(b[i:], word) == yes {
			return true
		}
	}
	return false
}

func ftpCommand(b []byte) answer { return anyFold("USER ", "AUTH ", "FEAT\r\n")(b) }

func pop3Command(b []byte) answer {
	return anyFold("USER ", "CAPA\r\n", "STLS\r\n", "AUTH", "APOP ")(b)
}

// pop3Greeting recognizes "+OK" with the name POP or an APOP timestamp (RFC 1939 sections
// 4 and 7). Redis begins a reply alike, so any other line is a maybe.
func pop3Greeting(b []byte) answer {
	if a := prefix(b, "+OK"); a != yes {
		return a
	}
	line, a := plainLine(b, 512)
	switch {
	case a != yes:
		return a
	case containsFold(line, "POP"), timestamp(line):
		return yes
	}
	return maybe
}

// timestamp reports whether a line ends with a msg-id, as APOP needs: <digits@host>.
func timestamp(line []byte) bool {
	i := bytes.LastIndexByte(line, '<')
	return i >= 0 && i+1 < len(line) && line[i+1] >= '0' && line[i+1] <= '9' &&
		bytes.IndexByte(line[i:], '@') > 0 && bytes.HasSuffix(bytes.TrimRight(line, " "), []byte(">"))
}

// nntpCommand recognizes the commands that open a session (RFC 3977 section 5, RFC 4642).
func nntpCommand(b []byte) answer {
	return anyFold("CAPABILITIES", "MODE READER", "MODE STREAM", "STARTTLS", "GROUP ", "LIST", "AUTHINFO ")(b)
}

// nntpGreeting recognizes the greeting with 200 or 201 (RFC 3977 section 5.1).
func nntpGreeting(b []byte) answer {
	if a := anyOf("200 ", "201 ")(b); a != yes {
		return a
	}
	line, a := plainLine(b, 512)
	switch {
	case a != yes:
		return a
	case containsFold(line, "NNTP"), containsFold(line, "INN "):
		return yes
	}
	return maybe
}

// sieveCommand recognizes the commands of ManageSieve (RFC 5804 section 2).
func sieveCommand(b []byte) answer {
	return anyFold("STARTTLS", "AUTHENTICATE \"", "CAPABILITY", "LISTSCRIPTS", "LOGOUT")(b)
}

// sieveGreeting recognizes the capabilities that a ManageSieve server greets with (RFC
// 5804 section 1.7).
func sieveGreeting(b []byte) answer {
	return max(anyFold("\"IMPLEMENTATION\" \"", "\"SIEVE\" \"")(b), weak(anyFold("\"STARTTLS\"", "\"SASL\" \"", "OK"))(b))
}
