package dissect

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of databases, file shares and directories that many clusters talk to.

// tdsMessage recognizes a packet of TDS (MS-TDS section 2.2.3): a PRELOGIN, a LOGIN7 and a
// batch by what they hold, others as a maybe.
func tdsMessage(b []byte) answer {
	size, a := tdsHeader(b)
	if a != yes {
		return a
	}
	body := b[8:min(len(b), size)]
	switch b[0] {
	case 0x12:
		return tdsPrelogin(body, size-8)
	case 0x10: // LOGIN7: its length, and a version of 7.0 to 7.4
		if len(body) < 8 {
			return more
		}
		if n := binary.LittleEndian.Uint32(body); n < 94 || n > 1<<17 || body[7] < 0x70 || body[7] > 0x74 {
			return no
		}
		return yes
	case 0x01: // a batch: its headers, then text in UTF-16
		return tdsBatch(body)
	case 0x03, 0x06, 0x07, 0x0e:
		return maybe
	}
	return no
}

// tdsReply recognizes a server's packet: the answer to PRELOGIN; tokens as a maybe.
func tdsReply(b []byte) answer {
	size, a := tdsHeader(b)
	if a != yes || b[0] != 0x04 && b[0] != 0x12 {
		return min(a, more)
	}
	if b[0] != 0x04 {
		return no
	}
	body := b[8:min(len(b), size)]
	if len(body) > 0 && body[0] == 0 {
		return tdsPrelogin(body, size-8)
	}
	if len(body) == 0 {
		return more
	}
	if body[0] == 0xad && b[1] <= 1 && bytes.Contains(body[:min(len(body), 64)], []byte("S\x00Q\x00L\x00")) {
		return yes // LOGINACK names the program
	}
	if body[0] < 0x79 {
		return no
	}
	return maybe
}

// tdsHeader reads type, status, length, SPID, number and window.
func tdsHeader(b []byte) (size int, a answer) {
	if b[0] == 0 || b[0] > 0x12 || len(b) > 1 && b[1] > 0x19 {
		return 0, no
	}
	if len(b) < 8 {
		return 0, more
	}
	size = int(binary.BigEndian.Uint16(b[2:]))
	if size < 8 || size > 1<<15 || b[7] != 0 {
		return 0, no
	}
	return size, yes
}

// tdsPrelogin recognizes the options of a PRELOGIN: VERSION first, each with an offset
// within the message, up to the terminator (MS-TDS section 2.2.6.5).
func tdsPrelogin(b []byte, size int) answer {
	next := 0
	for i := 0; i < 16*5; i += 5 {
		if i >= len(b) {
			return more
		}
		if b[i] == 0xff {
			if i >= 10 && i+1 == next {
				return yes
			}
			return no
		}
		if i+5 > len(b) {
			return more
		}
		at, n := int(binary.BigEndian.Uint16(b[i+1:])), int(binary.BigEndian.Uint16(b[i+3:]))
		if i == 0 {
			if b[0] != 0 || n != 6 || at%5 != 1 || at > 16*5+1 {
				return no
			}
			next = at
		}
		if at+n > size || b[i] > 9 {
			return no
		}
	}
	return no
}

// tdsBatch recognizes ALL_HEADERS or none, and text in UTF-16 that is ASCII.
func tdsBatch(b []byte) answer {
	if len(b) < 24 {
		return no
	}
	if n := int(binary.LittleEndian.Uint32(b)); n >= 4 && n <= 64 && n < len(b) {
		b = b[n:]
	}
	wide := 0
	for i := 0; i+1 < len(b) && i < 64; i += 2 {
		if b[i+1] != 0 || b[i] < 0x20 && b[i] != '\n' && b[i] != '\r' && b[i] != '\t' || b[i] > 0x7e {
			return no
		}
		wide++
	}
	if wide < 6 {
		return no
	}
	return yes
}

// tnsClient recognizes Oracle's connect packet, with its version and its connect data.
func tnsClient(b []byte) answer {
	size, a := tnsHeader(b)
	if a != yes || b[4] != 1 {
		return min(a, more)
	}
	if len(b) < 12 {
		return more
	}
	if v, w := binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:]); v < 0x100 || v > 0x160 || w < 0x100 || w > v || size < 58 {
		return no
	}
	return yes
}

