package protocols

import (
	"encoding/binary"
)

// Recognizers of message brokers and job queues.

// kafkaRequest recognizes a request header: size, api_key, api_version, correlation_id and a printable client_id (Kafka protocol guide,
// "Request Header"). The result is Maybe if the client_id has less than 3 bytes, or if it has less than 6 and the request does not fill
// the segment.
func kafkaRequest(b []byte) Match {
	if len(b) < 14 {
		if len(b) > 1 && (b[0] != 0 || b[1] > 0x40) || len(b) > 4 && b[4] != 0 || len(b) > 5 && b[5] > 92 {
			return No
		}
		return More
	}

	size, api, version, id := binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), int(int16(binary.BigEndian.Uint16(b[12:])))
	if size < 10 || size > 100<<20 || api > 92 || version > 20 || id < 1 || id > 200 || uint32(id)+10 > size {
		return No
	}
	name := b[14:min(len(b), 14+id)]
	for _, c := range name {
		if c < 0x20 || c > 0x7e {
			return No
		}
	}
	switch whole := int(size)+4 == len(b); {
	case len(name) < id:
		return More
	case whole && id >= 3, id >= 6:
		return Yes
	}
	return Maybe
}

// kafkaReply recognizes a size and a correlation_id below 2^24. The reply must fill the segment or be longer.
func kafkaReply(b []byte) Match {
	if len(b) < 8 {
		if len(b) > 0 && b[0] != 0 {
			return No
		}
		return More
	}
	if size := binary.BigEndian.Uint32(b); size >= 4 && size < 1<<24 && int(size)+4 >= len(b) && binary.BigEndian.Uint32(b[4:]) < 1<<24 {
		return Yes
	}
	return No
}

// amqpHeader recognizes a protocol header of AMQP 0-9-1 or 1.0, or of AMQP's layers for SASL and TLS.
func amqpHeader(b []byte) Match {
	if a := prefix(b, "AMQP"); a != Yes {
		return a
	}
	if len(b) < 8 {
		return More
	}
	if b[4] > 3 || b[5] > 9 || b[6] > 10 || b[7] > 10 {
		return No
	}
	return Yes
}

// amqpFrames recognizes frames of AMQP 0-9-1 that fill the segment: type, channel, size, payload and frame-end.
func amqpFrames(b []byte) Match {
	for frames := 0; ; frames++ {
		if frames > 0 && len(b) == 0 {
			return Yes
		}
		if len(b) < 8 || b[0] < 1 || b[0] > 8 || b[0] > 3 && b[0] < 8 {
			return No
		}
		size := binary.BigEndian.Uint32(b[3:])
		if size > 1<<17 || int(size)+8 > len(b) || b[7+size] != 0xce || b[0] == 8 && size != 0 || b[1] != 0 {
			return No
		}
		b = b[8+size:]
	}
}

// mqttConnect recognizes a CONNECT by its protocol name (MQTT 5.0 section 3.1).
func mqttConnect(b []byte) Match {
	if a := prefix(b, "\x10"); a != Yes {
		return a
	}
	i := 1
	for i < len(b) && i < 5 && b[i]&0x80 != 0 {
		i++
	}
	i++
	if i >= len(b) {
		return More
	}
	return anyOf("\x00\x04MQTT", "\x00\x06MQIsdp")(b[i:])
}

// mqttAck recognizes a CONNACK (MQTT 5.0 section 3.2).
func mqttAck(b []byte) Match {
	if a := prefix(b, "\x20"); a != Yes {
		return a
	}
	if len(b) < 4 {
		return More
	}
	if b[1] < 2 || b[1] > 0x7f || b[2] > 1 {
		return No
	}
	return Yes
}

// natsServer recognizes INFO with a JSON object (docs.nats.io, "Client Protocol"). Other messages only give Maybe.
func natsServer(b []byte) Match {
	if a := anyOf("INFO {\"", "INFO { \"")(b); a != No {
		return a
	}
	return weak(anyOf("PING\r\n", "PONG\r\n", "+OK\r\n", "MSG ", "-ERR '"))(b)
}

// pulsarFrame recognizes a frame of Apache Pulsar's binary protocol: two sizes and a command. The command has a type and one field whose
// number is that type. If the frame has a payload, the magic number of its checksum follows the command.
func pulsarFrame(b []byte) Match {
	if b[0] != 0 || len(b) > 4 && b[4] != 0 || len(b) > 8 && b[8] != 0x08 {
		return No
	}
	if len(b) < 12 {
		return More
	}
	total, size := int(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint32(b[4:]))
	typ := int(b[9])
	tag := typ<<3 | 2
	switch {
	case size < 4 || total < size+4 || typ < 2 || typ > 79:
		return No
	case tag < 0x80 && int(b[10]) != tag, tag >= 0x80 && (int(b[10]) != tag&0x7f|0x80 || int(b[11]) != tag>>7):
		return No
	case total == size+4:
		return Yes
	}

	const sizes = 8
	if magic := b[min(len(b), sizes+size):]; len(magic) >= 2 {
		if magic[0] != 0x0e || magic[1] != 1 && magic[1] != 2 {
			return No
		}
		return Yes
	}
	return Maybe
}

// openwireInfo recognizes a WireFormatInfo of ActiveMQ ("OpenWire Version 2 Specification").
func openwireInfo(b []byte) Match {
	if len(b) < 13 {
		if b[0] != 0 || len(b) > 4 && (b[4] != 1 || prefix(b[5:], "ActiveMQ") == No) {
			return No
		}
		return More
	}
	if b[0] != 0 || b[4] != 1 {
		return No
	}
	return prefix(b[5:], "ActiveMQ")
}

// zmtpGreeting recognizes a greeting of ZeroMQ with a mechanism that does not encrypt, NULL or PLAIN (RFC 23/ZMTP 3.0).
func zmtpGreeting(b []byte) Match {
	const signature, mechanism, end = 10, 12, 32
	for i, c := range b[:min(len(b), signature)] {
		if i == 0 && c != 0xff || i > 0 && i < 8 && c != 0 || i == 9 && c != 0x7f {
			return No
		}
	}
	if len(b) > 10 && b[10] != 3 || len(b) > 11 && b[11] > 1 {
		return No
	}
	if len(b) < mechanism {
		return More
	}
	best := No
	for _, name := range [...]string{"NULL", "PLAIN"} {
		var padded [end - mechanism]byte
		copy(padded[:], name)
		best = max(best, prefix(b[mechanism:min(len(b), end)], string(padded[:])))
	}
	return best
}

// gearmanPacket recognizes a packet of Gearman's binary protocol.
func gearmanPacket(b []byte) Match {
	if a := anyOf("\x00REQ\x00\x00\x00", "\x00RES\x00\x00\x00")(b); a != Yes {
		return a
	}
	switch {
	case len(b) < 8:
		return More
	case b[7] == 0 || b[7] > 42:
		return No
	}
	return Yes
}
