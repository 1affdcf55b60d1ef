package dissect

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of distributed databases, their coordination and RPC, which speak in
// messages with a length.

// cqlRequest recognizes a frame of Cassandra's native protocol, version 3 to 5, from the
// client: STARTUP with its map, OPTIONS, and QUERY or PREPARE with readable text (Apache
// Cassandra, "CQL BINARY PROTOCOL v4" section 2).
func cqlRequest(b []byte) answer {
	size, a := cqlHeader(b, 0)
	if a != yes {
		return a
	}
	body := b[9:]
	switch b[4] {
	case 0x05: // OPTIONS
		if size == 0 && (len(body) == 0 || body[0] == b[0]) {
			return yes
		}
	case 0x01: // STARTUP
		head := body[:min(len(body), 256)]
		switch {
		case bytes.Contains(head, []byte("CQL_VERSION")):
			return yes
		case len(body) < size && len(body) < 256:
			return more
		}
	case 0x07, 0x09: // QUERY, PREPARE: a long string
		if len(body) < 10 || size < 10 {
			return no
		}
		text := body[4:]
		if n := binary.BigEndian.Uint32(body); n < 6 || int(n)+4 > size || odd(text[:min(int(n), len(text), sampled)]) > 0 {
			return no
		}
		return yes
	case 0x0a, 0x0b, 0x0d, 0x0f: // EXECUTE, REGISTER, BATCH, AUTH_RESPONSE
		return maybe
	}
	return no
}

// cqlResponse recognizes a frame from the server: SUPPORTED and AUTHENTICATE by what they
// say, others as a maybe.
func cqlResponse(b []byte) answer {
	size, a := cqlHeader(b, 0x80)
	if a != yes {
		return a
	}
	body := b[9:]
	switch b[4] {
	case 0x06, 0x03: // SUPPORTED, AUTHENTICATE
		head := body[:min(len(body), 256)]
		if bytes.Contains(head, []byte("CQL_VERSION")) || bytes.Contains(head, []byte("COMPRESSION")) || bytes.Contains(head, []byte("Authenticator")) {
			return yes
		}
		return maybe
	case 0x02: // READY
		if size == 0 {
			return maybe
		}
	case 0x00, 0x08, 0x0c, 0x0e, 0x10:
		return maybe
	}
	return no
}

// cqlHeader reads version, flags, stream, opcode and length.
func cqlHeader(b []byte, direction byte) (size int, a answer) {
	if v := b[0]; v != direction|3 && v != direction|4 && v != direction|5 || len(b) > 1 && b[1] > 0x1f {
		return 0, no
	}
	if len(b) < 9 {
		if len(b) > 4 && b[4] > 0x10 || len(b) > 5 && b[5] > 0x0f {
			return 0, no
		}
		return 0, more
	}
	if b[4] > 0x10 || b[5] > 0x0f {
		return 0, no
	}
	return int(binary.BigEndian.Uint32(b[5:])), yes
}