// tnsServer recognizes the answers to a connect packet: resend, accept, refuse, redirect.
func tnsServer(b []byte) answer {
	size, a := tnsHeader(b)
	if a != yes {
		return a
	}
	switch {
	case b[4] == 11 && size == 8:
		return yes
	case b[4] == 2 && len(b) >= 10 && size >= 24 && size < 512:
		if v := binary.BigEndian.Uint16(b[8:]); v >= 0x100 && v <= 0x160 {
			return yes
		}
	case (b[4] == 4 || b[4] == 5) && size > 12 && len(b) <= 12:
		return more
	case (b[4] == 4 || b[4] == 5) && size > 12 && bytes.Contains(b[:min(len(b), 64)], []byte("(")) && printable(b[12:min(len(b), size, 128)]):
		return yes
	}
	return no
}

// tnsHeader reads length, checksum, type, a reserved byte and the header's checksum.
func tnsHeader(b []byte) (size int, a answer) {
	if len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] != 0 || len(b) > 4 && (b[4] == 0 || b[4] > 19) {
		return 0, no
	}
	if len(b) < 8 {
		return 0, more
	}
	size = int(binary.BigEndian.Uint16(b))
	if size < 8 || b[6] != 0 || b[7] != 0 || size > 1<<13 {
		return 0, no
	}
	return size, yes
}

// boltClient recognizes the magic of Neo4j's Bolt and the four versions that follow it;
// boltServer the version that was chosen.
func boltClient(b []byte) answer {
	if a := prefix(b, "\x60\x60\xb0\x17"); a != yes {
		return a
	}
	if len(b) < 20 {
		return more
	}
	for i := 4; i < 20; i += 4 {
		if b[i] != 0 || b[i+1] > 16 || b[i+2] > 16 || b[i+3] > 5 {
			return no
		}
	}
	return yes
}

func boltServer(b []byte) answer {
	if len(b) < 4 {
		return more
	}
	if b[0] != 0 || b[1] > 16 || b[2] > 16 || b[3] < 1 || b[3] > 5 {
		return no
	}
	return yes
}

// nbdServer recognizes the greeting, an option's reply and a transmission's reply of NBD;
// nbdClient the client's flags as a maybe, options and requests (nbd/doc/proto.md).
func nbdServer(b []byte) answer {
	if a := anyOf("NBDMAGIC", "\x00\x03\xe8\x89\x04\x55\x65\xa9")(b); a != no {
		return a
	}
	if a := anyOf("\x67\x44\x66\x98\x00\x00\x00", "\x66\x8e\x33\xef\x00")(b); a != yes {
		return a
	}
	if len(b) < 16 || b[0] == 0x66 && b[5] > 1 {
		return no
	}
	return yes
}

func nbdClient(b []byte) answer {
	switch b[0] {
	case 0:
		if len(b) >= 4 && b[1] == 0 && b[2] == 0 && b[3] <= 3 && (len(b) == 4 || prefix(b[4:], "IHAVEOPT") != no) {
			return maybe
		}
		return begins(prefix(b, "\x00\x00\x00"))
	case 'I':
		return prefix(b, "IHAVEOPT")
	}
	if a := prefix(b, "\x25\x60\x95\x13\x00"); a != yes {
		return a
	}
	if len(b) < 28 {
		return more
	}
	if b[5] > 0x1f || b[6] != 0 || b[7] > 7 {
		return no
	}
	return yes
}

// smbMessage recognizes a message of SMB 1, 2 or 3 behind its length (MS-SMB2 section
// 2.1, RFC 1002 section 4.3.1); smbSealed one that SMB 3 has encrypted (section 2.2.41).
func smbMessage(b []byte) answer { return smb(b, "\xffSMB", "\xfeSMB", "\xfcSMB", "\xfdSMB") }
func smbSealed(b []byte) answer  { return smb(b, "\xfdSMB") }

func smb(b []byte, magic ...string) answer {
	if b[0] != 0 {
		return no
	}
	if len(b) < 5 {
		return more
	}
	if size := int(b[1])<<16 | int(b[2])<<8 | int(b[3]); size < 32 {
		return no
	}
	return anyOf(magic...)(b[4:])
}

