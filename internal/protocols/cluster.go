package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of protocols that coordinate clusters: ZooKeeper and Erlang distribution.

// zookeeperClient recognizes a ConnectRequest, a ping, or a request with a path (Apache ZooKeeper, zookeeper.jute).
func zookeeperClient(b []byte) Match {
	if len(b) < 12 {
		if len(b) < 8 && bytes.Equal(b[:min(3, len(b))], []byte{0, 0, 0}[:min(3, len(b))]) {
			return More
		}
		return No
	}
	size := binary.BigEndian.Uint32(b)
	op := binary.BigEndian.Uint32(b[8:])
	switch {
	case size == 8 && string(b[4:12]) == "\xff\xff\xff\xfe\x00\x00\x00\x0b":
		return Yes
	case (size == 44 || size == 45) && binary.BigEndian.Uint32(b[4:]) == 0:
		return zookeeperConnect(b, 28)
	case size < 14 || size > 1<<20 || b[4] != 0 || op < 1 || op > 107 || len(b) < 18 || b[16] != '/':
		return No
	}
	if n := binary.BigEndian.Uint32(b[12:]); n < 1 || n > size-12 || n > 1024 || !printable(b[16:min(len(b), 16+int(n))]) || n < 4 && int(size)+4 != len(b) {
		return No
	}
	return Yes
}

// zookeeperServer recognizes a ConnectResponse.
func zookeeperServer(b []byte) Match {
	if a := anyOf("\x00\x00\x00\x24\x00\x00\x00\x00", "\x00\x00\x00\x25\x00\x00\x00\x00")(b); a != Yes {
		return a
	}
	return zookeeperConnect(b, 20)
}

// zookeeperConnect recognizes a message whose password is 16 bytes long. The length of the password is at offset at, or 4 bytes before
// that offset.
func zookeeperConnect(b []byte, at int) Match {
	if len(b) < at {
		return More
	}
	if binary.BigEndian.Uint32(b[at-4:]) != 16 && (len(b) < at+4 || binary.BigEndian.Uint32(b[at:]) != 16) {
		return No
	}
	return Yes
}

// erlangNode recognizes the handshake of Erlang distribution ("Distribution Protocol", section 13.2): a name message of version 5 or 6, or
// a status. A challenge only gives Maybe.
func erlangNode(b []byte) Match {
	if b[0] != 0 || len(b) > 2 && b[2] != 'n' && b[2] != 'N' && b[2] != 's' {
		return No
	}
	if len(b) < 5 {
		return More
	}
	size := int(binary.BigEndian.Uint16(b))
	if size+2 != len(b) {
		if size+2 > len(b) && size < 300 {
			return More
		}
		return No
	}

	skip := map[byte]int{'n': 7, 'N': 15, 's': 1}[b[2]]
	if b[2] == 's' {
		return anyOf("sok", "snok", "snot_allowed", "salive", "sok_simultaneous")(b[2:])
	}
	if len(b) < 2+skip+3 {
		return No
	}
	name := b[2+skip:]
	if !printable(name) || !bytes.Contains(name, []byte("@")) {
		return Maybe // in a challenge message the challenge comes before the name
	}
	return Yes
}

// erlangData recognizes a pass-through message between Erlang nodes: an external term that is a tuple.
func erlangData(b []byte) Match {
	if len(b) < 8 {
		return No
	}
	if size := int(binary.BigEndian.Uint32(b)); size < 4 || size > 1<<24 || size+4 < len(b) && b[4+size] != 0 || b[4] != 'p' || b[5] != 131 || b[6] != 104 || b[7] < 2 || b[7] > 6 {
		return No
	}
	return Yes
}
