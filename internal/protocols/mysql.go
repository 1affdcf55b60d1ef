package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of MySQL and MariaDB.

// mysqlGreeting recognizes the first packet of a server: protocol version 10 and the version of the server, or an error, which rejects the
// client.
func mysqlGreeting(b []byte) Match {
	if len(b) > 9 && b[3] == 0 && b[4] == 0xff && int(b[0])|int(b[1])<<8|int(b[2])<<16 == len(b)-4 {
		if code := int(b[5]) | int(b[6])<<8; code >= 1000 && code < 4000 && printable(b[7:]) {
			return Yes
		}
		return No
	}

	if len(b) < 10 {
		if len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] != 0 || len(b) > 4 && b[4] != 10 && b[4] != 0xff {
			return No
		}
		if len(b) == 0 {
			return No
		}
		return More
	}

	size := int(b[0]) | int(b[1])<<8
	if b[2] != 0 || b[3] != 0 || b[4] != 10 || b[5] < '0' || b[5] > '9' || size < 20 || size > 1024 {
		return No
	}
	end := bytes.IndexByte(b[5:min(len(b), 5+80)], 0)
	switch {
	case end < 0 && len(b) < 5+80 && printable(b[5:]):
		return More
	case end < 1 || !printable(b[5:5+end]):
		return No
	}
	return Yes
}

// mysqlSSLRequest recognizes the first packet of a client that asks for TLS (MySQL protocol, "Protocol::SSLRequest").
func mysqlSSLRequest(b []byte) Match { return mysqlClient(b, true) }

// mysqlLogin recognizes the first packet of a client that logs in without TLS ("HandshakeResponse41").
func mysqlLogin(b []byte) Match { return mysqlClient(b, false) }

// mysqlClient recognizes packet 1: capabilities, the largest packet, a character set and 23 bytes of zero. tls selects the packets that ask
// for TLS.
func mysqlClient(b []byte, tls bool) Match {
	const fixed = 4 + 32
	if len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] != 1 || len(b) > 0 && b[0] < 32 && (len(b) < 2 || b[1] == 0) {
		return No
	}
	if len(b) < fixed {
		if len(b) == 0 {
			return No
		}
		return More
	}
	size, capabilities := int(b[0])|int(b[1])<<8, binary.LittleEndian.Uint32(b[4:])
	if capabilities&0x200 == 0 || (capabilities&0x800 != 0) != tls || tls != (size == 32) || size > 4096 || !bytes.Equal(b[13:13+19], make([]byte, 19)) {
		return No
	}
	return Yes
}

// mysqlQuery recognizes a command that fills the segment, in the middle of a session: COM_QUERY or COM_STMT_PREPARE with its text. Other
// commands only give Maybe.
func mysqlQuery(b []byte) Match {
	if len(b) < 5 || int(b[0])|int(b[1])<<8|int(b[2])<<16 != len(b)-4 || b[3] != 0 {
		return No
	}
	switch b[4] {
	case 0x03, 0x16:
		if len(b) >= 5+6 && CountNonText(b[5:min(len(b), SampleSize)]) == 0 {
			return Yes
		}
		return No
	case 0x02, 0x0e, 0x17, 0x19:
		return Maybe
	}
	return No
}

// mysqlReply recognizes a reply in the middle of a session. Its packets are numbered from 1. The packets must fill the segment, or the
// segment must begin with at least three of them.
func mysqlReply(b []byte) Match {
	for seq := 1; seq < 4; seq++ {
		if len(b) < 5 {
			return No
		}
		size := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		if int(b[3]) != seq || size == 0 {
			return No
		}
		if size+4 >= len(b) {
			if size+4 == len(b) {
				return Yes
			}
			return No
		}
		b = b[4+size:]
	}
	return Yes
}
