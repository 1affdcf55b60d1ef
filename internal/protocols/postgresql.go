package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of PostgreSQL.

// postgresRequest recognizes SSLRequest, GSSENCRequest and CancelRequest (PostgreSQL protocol, "Message Formats").
func postgresRequest(b []byte) Match {
	if len(b) < 8 {
		return begins(anyOf("\x00\x00\x00\x08\x04\xd2\x16", "\x00\x00\x00\x10\x04\xd2\x16")(b))
	}
	size, code := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if size == 8 && (code == 80877103 || code == 80877104) || size == 16 && code == 80877102 {
		return Yes
	}
	return No
}

// postgresChoice recognizes a server's answer to SSLRequest or GSSENCRequest, which is one byte.
func postgresChoice(b []byte) Match {
	if len(b) == 1 && (b[0] == 'S' || b[0] == 'N' || b[0] == 'G') {
		return Maybe
	}
	return No
}

// postgresStartup recognizes StartupMessage 3.x. Its parameters can come in any order.
func postgresStartup(b []byte) Match {
	if len(b) < 8 {
		if len(b) > 0 && b[0] != 0 || len(b) > 1 && b[1] != 0 || len(b) > 4 && b[4] != 0 || len(b) > 5 && b[5] != 3 {
			return No
		}
		return More
	}
	size, version := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if version>>16 != 3 || version&0xffff >= 4 || size < 8+5 || size > 10000 {
		return No
	}
	name, _, whole := bytes.Cut(b[8:], []byte{0})
	switch {
	case len(name) > 40 || !printable(name) || len(name) == 0 && whole:
		return No
	case !whole:
		return More
	}
	return Yes
}

// postgresAuth recognizes an AuthenticationRequest, of type 'R'.
func postgresAuth(b []byte) Match {
	if len(b) < 9 {
		return begins(prefix(b, "R\x00\x00"))
	}
	size, method := binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:])
	if b[0] != 'R' || size < 8 || size >= 2000 || !postgresMethod(size, method, b[9:]) {
		return No
	}
	if next := int(size) + 1; next < len(b) && bytes.IndexByte([]byte("RSKZENv"), b[next]) < 0 {
		return No
	}
	return Yes
}

// postgresMethod reports whether the message of an authentication method has a valid size. MD5 needs a salt of four bytes, and SASL the
// names of mechanisms or other data. The messages of methods without data must be empty.
func postgresMethod(size, method uint32, body []byte) bool {
	switch method {
	case 5:
		return size == 12
	case 8, 11, 12:
		return size > 8
	case 10:
		return size > 12 && printable(body[:min(len(body), 4)])
	case 0, 2, 3, 6, 7, 9:
		return size == 8
	}
	return false
}

// postgresQuery recognizes messages of a client in the middle of a session: a simple query, or extended-query messages up to Sync or Flush.
func postgresQuery(b []byte) Match {
	if len(b) < 5 || bytes.IndexByte([]byte("QPBDECFSHXdcfp"), b[0]) < 0 {
		return No
	}
	if size := int(binary.BigEndian.Uint32(b[1:5])); b[0] == 'Q' && size >= 8 && size < 1<<24 {
		text := b[5:min(1+size, len(b))]
		whole := len(text) == size-4
		if whole && text[len(text)-1] != 0 || !whole && len(text) < MinText {
			return No
		}
		if CountNonText(bytes.TrimSuffix(text[:min(len(text), SampleSize)], []byte{0})) == 0 {
			return Yes
		}
		return No
	}
	return postgresChain(b, "PBDECFSHXdcfp", func(typ byte, body []byte) bool { return (typ == 'S' || typ == 'H') && len(body) == 0 })
}

// postgresReply recognizes messages of a server in the middle of a session, up to ReadyForQuery.
func postgresReply(b []byte) Match {
	return postgresChain(b, "123ACDEGHIKNnRSTtVWZcds", func(typ byte, body []byte) bool {
		return typ == 'Z' && len(body) == 1 && (body[0] == 'I' || body[0] == 'T' || body[0] == 'E')
	})
}

// postgresChain recognizes messages of the given types that fill b. telling must report true for the last message, which ends a series.
func postgresChain(b []byte, types string, telling func(typ byte, body []byte) bool) Match {
	for range 256 {
		if len(b) < 5 || bytes.IndexByte([]byte(types), b[0]) < 0 {
			return No
		}
		size := binary.BigEndian.Uint32(b[1:5])
		if size < 4 || size > 1<<20 || int(size)+1 > len(b) {
			return No
		}
		body := b[5 : 1+size]
		if int(size)+1 == len(b) {
			if telling(b[0], body) {
				return Yes
			}
			return No
		}
		b = b[1+size:]
	}
	return No
}
