package credentials

import (
	"bytes"
	"encoding/binary"
)

// Readers of message brokers.

// mqttClient reads the first packet of a client, CONNECT (MQTT 5.0 section 3.1, MQTT 3.1.1 section 3.1).
func mqttClient(r *Reader, b []byte) int {
	const connect = 0x10
	at, n := 1, 0
	for shift := 0; ; shift += 7 {
		if at >= len(b) {
			return 0
		}
		c := b[at]
		n |= int(c&0x7f) << shift
		if at++; c&0x80 == 0 {
			break
		}
		if shift == 21 {
			r.fail()
			return 0
		}
	}
	switch size := at + n; {
	case b[0] != connect || size > MaxUnit:
		r.fail()
		return 0
	case size > len(b):
		return 0
	default:
		r.add(MQTTPassword, mqttPassword(b[at:size]))
		r.end()
		return size
	}
}

// mqttPassword reports whether a CONNECT has a password that is not empty. b is the packet after its fixed header.
func mqttPassword(b []byte) bool {
	const will, password, user = 0x4, 0x40, 0x80
	_, b = prefixed(b) // the name of the protocol
	if len(b) < 4 {
		return false
	}
	version, flags := b[0], b[1]
	b = b[4:]
	skip := func() {
		if version >= 5 {
			b = afterProperties(b)
		}
	}
	skip()
	_, b = prefixed(b) // the client's identifier
	if flags&will != 0 {
		skip()
		_, b = prefixed(b)
		_, b = prefixed(b)
	}
	if flags&user != 0 {
		_, b = prefixed(b)
	}
	secret, _ := prefixed(b)
	return flags&password != 0 && len(secret) > 0
}

// prefixed returns the string at the start of b, whose size comes first in two bytes, and the rest. Both are empty if b is too short.
func prefixed(b []byte) (value, rest []byte) {
	if len(b) < 2 {
		return nil, nil
	}
	n := int(binary.BigEndian.Uint16(b))
	if 2+n > len(b) {
		return nil, nil
	}
	return b[2 : 2+n], b[2+n:]
}

// afterProperties returns the rest of b after the properties of MQTT 5.0.
func afterProperties(b []byte) []byte {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil
	}
	return b[size+int(n):]
}

// natsClient reads a message of NATS: CONNECT with an object of JSON (docs.nats.io, "Client Protocol").
func natsClient(r *Reader, b []byte) int {
	line, size := lineOf(b)
	if size == 0 {
		return 0
	}
	word, rest := wordOf(line)
	switch {
	case is(word, "connect"):
		natsOptions(r, rest)
		r.end()
	case len(word) > 0 && !isAny(word, "ping", "pong"):
		r.end()
	}
	return size
}

// natsOptions looks for members of the outer object that are strings and not empty.
func natsOptions(r *Reader, b []byte) {
	depth := 0
	var name []byte // the last string at depth 1
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
			name = nil
		case '}', ']':
			depth--
			name = nil
		case ',':
			name = nil
		case '"':
			text, rest := stringOf(b[i:])
			if rest == nil {
				return
			}
			i = len(b) - len(rest) - 1
			switch {
			case depth != 1:
			case name == nil:
				name = text
			default:
				r.add(NATSPassword, string(name) == "pass" && len(text) > 0)
				r.add(NATSToken, string(name) == "auth_token" && len(text) > 0)
			}
		}
	}
}

// kafkaClient reads a request of Kafka, or a response of SASL without a header, which follows SaslHandshake in version 0 ("Kafka protocol
// guide").
func kafkaClient(r *Reader, b []byte) int {
	const apiVersions, saslHandshake, saslAuthenticate = 18, 17, 36
	if len(b) < 4 {
		return 0
	}
	size := 4 + int(binary.BigEndian.Uint32(b))
	if r.raw && size <= MaxUnit {
		if len(b) < size {
			return 0
		}
		r.raw = false
		r.saslMessage(r.mechanism, b[4:size])
		return size
	}
	const header = 14 // size, API, version, number, and the size of the client's name
	if len(b) < header {
		return 0
	}
	api, version := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	switch {
	case api != apiVersions && api != saslHandshake && api != saslAuthenticate, size > MaxUnit, size < header:
		r.end()
		return size
	case len(b) < size:
		return 0
	}
	body := b[header:size]
	if name := int(int16(binary.BigEndian.Uint16(b[12:]))); name > len(body) {
		r.fail()
	} else {
		body = body[max(name, 0):]
	}
	switch api {
	case saslHandshake:
		name, _ := prefixed(body)
		r.mechanism, r.raw = mechanismOf(name), version == 0
	case saslAuthenticate:
		r.saslMessage(r.mechanism, kafkaBytes(body, version))
	}
	return size
}

