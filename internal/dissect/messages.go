package dissect

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of databases and brokers, which speak in messages with a length.

// printable reports whether b is text in ASCII.
func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c > 0x7e {
			return false
		}
	}
	return true
}

// postgresRequest: SSLRequest, GSSENCRequest or CancelRequest (PostgreSQL protocol,
// "Message Formats").
func postgresRequest(b []byte) answer {
	if len(b) < 8 {
		return begins(anyOf("\x00\x00\x00\x08\x04\xd2\x16", "\x00\x00\x00\x10\x04\xd2\x16")(b))
	}
	size, code := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if size == 8 && (code == 80877103 || code == 80877104) || size == 16 && code == 80877102 {
		return yes
	}
	return no
}

// postgresChoice: the answer to SSLRequest or GSSENCRequest, one byte.
func postgresChoice(b []byte) answer {
	if len(b) == 1 && (b[0] == 'S' || b[0] == 'N' || b[0] == 'G') {
		return maybe
	}
	return no
}

// postgresStartup: StartupMessage 3.x. Its parameters come in any order.
func postgresStartup(b []byte) answer {
	if len(b) < 8 {
		if len(b) > 0 && b[0] != 0 || len(b) > 1 && b[1] != 0 || len(b) > 4 && b[4] != 0 || len(b) > 5 && b[5] != 3 {
			return no
		}
		return more
	}
	size, version := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if version>>16 != 3 || version&0xffff >= 4 || size < 8+5 || size > 10000 {
		return no
	}
	name, _, whole := bytes.Cut(b[8:], []byte{0})
	switch {
	case len(name) > 40 || !printable(name) || len(name) == 0 && whole:
		return no
	case !whole:
		return more
	}
	return yes
}

// postgresAuth: AuthenticationRequest 'R'.
func postgresAuth(b []byte) answer {
	if len(b) < 9 {
		return begins(prefix(b, "R\x00\x00"))
	}
	size, method := binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:])
	if b[0] != 'R' || size < 8 || size >= 2000 || !postgresMethod(size, method, b[9:]) {
		return no
	}
	if next := int(size) + 1; next < len(b) && bytes.IndexByte([]byte("RSKZENv"), b[next]) < 0 {
		return no
	}
	return yes
}

// postgresMethod reports whether a method of authentication has the size that belongs to
// it: a salt of four bytes with MD5, a mechanism's name with SASL, else nothing.
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

// postgresQuery: messages of a client in the middle of a session: a simple query, or a
// row of extended ones that ends with Sync or Flush.
func postgresQuery(b []byte) answer {
	if len(b) < 5 || bytes.IndexByte([]byte("QPBDECFSHXdcfp"), b[0]) < 0 {
		return no
	}
	if size := int(binary.BigEndian.Uint32(b[1:5])); b[0] == 'Q' && size >= 8 && size < 1<<24 {
		text := b[5:min(1+size, len(b))]
		whole := len(text) == size-4
		if whole && text[len(text)-1] != 0 || !whole && len(text) < minText {
			return no
		}
		if odd(bytes.TrimSuffix(text[:min(len(text), sampled)], []byte{0})) == 0 {
			return yes
		}
		return no
	}
	return postgresChain(b, "PBDECFSHXdcfp", func(typ byte, body []byte) bool { return (typ == 'S' || typ == 'H') && len(body) == 0 })
}

// postgresReply: messages of a server in the middle of a session, up to ReadyForQuery.
func postgresReply(b []byte) answer {
	return postgresChain(b, "123ACDEGHIKNnRSTtVWZcds", func(typ byte, body []byte) bool {
		return typ == 'Z' && len(body) == 1 && (body[0] == 'I' || body[0] == 'T' || body[0] == 'E')
	})
}

// postgresChain: messages of the types given, the last of which ends b and is telling.
func postgresChain(b []byte, types string, telling func(typ byte, body []byte) bool) answer {
	for range 256 {
		if len(b) < 5 || bytes.IndexByte([]byte(types), b[0]) < 0 {
			return no
		}
		size := binary.BigEndian.Uint32(b[1:5])
		if size < 4 || size > 1<<20 || int(size)+1 > len(b) {
			return no
		}
		body := b[5 : 1+size]
		if int(size)+1 == len(b) {
			if telling(b[0], body) {
				return yes
			}
			return no
		}
		b = b[1+size:]
	}
	return no
}

// mysqlGreeting: packet 0 with protocol version 10 and a version string, or with an error
// that fills it: the client's address is not welcome.
func mysqlGreeting(b []byte) answer {
	if len(b) > 9 && b[3] == 0 && b[4] == 0xff && int(b[0])|int(b[1])<<8|int(b[2])<<16 == len(b)-4 {
		if code := int(b[5]) | int(b[6])<<8; code >= 1000 && code < 4000 && printable(b[7:]) {
			return yes
		}
		return no
	}
	if len(b) < 10 {
		if len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] != 0 || len(b) > 4 && b[4] != 10 && b[4] != 0xff {
			return no
		}
		if len(b) == 0 {
			return no
		}
		return more
	}
	size := int(b[0]) | int(b[1])<<8
	if b[2] != 0 || b[3] != 0 || b[4] != 10 || b[5] < '0' || b[5] > '9' || size < 20 || size > 1024 {
		return no
	}
	end := bytes.IndexByte(b[5:min(len(b), 5+80)], 0)
	switch {
	case end < 0 && len(b) < 5+80 && printable(b[5:]):
		return more
	case end < 1 || !printable(b[5:5+end]):
		return no
	}
	return yes
}

