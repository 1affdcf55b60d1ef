package credentials

import (
	"bytes"
	"encoding/binary"
)

// redisClient reads a command of Redis: an array of strings, or a line (redis.io, "RESP protocol spec").
func redisClient(r *Reader, b []byte) int {
	if b[0] != '*' {
		line, size := lineOf(b)
		if size > 0 {
			redisInline(r, line)
		}
		return size
	}
	count, size := number(b, '*')
	if size == 0 {
		return 0
	}
	if count == 0 {
		return size // the server ignores it
	}
	if count < 1 || count > 16 {
		r.end()
		return size
	}
	var args [16][]byte
	for i := range count {
		n, header := number(b[min(size, len(b)):], '$')
		switch {
		case header == 0 || n >= 0 && n < MaxUnit && size+header+n+2 > len(b):
			return redisLater(r, args[:i], b)
		case n < 0 || n >= MaxUnit:
			r.end()
			return size
		}
		size += header
		args[i] = b[size : size+n]
		size += n + 2
	}
	redisCommand(r, args[:count])
	return size
}

// redisServer reads a line of a reply. Any reply but NOAUTH to a command that needs an authentication shows that none follows.
func redisServer(r *Reader, b []byte) int {
	line, size := lineOf(b)
	switch {
	case size == 0 || !r.started:
	case bytes.HasPrefix(line, []byte("-NOAUTH")):
		r.started = false
	default:
		r.end()
	}
	return size
}

// redisLater handles an incomplete command. A large one whose name is known and is not that of an authentication ends the reading.
func redisLater(r *Reader, args [][]byte, b []byte) int {
	if len(args) > 0 && len(b) >= MaxUnit && !redisAuthenticates(args[0]) {
		r.end()
	}
	return 0
}

// redisAuthenticates reports whether a client sends a command before its authentication, or for it.
func redisAuthenticates(command []byte) bool {
	return isAny(command, "auth", "hello", "client", "ping", "select", "command", "info", "echo")
}

// redisCommand reads a command. AUTH has a password, or a user and a password. HELLO can contain AUTH with both.
func redisCommand(r *Reader, args [][]byte) {
	switch {
	case is(args[0], "auth"):
		r.add(RedisPassword, len(args) > 1 && len(args[len(args)-1]) > 0)
	case is(args[0], "hello"):
		for i := 2; i+2 < len(args); i++ {
			if is(args[i], "auth") {
				r.add(RedisPassword, len(args[i+2]) > 0)
				return
			}
		}
	case !redisAuthenticates(args[0]):
		r.started = true
	}
}

// redisInline reads a command that is a line of words.
func redisInline(r *Reader, line []byte) {
	var args [16][]byte
	n := 0
	for word := range bytes.FieldsSeq(line) {
		if n == len(args) {
			break
		}
		args[n] = bytes.Trim(word, `"'`)
		n++
	}
	if n > 0 {
		redisCommand(r, args[:n])
	}
}

// number returns the number in a line that begins with mark, and the size of the line. The size is 0 if the line is incomplete. The number
// is -1 if the line is invalid.
func number(b []byte, mark byte) (n, size int) {
	line, size := lineOf(b)
	if size == 0 || len(line) < 2 || len(line) > 10 || line[0] != mark {
		if size == 0 && len(b) < 12 {
			return 0, 0
		}
		return -1, max(size, 1)
	}
	return decimal(line[1:]), size
}

// decimal returns a number of one to nine digits, or -1 if b is not a number.
func decimal(b []byte) (n int) {
	if len(b) == 0 || len(b) > 9 {
		return -1
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// memcachedClient reads a request of Memcached, in the binary protocol or in text.
func memcachedClient(r *Reader, b []byte) int {
	const binaryRequest = 0x80
	if b[0] == binaryRequest {
		return memcachedBinary(r, b)
	}
	line, size := lineOf(b)
	if size == 0 {
		return 0
	}
	word, rest := wordOf(line)
	if !r.asked || !is(word, "set") {
		if !isAny(word, "version", "stats", "verbosity") && r.started {
			r.end() // the server did not ask for a password after the first command
		}
		r.started = true
		return size
	}
	return memcachedText(r, rest, b, size)
}

// memcachedText reads the data of the set command that authenticates: user and password. args are those of the command, whose line has
// size bytes.
func memcachedText(r *Reader, args, b []byte, size int) int {
	length := 0
	for range 4 { // key, flags, expiry and length
		var word []byte
		word, args = wordOf(args)
		length = decimal(word)
	}
	switch {
	case length < 0 || length >= MaxUnit:
		r.end()
		return size
	case size+length+2 > len(b):
		return 0
	}
	_, password := wordOf(b[size : size+length])
	r.add(MemcachedPassword, len(password) > 0)
	r.end()
	return size + length + 2
}

// memcachedServer reads a line of the text protocol. A server that needs a password refuses other commands.
func memcachedServer(r *Reader, b []byte) int {
	if b[0] == 0x81 { // the binary protocol
		return len(b)
	}
	line, size := lineOf(b)
	r.asked = r.asked || bytes.HasPrefix(line, []byte("CLIENT_ERROR unauthenticated"))
	return size
}

// memcachedBinary reads a request of the binary protocol: "SASL Auth" has the mechanism as its key, and the response as its value.
func memcachedBinary(r *Reader, b []byte) int {
	const header, version, listMechanisms, auth, step = 24, 0x0b, 0x20, 0x21, 0x22
	if len(b) < header {
		return 0
	}
	key, extras, body := int(binary.BigEndian.Uint16(b[2:])), int(b[4]), int(binary.BigEndian.Uint32(b[8:]))
	size := header + body
	switch {
	case b[1] != version && b[1] != listMechanisms && b[1] != auth && b[1] != step, size > MaxUnit, key+extras > body:
		r.end()
	case len(b) < size:
		return 0
	case b[1] == auth:
		at := header + extras
		r.saslMessage(mechanismOf(b[at:at+key]), b[at+key:size])
	}
	return size
}
