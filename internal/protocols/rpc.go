package protocols

import (
	"encoding/binary"
)

// Recognizers of RPC between services: Thrift, Dubbo, CORBA, Java RMI and Hadoop.

// thriftMessage recognizes a message of Apache Thrift ("Thrift Protocol Specification"). The message may be in the strict binary
// protocol or in the compact protocol, each framed or not, or have the header transport. An unframed message of the compact protocol
// only gives Maybe.
func thriftMessage(b []byte) Match {
	switch b[0] {
	case 0x80:
		return thriftBinary(b)
	case 0x82:
		return weak(thriftCompact)(b)
	case 0:
	default:
		return No
	}

	if len(b) > 4 && b[4] != 0x80 && b[4] != 0x82 && b[4] != 0x0f {
		return No
	}
	if len(b) < 10 {
		return More
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < 8 || size+4 < len(b) && b[4+size] != 0 {
		return No
	}
	switch b[4] {
	case 0x80:
		return thriftBinary(b[4:])
	case 0x82:
		if size+4 != len(b) {
			return weak(thriftCompact)(b[4:])
		}
		return thriftCompact(b[4:])
	}

	if b[5] == 0xff && b[6] == 0 && size+4 >= len(b) { // THeader: magic, flags
		return Yes
	}
	return No
}

// thriftBinary recognizes version, type and method name of the strict binary protocol.
func thriftBinary(b []byte) Match {
	if len(b) < 9 {
		return begins(anyOf("\x80\x01\x00\x01\x00\x00\x00", "\x80\x01\x00\x02\x00\x00\x00", "\x80\x01\x00\x03\x00\x00\x00", "\x80\x01\x00\x04\x00\x00\x00")(b))
	}
	n := binary.BigEndian.Uint32(b[4:])
	if b[1] != 1 || b[2] != 0 || b[3] < 1 || b[3] > 4 || n < 1 || n > 200 {
		return No
	}
	return identifier(b[8:], int(n))
}

// thriftCompact recognizes version, type, sequence number and method name of the compact protocol.
func thriftCompact(b []byte) Match {
	if len(b) < 5 {
		return More
	}
	if typ := b[1] >> 5; b[1]&0x1f != 1 || typ < 1 || typ > 4 {
		return No
	}
	i := 2
	for i < 6 && i < len(b) && b[i]&0x80 != 0 {
		i++
	}
	if i+2 > len(b) {
		return More
	}
	n := int(b[i+1])
	if n < 3 || n > 127 {
		return No
	}
	return identifier(b[i+2:], n)
}

func dubboRequest(b []byte) Match  { return dubbo(b, true) }
func dubboResponse(b []byte) Match { return dubbo(b, false) }

// dubbo recognizes a message of Apache Dubbo: the magic, flags with the number of the serialization, and the status of a response. The
// result is Yes if the length in the header is exact or a request's version follows, otherwise Maybe.
func dubbo(b []byte, request bool) Match {
	if a := prefix(b, "\xda\xbb"); a != Yes {
		return a
	}
	if len(b) > 2 && (b[2]&0x80 != 0 != request || b[2]&0x1f == 0) || len(b) > 3 && !dubboStatus(b[3], request) || len(b) > 12 && b[12] != 0 {
		return No
	}
	if len(b) < 16 {
		return More
	}
	size, body := int(binary.BigEndian.Uint32(b[12:])), b[16:]
	switch {
	case size == len(body):
		return Yes
	case len(body) < min(size, 3):
		return More
	case request && len(body) >= 3 && (body[0] >= 3 && body[0] <= 8 || body[0] == '"') && body[1] == '2' && body[2] == '.':
		return Yes
	}
	return Maybe
}

// dubboStatus reports whether a status is one of Dubbo. In requests the byte is 0.
func dubboStatus(c byte, request bool) bool {
	if request {
		return c == 0
	}
	return c == 20 || c == 25 || c == 30 || c == 31 || c == 35 || c >= 40 && c <= 100 && c%10 == 0
}

// giopMessage recognizes a message of CORBA's IIOP (OMG, GIOP 1.0 to 1.2).
func giopMessage(b []byte) Match {
	if a := prefix(b, "GIOP\x01"); a != Yes {
		return a
	}
	switch {
	case len(b) < 8:
		return More
	case b[5] > 2 || b[6] > 3 || b[7] > 7:
		return No
	}
	return Yes
}

// rmiAnswer recognizes that a server of Java RMI accepts the stream protocol: the message has the client's host and port.
func rmiAnswer(b []byte) Match {
	switch {
	case b[0] != 'N' || len(b) > 1 && b[1] != 0 || len(b) > 2 && b[2] == 0:
		return No
	case len(b) < 3:
		return More
	}
	size := int(b[2])
	switch {
	case !printable(b[3:min(len(b), 3+size)]):
		return No
	case len(b) < 3+size:
		return More
	}
	return Maybe
}

// hadoopHeader recognizes the header of a connection of Hadoop RPC without SASL. With SASL the connection may be encrypted.
func hadoopHeader(b []byte) Match {
	if a := prefix(b, "hrpc\x09"); a != Yes {
		return a
	}
	switch {
	case len(b) < 7:
		return More
	case b[6] != 0:
		return No
	}
	return Yes
}