// rpcMessage recognizes a PDU of DCE-RPC over a connection (C706 section 12.6), a request
// or a response as a maybe; rpcSealed
// a request or a response whose security trailer asks for privacy (MS-RPCE section 2.2.2.11).
func rpcMessage(b []byte) answer {
	if b[0] != 5 || len(b) > 1 && b[1] > 1 || len(b) > 2 && b[2] > 19 || len(b) > 4 && b[4]&0xef != 0 || len(b) > 5 && b[5] != 0 || len(b) > 6 && b[6] != 0 || len(b) > 7 && b[7] != 0 {
		return no
	}
	if len(b) < 16 {
		return more
	}
	size, auth := rpcSizes(b)
	if size < 16 || auth > 0 && auth+24 > size {
		return no
	}
	if auth > 0 && size > len(b) && len(b) < maxHead {
		return more // the trailer tells whether it is sealed
	}
	if b[2] == 0 || b[2] == 2 {
		return maybe // requests and responses without the bind before them
	}
	return yes
}

func rpcSealed(b []byte) answer {
	if a := rpcMessage(b); a < maybe {
		return a
	}
	if b[2] != 0 && b[2] != 2 { // a bind names the level, and seals nothing
		return no
	}
	size, auth := rpcSizes(b)
	if auth == 0 || size > len(b) {
		return no
	}
	if trailer := b[size-auth-8:]; trailer[1] != 6 || trailer[0] < 9 || trailer[0] > 68 {
		return no
	}
	return yes
}

// rpcSizes returns the lengths of the fragment and of the credentials.
func rpcSizes(b []byte) (size, auth int) {
	var order binary.ByteOrder = binary.BigEndian
	if b[4]&0x10 != 0 {
		order = binary.LittleEndian
	}
	return int(order.Uint16(b[8:])), int(order.Uint16(b[10:]))
}

// oncCall recognizes a call of ONC RPC over TCP, oncReply its reply (RFC 5531 sections 9
// and 11); oncSealed a call that RPCSEC_GSS encrypts (RFC 2203 section 5.3.1).
func oncCall(b []byte) answer {
	if a := oncHeader(b, 0); a != yes {
		return a
	}
	if len(b) < 28 {
		return more
	}
	program, version := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
	if binary.BigEndian.Uint32(b[12:]) != 2 || program < 100000 || program > 0x5fffffff || version > 100 || binary.BigEndian.Uint32(b[24:]) > 1000 {
		return no
	}
	return yes
}

func oncReply(b []byte) answer {
	if a := oncHeader(b, 1); a != yes {
		return a
	}
	if len(b) < 20 {
		return more
	}
	if status, flavor := binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:]); status > 1 || flavor > 7 {
		return no
	}
	return yes
}

func oncSealed(b []byte) answer {
	if a := oncCall(b); a != yes {
		return a
	}
	if len(b) < 52 || binary.BigEndian.Uint32(b[28:]) != 6 {
		return no
	}
	if gss := b[36:]; binary.BigEndian.Uint32(gss) != 1 || binary.BigEndian.Uint32(gss[4:]) != 0 || binary.BigEndian.Uint32(gss[12:]) != 3 {
		return no
	}
	return yes
}

// oncHeader reads the mark of a record, the transaction and the message's type.
func oncHeader(b []byte, typ uint32) answer {
	if b[0] != 0x80 && b[0] != 0 || len(b) > 1 && b[1] > 0x20 {
		return no
	}
	if len(b) < 12 {
		if b[0] != 0x80 {
			return no
		}
		return more
	}
	if size := binary.BigEndian.Uint32(b) & 0x7fffffff; size < 24 || binary.BigEndian.Uint32(b[8:]) != typ {
		return no
	}
	return yes
}

// kerberosOverTCP recognizes a message behind its length (RFC 4120 section 7.2.2).
func kerberosOverTCP(b []byte) answer {
	if b[0] != 0 || len(b) > 1 && b[1] != 0 || len(b) > 4 && (b[4] < 0x6a || b[4] > 0x7e) {
		return no
	}
	if len(b) < 24 {
		return more
	}
	if size := binary.BigEndian.Uint32(b); size < 40 || size > 1<<16 {
		return no
	}
	return kerberosMessage(b[4:])
}

// kerberosMessage recognizes a request or a reply of the KDC, or an error, by its number,
// version 5 and its type (RFC 4120 section 5.4).
func kerberosMessage(b []byte) answer {
	if len(b) < 20 || b[0] != 0x6a && b[0] != 0x6b && b[0] != 0x6c && b[0] != 0x6d && b[0] != 0x7e {
		return no
	}
	typ := b[0] & 0x1f
	head := b[1:20]
	request, reply := [...]byte{0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, typ}, [...]byte{0xa0, 3, 2, 1, 5, 0xa1, 3, 2, 1, typ}
	if bytes.Contains(head, request[:]) || bytes.Contains(head, reply[:]) {
		return yes
	}
	return no
}
