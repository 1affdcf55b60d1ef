package dissect

import (
	"bytes"
	"strings"
)

// Recognizers of protocols that speak in lines of text.

// sshBanner: the identification string, in one line (RFC 4253 section 4.2).
func sshBanner(b []byte) answer {
	if a := anyOf("SSH-2.0-", "SSH-1.")(b); a != yes {
		return a
	}
	_, a := plainLine(b, 255)
	return a
}

// imapCommand: a tag and a command that opens a session (RFC 9051 section 6).
func imapCommand(b []byte) answer {
	if strings.IndexByte(tags, b[0]) < 0 {
		return no
	}
	line, a := plainLine(b, 512)
	if a != yes {
		return a
	}
	_, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return no
	}
	if anyFold("CAPABILITY", "LOGIN ", "STARTTLS", "AUTHENTICATE ", "ID ", "NOOP", "LOGOUT")(rest) != yes {
		return no
	}
	return yes
}

// xmppStream: the opening of a stream (RFC 6120 section 4.2), perhaps behind an XML
// declaration.
func xmppStream(b []byte) answer {
	rest := b
	if bytes.HasPrefix(b, []byte("<?xml ")) {
		_, stream, declared := bytes.Cut(b, []byte("?>"))
		if !declared {
			if len(b) > 200 {
				return no
			}
			return more
		}
		rest = bytes.TrimLeft(stream, " \r\n\t")
		if len(rest) == 0 {
			return more
		}
	} else if a := prefix(b, "<?xml "); a == more {
		return more
	}
	return prefix(rest, "<stream:stream")
}

// ircServer: a line from a server, with its prefix, a command or numeric (RFC 2812
// section 2.3).
func ircServer(b []byte) answer {
	if len(b) == 0 || b[0] != ':' && prefix(b, "NOTICE ") == no {
		return no
	}
	line, a := plainLine(b, 512)
	if a != yes {
		return a
	}
	if b[0] != ':' {
		return yes
	}
	for _, word := range []string{" NOTICE ", " 001 ", " 020 ", " CAP ", " 670 ", " 451 ", " 433 "} {
		if bytes.Contains(line, []byte(word)) {
			return yes
		}
	}
	return no
}

// natsServer: INFO and a JSON object (docs.nats.io, "Client Protocol").
func natsServer(b []byte) answer {
	if a := anyOf("INFO {\"", "INFO { \"")(b); a != no {
		return a
	}
	return weak(anyOf("PING\r\n", "PONG\r\n", "+OK\r\n", "MSG ", "-ERR '"))(b)
}

// redisCommand: an array of bulk strings, RESP's form of a command (redis.io, "RESP
// protocol spec"); an inline one is weak.
func redisCommand(b []byte) answer {
	if len(b) > 0 && b[0] != '*' {
		return weak(anyFold("PING\r\n", "AUTH ", "HELLO 2", "HELLO 3", "INFO\r\n", "QUIT\r\n"))(b)
	}
	i, ok := digits(b, '*')
	switch {
	case !ok:
		return no
	case i >= len(b):
		return more
	}
	if a := prefix(b[i:], "\r\n$"); a != yes {
		return a
	}
	j, ok := digits(b[i+2:], '$')
	switch {
	case !ok:
		return no
	case i+2+j >= len(b):
		return more
	}
	return prefix(b[i+2+j:], "\r\n")
}

// digits reads mark and then one to nine digits; it returns where they end.
func digits(b []byte, mark byte) (int, bool) {
	if len(b) == 0 || b[0] != mark {
		return 0, false
	}
	i := 1
	for i < len(b) && i < 10 && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i, i > 1 || len(b) == 1
}

// redisReply: the reply types of RESP2 and RESP3 in one line.
func redisReply(b []byte) answer {
	if len(b) == 0 || bytes.IndexByte([]byte("+-:$*%~,#_(="), b[0]) < 0 {
		return no
	}
	line, a := plainLine(b, 512)
	switch {
	case a != yes:
		return a
	case b[len(line)] != '\r':
		return no
	}
	if bytes.IndexByte([]byte(":$*%~"), b[0]) >= 0 {
		if i, ok := digits(bytes.Replace(line, []byte("-"), nil, 1), b[0]); !ok || i == 1 {
			return no
		}
	}
	return yes
}

// memcachedCommand: a command of the text protocol whose line has the form it must have,
// or the header of a binary one (github.com/memcached/memcached, doc/protocol.txt).
func memcachedCommand(b []byte) answer {
	if len(b) > 0 && b[0] == 0x80 {
		return weak(memcachedBinary)(b)
	}
	if a := anyOf("get ", "gets ", "set ", "add ", "replace ", "append ", "cas ", "delete ", "incr ", "decr ", "touch ", "gat ", "stats", "version", "verbosity ", "mg ", "ms ", "md ", "mn\r\n")(b); a != yes {
		return a
	}
	line, a := plainLine(b, 512)
	if a != yes {
		return a
	}
	words := bytes.Fields(line)
	if len(words) >= 5 && (string(words[0]) == "set" || string(words[0]) == "add" || string(words[0]) == "replace") && isNumber(words[2]) && isNumber(words[3]) && isNumber(words[4]) {
		return yes
	}
	return maybe
}

func memcachedReply(b []byte) answer {
	if len(b) > 0 && b[0] == 0x81 {
		return weak(memcachedBinary)(b)
	}
	line, a := plainLine(b, 512)
	if a != yes {
		return a
	}
	if words := bytes.Fields(line); len(words) >= 4 && string(words[0]) == "VALUE" && isNumber(words[2]) && isNumber(words[3]) {
		return yes
	}
	return weak(anyOf("STORED\r\n", "NOT_STORED\r\n", "EXISTS\r\n", "END\r\n", "STAT ", "VERSION ", "DELETED\r\n", "TOUCHED\r\n", "NOT_FOUND\r\n", "ERROR\r\n", "CLIENT_ERROR ", "SERVER_ERROR ", "HD", "EN\r\n", "VA "))(b)
}

// memcachedBinary: a header of the binary protocol, whose lengths fit each other.
func memcachedBinary(b []byte) answer {
	if len(b) < 24 {
		return more
	}
	key, extras, body := int(b[2])<<8|int(b[3]), int(b[4]), int(b[8])<<24|int(b[9])<<16|int(b[10])<<8|int(b[11])
	if b[1] > 0x25 || b[5] != 0 || key > 250 || extras > 32 || body < key+extras || body > 1<<20 {
		return no
	}
	return yes
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 10
}