// thriftMessage recognizes a message of Apache Thrift: of the binary protocol, strict, and
// of the compact one, bare or framed, and the magic of the header transport ("Thrift
// Protocol Specification"). A bare message of the compact protocol is a maybe.
func thriftMessage(b []byte) answer {
	switch b[0] {
	case 0x80:
		return thriftBinary(b)
	case 0x82:
		return weak(thriftCompact)(b)
	case 0:
	default:
		return no
	}
	if len(b) > 4 && b[4] != 0x80 && b[4] != 0x82 && b[4] != 0x0f {
		return no
	}
	if len(b) < 10 {
		return more
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < 8 || size+4 < len(b) && b[4+size] != 0 {
		return no
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
		return yes
	}
	return no
}

// thriftBinary reads version, type, and the method's name.
func thriftBinary(b []byte) answer {
	if len(b) < 9 {
		return begins(anyOf("\x80\x01\x00\x01\x00\x00\x00", "\x80\x01\x00\x02\x00\x00\x00", "\x80\x01\x00\x03\x00\x00\x00", "\x80\x01\x00\x04\x00\x00\x00")(b))
	}
	n := binary.BigEndian.Uint32(b[4:])
	if b[1] != 1 || b[2] != 0 || b[3] < 1 || b[3] > 4 || n < 1 || n > 200 {
		return no
	}
	return identifier(b[8:], int(n))
}

// thriftCompact reads version, type, the sequence number and the method's name.
func thriftCompact(b []byte) answer {
	if len(b) < 5 {
		return more
	}
	if typ := b[1] >> 5; b[1]&0x1f != 1 || typ < 1 || typ > 4 {
		return no
	}
	i := 2
	for i < 6 && i < len(b) && b[i]&0x80 != 0 {
		i++
	}
	if i+2 > len(b) {
		return more
	}
	n := int(b[i+1])
	if n < 3 || n > 127 {
		return no
	}
	return identifier(b[i+2:], n)
}

// identifier recognizes a name of n bytes, as programs have them, as far as it has come.
func identifier(b []byte, n int) answer {
	for _, c := range b[:min(n, len(b))] {
		if !isAlphanumeric(c) && c != '_' && c != '.' && c != ':' && c != '$' && c != '-' && c != '/' {
			return no
		}
	}
	if len(b) < n {
		return more
	}
	return yes
}

// zookeeperClient recognizes a ConnectRequest, a ping, and a request with a path (Apache
// ZooKeeper, zookeeper.jute).
func zookeeperClient(b []byte) answer {
	if len(b) < 12 {
		if len(b) < 8 && bytes.Equal(b[:min(3, len(b))], []byte{0, 0, 0}[:min(3, len(b))]) {
			return more
		}
		return no
	}
	size := binary.BigEndian.Uint32(b)
	op := binary.BigEndian.Uint32(b[8:])
	switch {
	case size == 8 && string(b[4:12]) == "\xff\xff\xff\xfe\x00\x00\x00\x0b":
		return yes
	case (size == 44 || size == 45) && binary.BigEndian.Uint32(b[4:]) == 0:
		return zookeeperConnect(b, 28)
	case size < 14 || size > 1<<20 || b[4] != 0 || op < 1 || op > 107 || len(b) < 18 || b[16] != '/':
		return no
	}
	if n := binary.BigEndian.Uint32(b[12:]); n < 1 || n > size-12 || n > 1024 || !printable(b[16:min(len(b), 16+int(n))]) || n < 4 && int(size)+4 != len(b) {
		return no
	}
	return yes
}

// zookeeperServer recognizes a ConnectResponse.
func zookeeperServer(b []byte) answer {
	if a := anyOf("\x00\x00\x00\x24\x00\x00\x00\x00", "\x00\x00\x00\x25\x00\x00\x00\x00")(b); a != yes {
		return a
	}
	return zookeeperConnect(b, 20)
}

// zookeeperConnect checks the password's length of 16, at an offset.
func zookeeperConnect(b []byte, at int) answer {
	if len(b) < at {
		return more
	}
	if binary.BigEndian.Uint32(b[at-4:]) != 16 && (len(b) < at+4 || binary.BigEndian.Uint32(b[at:]) != 16) {
		return no
	}
	return yes
}

// clickhouseHello recognizes the Hello of a ClickHouse client or server: packet type 0 and
// a name that says so (ClickHouse documentation, "Native protocol").
func clickhouseHello(b []byte) answer {
	if b[0] != 0 || len(b) > 1 && (b[1] < 10 || b[1] > 64) {
		return no
	}
	if len(b) < 2+10 || len(b) < 2+int(b[1]) {
		if len(b) > 2 && !printable(b[2:]) {
			return no
		}
		return more
	}
	name := b[2 : 2+int(b[1])]
	if !printable(name) || !containsFold(name, "CLICKHOUSE") {
		return no
	}
	return yes
}

// transportMessage recognizes a message of Elasticsearch's and OpenSearch's transport: ES,
// the length, the request's number, status and version (TcpHeader.java); or a ping.
func transportMessage(b []byte) answer {
	if a := prefix(b, "ES"); a != yes {
		return a
	}
	if string(b) == "ES\xff\xff\xff\xff" {
		return yes
	}
	if len(b) < 19 {
		if len(b) > 2 && b[2] != 0 && b[2] != 0xff {
			return no
		}
		return more
	}
	size := binary.BigEndian.Uint32(b[2:])
	if size < 13 || size > 1<<28 || b[6] != 0 || b[7] != 0 || b[14] > 0x1f || b[15]&0xf0 != 0 {
		return no
	}
	return yes
}

// openwireInfo recognizes ActiveMQ's WireFormatInfo ("OpenWire Version 2 Specification").
func openwireInfo(b []byte) answer {
	if len(b) < 13 {
		if b[0] != 0 || len(b) > 4 && (b[4] != 1 || prefix(b[5:], "ActiveMQ") == no) {
			return no
		}
		return more
	}
	if b[0] != 0 || b[4] != 1 {
		return no
	}
	return prefix(b[5:], "ActiveMQ")
}

// ajpRequest recognizes a Forward Request or a CPing of AJP13 (Apache Tomcat Connectors,
// "AJP Protocol Reference").
func ajpRequest(b []byte) answer {
	if a := prefix(b, "\x12\x34"); a != yes {
		return a
	}
	if len(b) < 5 {
		return more
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size == 1 && b[4] == 10 {
		return yes
	}
	if b[4] != 2 || size < 12 || len(b) > 5 && (b[5] < 1 || b[5] > 27) {
		return no
	}
	if len(b) < 13 {
		return more
	}
	return prefix(b[8:], "HTTP/")
}

// ajpResponse recognizes a CPong, and others as a maybe.
func ajpResponse(b []byte) answer {
	if a := prefix(b, "AB"); a != yes {
		return a
	}
	if len(b) < 5 {
		return more
	}
	switch size := int(binary.BigEndian.Uint16(b[2:])); {
	case size == 1 && b[4] == 9:
		return yes
	case size > 0 && size <= 1<<14 && b[4] >= 3 && b[4] <= 6:
		return maybe
	}
	return no
}

// erlangNode recognizes the handshake of Erlang's distribution: a name message of version
// 5 or 6, the status, and the challenge as a maybe ("Distribution Protocol", section 13.2).
func erlangNode(b []byte) answer {
	if b[0] != 0 || len(b) > 2 && b[2] != 'n' && b[2] != 'N' && b[2] != 's' {
		return no
	}
	if len(b) < 5 {
		return more
	}
	size := int(binary.BigEndian.Uint16(b))
	if size+2 != len(b) {
		if size+2 > len(b) && size < 300 {
			return more
		}
		return no
	}
	skip := map[byte]int{'n': 7, 'N': 15, 's': 1}[b[2]]
	if b[2] == 's' {
		return anyOf("sok", "snok", "snot_allowed", "salive", "sok_simultaneous")(b[2:])
	}
	if len(b) < 2+skip+3 {
		return no
	}
	name := b[2+skip:]
	if !printable(name) || !bytes.Contains(name, []byte("@")) {
		return maybe // a challenge stands before the name
	}
	return yes
}

// erlangData recognizes a message between nodes: pass-through, an external term that is a
// tuple; or a tick.
func erlangData(b []byte) answer {
	if len(b) < 8 {
		return no
	}
	if size := int(binary.BigEndian.Uint32(b)); size < 4 || size > 1<<24 || size+4 < len(b) && b[4+size] != 0 || b[4] != 'p' || b[5] != 131 || b[6] != 104 || b[7] < 2 || b[7] > 6 {
		return no
	}
	return yes
}

// redisBus recognizes a message of Redis Cluster's bus (cluster.h, clusterMsg).
func redisBus(b []byte) answer {
	if a := prefix(b, "RCmb\x00"); a != yes {
		return a
	}
	if len(b) < 16 {
		return more
	}
	if b[8] != 0 || b[9] > 1 || b[12] != 0 || b[13] > 12 {
		return no
	}
	return yes
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