// mysqlSSLRequest: a client's first packet that only asks for TLS (MySQL protocol,
// "Protocol::SSLRequest").
func mysqlSSLRequest(b []byte) answer { return mysqlClient(b, true) }

// mysqlLogin: a client's first packet that logs in without it ("HandshakeResponse41").
func mysqlLogin(b []byte) answer { return mysqlClient(b, false) }

// mysqlClient: packet 1 with capabilities, the largest packet, a character set and 23
// bytes of zero.
func mysqlClient(b []byte, tls bool) answer {
	const fixed = 4 + 32
	if len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] != 1 || len(b) > 0 && b[0] < 32 && (len(b) < 2 || b[1] == 0) {
		return no
	}
	if len(b) < fixed {
		if len(b) == 0 {
			return no
		}
		return more
	}
	size, capabilities := int(b[0])|int(b[1])<<8, binary.LittleEndian.Uint32(b[4:])
	if capabilities&0x200 == 0 || (capabilities&0x800 != 0) != tls || tls != (size == 32) || size > 4096 || !bytes.Equal(b[13:13+19], make([]byte, 19)) {
		return no
	}
	return yes
}

// mysqlQuery: in the middle of a session, one command that fills the segment: COM_QUERY
// or COM_STMT_PREPARE with its text; others are weak.
func mysqlQuery(b []byte) answer {
	if len(b) < 5 || int(b[0])|int(b[1])<<8|int(b[2])<<16 != len(b)-4 || b[3] != 0 {
		return no
	}
	switch b[4] {
	case 0x03, 0x16:
		if len(b) >= 5+6 && odd(b[5:min(len(b), sampled)]) == 0 {
			return yes
		}
		return no
	case 0x02, 0x0e, 0x17, 0x19:
		return maybe
	}
	return no
}

// mysqlReply: a server's packet in the middle of a session: the first one, with another
// behind it as far as it goes.
func mysqlReply(b []byte) answer {
	for seq := 1; seq < 4; seq++ {
		if len(b) < 5 {
			return no
		}
		size := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		if int(b[3]) != seq || size == 0 {
			return no
		}
		if size+4 >= len(b) {
			if size+4 == len(b) {
				return yes
			}
			return no
		}
		b = b[4+size:]
	}
	return yes
}

// kafkaRequest: size, api_key, api_version, correlation_id and a printable client_id
// (Kafka protocol guide, "Request Header"). A request that does not fill the segment, or
// whose client_id is short, is weak.
func kafkaRequest(b []byte) answer {
	if len(b) < 14 {
		if len(b) > 1 && (b[0] != 0 || b[1] > 0x40) || len(b) > 4 && b[4] != 0 || len(b) > 5 && b[5] > 92 {
			return no
		}
		return more
	}
	size, api, version, id := binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), int(int16(binary.BigEndian.Uint16(b[12:])))
	if size < 10 || size > 100<<20 || api > 92 || version > 20 || id < 1 || id > 200 || uint32(id)+10 > size {
		return no
	}
	name := b[14:min(len(b), 14+id)]
	for _, c := range name {
		if c < 0x20 || c > 0x7e {
			return no
		}
	}
	switch whole := int(size)+4 == len(b); {
	case len(name) < id:
		return more
	case whole && id >= 3, id >= 6:
		return yes
	}
	return maybe
}

// kafkaReply: a size and a correlation_id that are small, and fit the segment.
func kafkaReply(b []byte) answer {
	if len(b) < 8 {
		if len(b) > 0 && b[0] != 0 {
			return no
		}
		return more
	}
	if size := binary.BigEndian.Uint32(b); size >= 4 && size < 1<<24 && int(size)+4 >= len(b) && binary.BigEndian.Uint32(b[4:]) < 1<<24 {
		return yes
	}
	return no
}

// amqpHeader: the protocol header of AMQP 0-9-1 and 1.0 (with its SASL and TLS layers).
func amqpHeader(b []byte) answer {
	if a := prefix(b, "AMQP"); a != yes {
		return a
	}
	if len(b) < 8 {
		return more
	}
	if b[4] > 3 || b[5] > 9 || b[6] > 10 || b[7] > 10 {
		return no
	}
	return yes
}

// amqpFrames: frames of AMQP 0-9-1 that fill the segment: type, channel, size, payload,
// frame-end.
func amqpFrames(b []byte) answer {
	for frames := 0; ; frames++ {
		if frames > 0 && len(b) == 0 {
			return yes
		}
		if len(b) < 8 || b[0] < 1 || b[0] > 8 || b[0] > 3 && b[0] < 8 {
			return no
		}
		size := binary.BigEndian.Uint32(b[3:])
		if size > 1<<17 || int(size)+8 > len(b) || b[7+size] != 0xce || b[0] == 8 && size != 0 || b[1] != 0 {
			return no
		}
		b = b[8+size:]
	}
}

// mqttConnect: a CONNECT with its protocol name (MQTT 5.0 section 3.1).
func mqttConnect(b []byte) answer {
	if a := prefix(b, "\x10"); a != yes {
		return a
	}
	i := 1
	for i < len(b) && i < 5 && b[i]&0x80 != 0 {
		i++
	}
	i++
	if i >= len(b) {
		return more
	}
	return anyOf("\x00\x04MQTT", "\x00\x06MQIsdp")(b[i:])
}

// mqttAck: a CONNACK (MQTT 5.0 section 3.2).
func mqttAck(b []byte) answer {
	if a := prefix(b, "\x20"); a != yes {
		return a
	}
	if len(b) < 4 {
		return more
	}
	if b[1] < 2 || b[1] > 0x7f || b[2] > 1 {
		return no
	}
	return yes
}
