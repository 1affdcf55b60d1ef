package protocols

import (
	"bytes"
)

// Recognizers of key-value stores: Redis, Memcached and Aerospike.

// redisCommand recognizes a command as RESP writes it, an array of bulk strings (redis.io, "RESP protocol spec"). An inline command only
// gives Maybe. The server ignores empty lines and empty arrays before a command.
func redisCommand(b []byte) Match {
	for {
		rest, empty := bytes.CutPrefix(b, []byte("*0\r\n"))
		if rest = bytes.TrimLeft(rest, whitespace); len(rest) == 0 {
			return More
		}
		if b = rest; !empty {
			break
		}
	}
	if b[0] != '*' {
		return redisInline(b)
	}
	i, ok := digits(b, '*')
	switch {
	case !ok:
		return No
	case i >= len(b):
		return More
	}
	if a := prefix(b[i:], "\r\n$"); a != Yes {
		return a
	}
	j, ok := digits(b[i+2:], '$')
	switch {
	case !ok:
		return No
	case i+2+j >= len(b):
		return More
	}
	return prefix(b[i+2+j:], "\r\n")
}

// redisInline recognizes a line with a command that a client can send before its authentication, or for it. Words can have quotes.
func redisInline(b []byte) Match {
	line, a := plainLine(b, 512)
	if a == More {
		line = b
	}
	word := line
	if end := bytes.IndexAny(line, whitespace); end >= 0 {
		word = line[:end]
	} else if a == More && len(word) <= len(`"command"`) {
		return More
	}
	switch string(bytes.ToLower(bytes.Trim(word, `"'`))) {
	case "auth", "client", "command", "echo", "hello", "info", "ping", "quit", "select":
		if a == Yes {
			return Maybe
		}
		return a
	}
	return No
}

// digits expects mark and then one to nine digits at the start of b. It returns the offset after them, or false if b does not begin with
// them.
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

// redisReply recognizes a reply of RESP2 or RESP3 by its first line.
func redisReply(b []byte) Match {
	if len(b) == 0 || bytes.IndexByte([]byte("+-:$*%~,#_(="), b[0]) < 0 {
		return No
	}
	line, a := plainLine(b, 512)
	switch {
	case a != Yes:
		return a
	case b[len(line)] != '\r':
		return No
	}
	if bytes.IndexByte([]byte(":$*%~"), b[0]) >= 0 {
		if i, ok := digits(bytes.Replace(line, []byte("-"), nil, 1), b[0]); !ok || i == 1 {
			return No
		}
	}
	return Yes
}

// redisBus recognizes a message of Redis Cluster's bus (cluster.h, clusterMsg).
func redisBus(b []byte) Match {
	if a := prefix(b, "RCmb\x00"); a != Yes {
		return a
	}
	if len(b) < 16 {
		return More
	}
	if b[8] != 0 || b[9] > 1 || b[12] != 0 || b[13] > 12 {
		return No
	}
	return Yes
}

// memcachedCommand recognizes a command of the text protocol (github.com/memcached/memcached, doc/protocol.txt). A storage command with its
// numbers gives Yes. Another command or a binary header gives Maybe.
func memcachedCommand(b []byte) Match {
	if len(b) > 0 && b[0] == 0x80 {
		return weak(memcachedBinary)(b)
	}
	if a := anyOf("get ", "gets ", "set ", "add ", "replace ", "append ", "cas ", "delete ", "incr ", "decr ", "touch ", "gat ", "stats", "version", "verbosity ", "mg ", "ms ", "md ", "mn\r\n")(b); a != Yes {
		return a
	}
	line, a := plainLine(b, 512)
	if a != Yes {
		return a
	}
	words := bytes.Fields(line)
	if len(words) >= 5 && (string(words[0]) == "set" || string(words[0]) == "add" || string(words[0]) == "replace") && isNumber(words[2]) && isNumber(words[3]) && isNumber(words[4]) {
		return Yes
	}
	return Maybe
}

// memcachedReply recognizes a reply of the text protocol. A VALUE line with its numbers gives Yes. Another reply or a binary header gives
// Maybe.
func memcachedReply(b []byte) Match {
	if len(b) > 0 && b[0] == 0x81 {
		return weak(memcachedBinary)(b)
	}
	line, a := plainLine(b, 512)
	if a != Yes {
		return a
	}
	if words := bytes.Fields(line); len(words) >= 4 && string(words[0]) == "VALUE" && isNumber(words[2]) && isNumber(words[3]) {
		return Yes
	}
	return weak(anyOf("STORED\r\n", "NOT_STORED\r\n", "EXISTS\r\n", "END\r\n", "STAT ", "VERSION ", "DELETED\r\n", "TOUCHED\r\n", "NOT_FOUND\r\n", "ERROR\r\n", "CLIENT_ERROR ", "SERVER_ERROR ", "HD", "EN\r\n", "VA "))(b)
}

// memcachedBinary recognizes a header of the binary protocol by its lengths, which must be consistent.
func memcachedBinary(b []byte) Match {
	if len(b) < 24 {
		return More
	}
	key, extras, body := int(b[2])<<8|int(b[3]), int(b[4]), int(b[8])<<24|int(b[9])<<16|int(b[10])<<8|int(b[11])
	if b[1] > 0x25 || b[5] != 0 || key > 250 || extras > 32 || body < key+extras || body > 1<<20 {
		return No
	}
	return Yes
}

// memcachedPacket recognizes a message of the text protocol in a single datagram, after its frame header (doc/protocol.txt, "UDP
// protocol").
func memcachedPacket(text func([]byte) Match) func([]byte) Match {
	return func(b []byte) Match {
		if len(b) < 10 || b[2] != 0 || b[3] != 0 || b[4] != 0 || b[5] == 0 || b[6] != 0 || b[7] != 0 {
			return No
		}
		if text(b[8:]) < Maybe || CountNonText(b[8:min(len(b), 16)]) > 0 {
			return No
		}
		return Yes
	}
}

// aerospikeMessage recognizes a message of Aerospike: version, type and length, and then a header of 22 bytes or the text of an info
// message.
func aerospikeMessage(b []byte) Match {
	switch {
	case b[0] != 2, len(b) > 1 && b[1] != 1 && b[1] != 3, len(b) > 2 && b[2] != 0, len(b) > 3 && b[3] != 0, len(b) > 4 && b[4] != 0:
		return No
	case len(b) < 9:
		return More
	case b[1] == 3:
		if b[8] != 22 {
			return No
		}
		return Yes
	}
	const least = 12
	if len(b) < 8+least {
		return More
	}
	for _, c := range b[8 : 8+least] {
		if c != '\n' && c != '\t' && (c < 0x20 || c > 0x7e) {
			return No
		}
	}
	return Yes
}
