package credentials

import (
	"bytes"
	"encoding/binary"
)

// Readers of PostgreSQL and MySQL.

// postgresClient reads a message of a client (PostgreSQL protocol, "Message Formats"). Those before StartupMessage have no type.
func postgresClient(r *Reader, b []byte) int {
	if !r.started {
		return postgresStartup(r, b)
	}
	if len(b) < 5 {
		return 0
	}
	size := 1 + int(binary.BigEndian.Uint32(b[1:]))
	switch {
	case size < 5:
		r.fail()
		return 0
	case b[0] != 'p':
		r.end()
		return size
	case !r.asked:
		return size
	case len(b) < min(size, MaxUnit):
		return 0
	}
	r.asked = false
	r.add(PostgreSQLPassword, len(b) > 5 && size > 5 && b[5] != 0)
	return size
}

// postgresStartup reads StartupMessage, or a request for encryption before it.
func postgresStartup(r *Reader, b []byte) int {
	const (
		sslRequest, gssRequest = 80877103, 80877104
		most                   = 10000 // MAX_STARTUP_PACKET_LENGTH
	)
	if len(b) < 8 {
		return 0
	}
	size, code := int(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint32(b[4:])
	switch {
	case size == 8 && (code == sslRequest || code == gssRequest):
		r.choices++
	case code>>16 == 3 && size >= 8 && size <= most:
		r.started = true
	default:
		r.fail()
	}
	return size
}

// postgresServer reads a message of a server. Only AuthenticationCleartextPassword asks for a password in plaintext.
func postgresServer(r *Reader, b []byte) int {
	const authenticated, plaintextPassword = 0, 3
	if r.choices > 0 && len(b) > 0 {
		if r.choices--; b[0] != 'E' {
			return 1
		}
	}
	if len(b) < 5 {
		return 0
	}
	size := 1 + int(binary.BigEndian.Uint32(b[1:]))
	switch {
	case size < 5:
		r.fail()
	case b[0] == 'E':
		r.end()
	case b[0] == 'R' && len(b) < 9:
		return 0
	case b[0] == 'R':
		method := binary.BigEndian.Uint32(b[5:])
		if r.asked = method == plaintextPassword; method == authenticated {
			r.end()
		}
	}
	return size
}

// mysqlClient reads a packet of a client (MySQL protocol, "Connection Phase").
func mysqlClient(r *Reader, b []byte) int {
	if len(b) < 4 {
		return 0
	}
	size := 4 + littleEndian24(b)
	switch {
	case b[3] == 0 || size > MaxUnit: // a command, or no packet of the connection phase
		r.end()
		return size
	case len(b) < size:
		return 0
	}
	payload := b[4:size]
	switch {
	case !r.started:
		r.started = true
		r.add(MySQLPassword, mysqlLogin(payload))
	case r.asked:
		r.asked = false
		r.add(MySQLPassword, len(payload) > 0 && payload[0] != 0)
	}
	return size
}

// mysqlLogin reports whether HandshakeResponse41 has a password in plaintext.
func mysqlLogin(b []byte) bool {
	const fixed, withDatabase, secure, withPlugin, lengthEncoded = 32, 0x8, 0x8000, 0x80000, 0x200000
	if len(b) <= fixed {
		return false
	}
	flags := binary.LittleEndian.Uint32(b)
	_, rest, _ := bytes.Cut(b[fixed:], []byte{0}) // the user
	var response []byte
	if flags&(secure|lengthEncoded) == 0 {
		response, rest, _ = bytes.Cut(rest, []byte{0})
	} else {
		if len(rest) == 0 || rest[0] > 250 || 1+int(rest[0]) > len(rest) {
			return false
		}
		response, rest = rest[1:1+int(rest[0])], rest[1+int(rest[0]):]
	}
	if flags&withDatabase != 0 {
		_, rest, _ = bytes.Cut(rest, []byte{0})
	}
	plugin, _, _ := bytes.Cut(rest, []byte{0})
	return flags&withPlugin != 0 && sendsPlaintext(plugin) && len(response) > 0 && response[0] != 0
}

// sendsPlaintext reports whether a plugin for authentication sends the password as it is.
func sendsPlaintext(plugin []byte) bool {
	return string(plugin) == "mysql_clear_password" || string(plugin) == "dialog"
}

// mysqlServer reads a packet of a server: AuthSwitchRequest selects the plugin for the client's next packet.
func mysqlServer(r *Reader, b []byte) int {
	const ok, authSwitch, failed = 0, 0xfe, 0xff
	if len(b) < 4 {
		return 0
	}
	size := 4 + littleEndian24(b)
	if len(b) < min(size, MaxUnit) {
		return 0
	}
	if !r.started || size < 5 { // the greeting
		return size
	}
	switch b[4] {
	case ok, failed:
		r.end()
	case authSwitch:
		plugin, _, _ := bytes.Cut(b[5:min(size, len(b))], []byte{0})
		r.asked = sendsPlaintext(plugin)
	}
	return size
}

// littleEndian24 returns the number in the first three bytes of b.
func littleEndian24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
