package protocols

import (
	"bytes"
)

// Recognizers of chat: XMPP and IRC.

// xmppStream recognizes the opening of a stream (RFC 6120 section 4.2), optionally after an XML declaration.
func xmppStream(b []byte) Match {
	rest := b
	if bytes.HasPrefix(b, []byte("<?xml ")) {
		_, stream, declared := bytes.Cut(b, []byte("?>"))
		if !declared {
			if len(b) > 200 {
				return No
			}
			return More
		}
		rest = bytes.TrimLeft(stream, " \r\n\t")
		if len(rest) == 0 {
			return More
		}
	} else if a := prefix(b, "<?xml "); a == More {
		return More
	}
	return prefix(rest, "<stream:stream")
}

// ircServer recognizes a server's line: NOTICE, or a prefix with a command or a numeric (RFC 2812 section 2.3).
func ircServer(b []byte) Match {
	if len(b) == 0 || b[0] != ':' && prefix(b, "NOTICE ") == No {
		return No
	}
	line, a := plainLine(b, 512)
	if a != Yes {
		return a
	}
	if b[0] != ':' {
		return Yes
	}
	for _, word := range []string{" NOTICE ", " 001 ", " 020 ", " CAP ", " 670 ", " 451 ", " 433 "} {
		if bytes.Contains(line, []byte(word)) {
			return Yes
		}
	}
	return No
}
