package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of document, column and graph databases: Cassandra, Elasticsearch and Neo4j.

// cqlRequest recognizes a client's frame of Cassandra's native protocol, version 3 to 5 (Apache Cassandra, "CQL BINARY PROTOCOL v4" section
// 2): STARTUP with its map, OPTIONS, or QUERY and PREPARE with text. Other requests only give Maybe.
func cqlRequest(b []byte) Match {
	size, a := cqlHeader(b, 0)
	if a != Yes {
		return a
	}
	body := b[9:]
	switch b[4] {
	case 0x05: // OPTIONS
		if size == 0 && (len(body) == 0 || body[0] == b[0]) {
			return Yes
		}
	case 0x01: // STARTUP
		head := body[:min(len(body), 256)]
		switch {
		case bytes.Contains(head, []byte("CQL_VERSION")):
			return Yes
		case len(body) < size && len(body) < 256:
			return More
		}
	case 0x07, 0x09: // QUERY, PREPARE: a long string
		if len(body) < 10 || size < 10 {
			return No
		}
		text := body[4:]
		if n := binary.BigEndian.Uint32(body); n < 6 || int(n)+4 > size || CountNonText(text[:min(int(n), len(text), SampleSize)]) > 0 {
			return No
		}
		return Yes
	case 0x0a, 0x0b, 0x0d, 0x0f: // EXECUTE, REGISTER, BATCH, AUTH_RESPONSE
		return Maybe
	}

	return No
}

// cqlResponse recognizes a server's frame: SUPPORTED and AUTHENTICATE by their contents. Other responses only give Maybe.
func cqlResponse(b []byte) Match {
	size, a := cqlHeader(b, 0x80)
	if a != Yes {
		return a
	}
	body := b[9:]
	switch b[4] {
	case 0x06, 0x03: // SUPPORTED, AUTHENTICATE
		head := body[:min(len(body), 256)]
		if bytes.Contains(head, []byte("CQL_VERSION")) || bytes.Contains(head, []byte("COMPRESSION")) || bytes.Contains(head, []byte("Authenticator")) {
			return Yes
		}
		return Maybe
	case 0x02: // READY
		if size == 0 {
			return Maybe
		}
	case 0x00, 0x08, 0x0c, 0x0e, 0x10:
		return Maybe
	}
	return No
}

// cqlHeader parses version, flags, stream, opcode and length. It returns the length of the body. direction is the top bit of the version: 0
// for requests, 0x80 for responses.
func cqlHeader(b []byte, direction byte) (size int, a Match) {
	if v := b[0]; v != direction|3 && v != direction|4 && v != direction|5 || len(b) > 1 && b[1] > 0x1f {
		return 0, No
	}
	if len(b) < 9 {
		if len(b) > 4 && b[4] > 0x10 || len(b) > 5 && b[5] > 0x0f {
			return 0, No
		}
		return 0, More
	}
	if b[4] > 0x10 || b[5] > 0x0f {
		return 0, No
	}
	return int(binary.BigEndian.Uint32(b[5:])), Yes
}

// transportMessage recognizes a message between nodes of Elasticsearch or OpenSearch (TcpHeader.java): "ES", length, request number, status
// and version; or a ping.
func transportMessage(b []byte) Match {
	if a := prefix(b, "ES"); a != Yes {
		return a
	}
	if string(b) == "ES\xff\xff\xff\xff" {
		return Yes
	}
	if len(b) < 19 {
		if len(b) > 2 && b[2] != 0 && b[2] != 0xff {
			return No
		}
		return More
	}
	size := binary.BigEndian.Uint32(b[2:])
	if size < 13 || size > 1<<28 || b[6] != 0 || b[7] != 0 || b[14] > 0x1f || b[15]&0xf0 != 0 {
		return No
	}
	return Yes
}

// boltClient recognizes the magic of Neo4j's Bolt and four versions.
func boltClient(b []byte) Match {
	if a := prefix(b, "\x60\x60\xb0\x17"); a != Yes {
		return a
	}
	if len(b) < 20 {
		return More
	}
	for i := 4; i < 20; i += 4 {
		if b[i] != 0 || b[i+1] > 16 || b[i+2] > 16 || b[i+3] > 5 {
			return No
		}
	}
	return Yes
}

// boltServer recognizes the version that a server of Bolt selected.
func boltServer(b []byte) Match {
	if len(b) < 4 {
		return More
	}
	if b[0] != 0 || b[1] > 16 || b[2] > 16 || b[3] < 1 || b[3] > 5 {
		return No
	}
	return Yes
}
