package dissect

import (
	"encoding/binary"
)

// Recognizers of message brokers and of RPC between services.

// pulsarFrame recognizes a frame of Apache Pulsar's binary protocol: two sizes, and a command
// whose number is also that of the only field that it has. After a payload's command comes the
// magic number of its checksum.
func pulsarFrame(b []byte) answer {
	if b[0] != 0 || len(b) > 4 && b[4] != 0 || len(b) > 8 && b[8] != 0x08 {
		return no
	}
	if len(b) < 12 {
		return more
	}
	total, size := int(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint32(b[4:]))
	typ := int(b[9])
	tag := typ<<3 | 2
	switch {
	case size < 4 || total < size+4 || typ < 2 || typ > 79:
		return no
	case tag < 0x80 && int(b[10]) != tag, tag >= 0x80 && (int(b[10]) != tag&0x7f|0x80 || int(b[11]) != tag>>7):
		return no
	case total == size+4:
		return yes
	}
	const sizes = 8
	if magic := b[min(len(b), sizes+size):]; len(magic) >= 2 {
		if magic[0] != 0x0e || magic[1] != 1 && magic[1] != 2 {
			return no
		}
		return yes
	}
	return maybe
}

func dubboRequest(b []byte) answer  { return dubbo(b, true) }
func dubboResponse(b []byte) answer { return dubbo(b, false) }

// dubbo recognizes a message of Apache Dubbo's protocol: the magic, flags with a number of the
// serialization, a response's status, and a length that fits or the version after it.
func dubbo(b []byte, request bool) answer {
	if a := prefix(b, "\xda\xbb"); a != yes {
		return a
	}
	if len(b) > 2 && (b[2]&0x80 != 0 != request || b[2]&0x1f == 0) || len(b) > 3 && !dubboStatus(b[3], request) || len(b) > 12 && b[12] != 0 {
		return no
	}
	if len(b) < 16 {
		return more
	}
	size, body := int(binary.BigEndian.Uint32(b[12:])), b[16:]
	switch {
	case size == len(body):
		return yes
	case len(body) < min(size, 3):
		return more
	case request && len(body) >= 3 && (body[0] >= 3 && body[0] <= 8 || body[0] == '"') && body[1] == '2' && body[2] == '.':
		return yes
	}
	return maybe
}

// dubboStatus reports whether a status is one that Dubbo knows; a request has none.
func dubboStatus(c byte, request bool) bool {
	if request {
		return c == 0
	}
	return c == 20 || c == 25 || c == 30 || c == 31 || c == 35 || c >= 40 && c <= 100 && c%10 == 0
}

// zmtpGreeting recognizes the greeting of ZeroMQ whose mechanism does not encrypt: NULL and
// PLAIN (RFC 23/ZMTP 3.0). With CURVE what follows is encrypted.
func zmtpGreeting(b []byte) answer {
	const signature, mechanism, end = 10, 12, 32
	for i, c := range b[:min(len(b), signature)] {
		if i == 0 && c != 0xff || i > 0 && i < 8 && c != 0 || i == 9 && c != 0x7f {
			return no
		}
	}
	if len(b) > 10 && b[10] != 3 || len(b) > 11 && b[11] > 1 {
		return no
	}
	if len(b) < mechanism {
		return more
	}
	best := no
	for _, name := range [...]string{"NULL", "PLAIN"} {
		var padded [end - mechanism]byte
		copy(padded[:], name)
		best = max(best, prefix(b[mechanism:min(len(b), end)], string(padded[:])))
	}
	return best
}

// giopMessage recognizes a message of CORBA's IIOP (OMG, GIOP 1.0 to 1.2).
func giopMessage(b []byte) answer {
	if a := prefix(b, "GIOP\x01"); a != yes {
		return a
	}
	switch {
	case len(b) < 8:
		return more
	case b[5] > 2 || b[6] > 3 || b[7] > 7:
		return no
	}
	return yes
}