// kafkaBytes returns the response in the body of SaslAuthenticate.
func kafkaBytes(b []byte, version uint16) []byte {
	if version < 2 {
		if len(b) < 4 {
			return nil
		}
		return b[4:]
	}
	if len(b) == 0 || b[0] != 0 { // tagged fields of the header
		return nil
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || n == 0 || n-1 > uint64(len(b)-1-size) {
		return nil
	}
	return b[1+size : 1+size+int(n-1)]
}

// amqpClient reads a protocol header or a frame of AMQP 0-9-1 or 1.0.
func amqpClient(r *Reader, b []byte) int {
	const header, saslHeader = 8, 3
	switch {
	case len(b) < header:
		return 0
	case bytes.HasPrefix(b, []byte("AMQP")):
		r.raw = b[4] == saslHeader // frames of AMQP 1.0 follow
		r.started = true
		return header
	case !r.started:
		r.fail()
		return 0
	case r.raw:
		return amqpInit(r, b)
	}
	return amqpStartOK(r, b)
}

// amqpStartOK reads the first frame of AMQP 0-9-1: the method Start-Ok of class Connection has properties, mechanism and response.
func amqpStartOK(r *Reader, b []byte) int {
	const overhead, payload = 8, 7
	size := overhead + int(binary.BigEndian.Uint32(b[3:]))
	switch {
	case size > MaxUnit:
		r.fail()
		return 0
	case len(b) < size:
		return 0
	}
	r.end()
	rest, ok := bytes.CutPrefix(b[payload:size-1], []byte{0, 10, 0, 11})
	if !ok || len(rest) < 4 {
		return size
	}
	_, rest = sized(rest)
	if len(rest) == 0 || 1+int(rest[0]) > len(rest) {
		return size
	}
	name, rest := rest[1:1+int(rest[0])], rest[1+int(rest[0]):]
	response, _ := sized(rest)
	if m := mechanismOf(name); m == mechanismAMQPLAIN {
		_, secret, found := bytes.Cut(response, []byte("\x08PASSWORDS"))
		r.add(SASLAMQPLAIN, found && len(secret) >= 4 && binary.BigEndian.Uint32(secret) > 0)
	} else {
		r.saslMessage(m, response)
	}
	return size
}

// sized is like prefixed, for a size of four bytes.
func sized(b []byte) (value, rest []byte) {
	if len(b) < 4 {
		return nil, nil
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n > uint64(len(b)-4) {
		return nil, nil
	}
	return b[4 : 4+n], b[4+n:]
}

// amqpInit reads sasl-init of AMQP 1.0, a list of the mechanism's symbol and a response in binary (AMQP 1.0 part 5 section 5.3.3.2).
func amqpInit(r *Reader, b []byte) int {
	const least = 8
	size := int(binary.BigEndian.Uint32(b))
	switch {
	case size < least || size > MaxUnit || b[4] != 2 || b[5] != 1:
		r.fail()
		return 0
	case len(b) < size:
		return 0
	}
	r.end()
	rest := b[least:size]
	for _, descriptor := range [...]string{"\x00\x53\x41", "\x00\x80\x00\x00\x00\x00\x00\x00\x00\x41"} {
		if list, ok := bytes.CutPrefix(rest, []byte(descriptor)); ok {
			name, after := amqpValue(afterList(list))
			response, _ := amqpValue(after)
			r.saslMessage(mechanismOf(name), response)
			return size
		}
	}
	return size
}

// afterList returns b after the header of a list of AMQP 1.0.
func afterList(b []byte) []byte {
	const list8, list32 = 0xc0, 0xd0
	switch {
	case len(b) > 3 && b[0] == list8:
		return b[3:]
	case len(b) > 9 && b[0] == list32:
		return b[9:]
	}
	return nil
}

// amqpValue returns the symbol or binary at the start of b, and the rest.
func amqpValue(b []byte) (value, rest []byte) {
	const symbol8, symbol32, binary8, binary32 = 0xa3, 0xb3, 0xa0, 0xb0
	if len(b) < 2 {
		return nil, nil
	}
	switch b[0] {
	case symbol8, binary8:
		if n := 2 + int(b[1]); n <= len(b) {
			return b[2:n], b[n:]
		}
	case symbol32, binary32:
		return sized(b[1:])
	}
	return nil, nil
}