// rmiAnswer recognizes that a server of Java's RMI takes the stream protocol: it tells the
// client's host and port.
func rmiAnswer(b []byte) answer {
	switch {
	case b[0] != 'N' || len(b) > 1 && b[1] != 0 || len(b) > 2 && b[2] == 0:
		return no
	case len(b) < 3:
		return more
	}
	size := int(b[2])
	switch {
	case !printable(b[3:min(len(b), 3+size)]):
		return no
	case len(b) < 3+size:
		return more
	}
	return maybe
}

// gearmanPacket recognizes a packet of Gearman's binary protocol.
func gearmanPacket(b []byte) answer {
	if a := anyOf("\x00REQ\x00\x00\x00", "\x00RES\x00\x00\x00")(b); a != yes {
		return a
	}
	switch {
	case len(b) < 8:
		return more
	case b[7] == 0 || b[7] > 42:
		return no
	}
	return yes
}

// dicomAssociation recognizes that an association of DICOM is asked for or accepted (DICOM
// part 8, section 9.3).
func dicomAssociation(b []byte) answer {
	if b[0] != 1 && b[0] != 2 || len(b) > 1 && b[1] != 0 || len(b) > 2 && b[2] != 0 {
		return no
	}
	switch {
	case len(b) > 6 && b[6] != 0, len(b) > 7 && b[7] != 1, len(b) > 8 && b[8] != 0, len(b) > 9 && b[9] != 0, len(b) > 10 && !printable(b[10:min(len(b), 42)]):
		return no
	case len(b) < 42:
		return more
	}
	return yes
}

// aerospikeMessage recognizes a message of Aerospike: version and type, a length, and after it
// the length of a message's header, or the text of information.
func aerospikeMessage(b []byte) answer {
	switch {
	case b[0] != 2, len(b) > 1 && b[1] != 1 && b[1] != 3, len(b) > 2 && b[2] != 0, len(b) > 3 && b[3] != 0, len(b) > 4 && b[4] != 0:
		return no
	case len(b) < 9:
		return more
	case b[1] == 3:
		if b[8] != 22 {
			return no
		}
		return yes
	}
	const least = 12
	if len(b) < 8+least {
		return more
	}
	for _, c := range b[8 : 8+least] {
		if c != '\n' && c != '\t' && (c < 0x20 || c > 0x7e) {
			return no
		}
	}
	return yes
}

// hadoopHeader recognizes the header of a connection of Hadoop's RPC without SASL, which may
// encrypt.
func hadoopHeader(b []byte) answer {
	if a := prefix(b, "hrpc\x09"); a != yes {
		return a
	}
	switch {
	case len(b) < 7:
		return more
	case b[6] != 0:
		return no
	}
	return yes
}

// gitRequest recognizes a request of Git's own transport, which does not encrypt.
func gitRequest(b []byte) answer {
	for _, c := range b[:min(len(b), 4)] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return no
		}
	}
	if len(b) < 4 {
		return more
	}
	if len(b) == 4 {
		return more
	}
	return anyOf("git-upload-pack /", "git-receive-pack /", "git-upload-archive /")(b[4:])
}

// sipMessage recognizes a request or a response of SIP (RFC 3261), rtspMessage of RTSP (RFC 7826).
func sipMessage(b []byte) answer { return lineWith(b, "SIP/2.0 ", " SIP/2.0") }
func rtspMessage(b []byte) answer {
	return max(lineWith(b, "RTSP/1.0 ", " RTSP/1.0"), lineWith(b, "RTSP/2.0 ", " RTSP/2.0"))
}

// lineWith recognizes a first line of text that begins with one string, or begins with a method
// and ends in another string.
func lineWith(b []byte, begin, end string) answer {
	best := prefix(b, begin)
	if best == yes {
		return yes
	}
	i := 0
	for i < len(b) && i <= maxMethod && (b[i] >= 'A' && b[i] <= 'Z' || b[i] == '_') {
		i++
	}
	switch {
	case i == len(b) && i <= maxMethod:
		return more
	case i == 0 || i > maxMethod || b[i] != ' ':
		return best
	}
	line, a := plainLine(b, sampled)
	switch {
	case a == more:
		return more
	case a == yes && len(line) > len(end) && string(line[len(line)-len(end):]) == end:
		return yes
	}
	return best
}
