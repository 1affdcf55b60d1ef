package protocols

import (
	"encoding/binary"
)

// Recognizers of ONC RPC (NFS) and DCE-RPC (Windows).

// rpcMessage recognizes a PDU of DCE-RPC over a connection (C706 section 12.6). A request or response only gives Maybe.
func rpcMessage(b []byte) Match {
	if b[0] != 5 || len(b) > 1 && b[1] > 1 || len(b) > 2 && b[2] > 19 || len(b) > 4 && b[4]&0xef != 0 || len(b) > 5 && b[5] != 0 || len(b) > 6 && b[6] != 0 || len(b) > 7 && b[7] != 0 {
		return No
	}
	if len(b) < 16 {
		return More
	}
	size, auth := rpcSizes(b)
	if size < 16 || auth > 0 && auth+24 > size {
		return No
	}
	if auth > 0 && size > len(b) && len(b) < MaxHead {
		return More // the trailer at the end of the message shows whether the message is encrypted
	}
	if b[2] == 0 || b[2] == 2 {
		return Maybe // the bind before it was not seen
	}
	return Yes
}

// rpcSealed recognizes a request or response of DCE-RPC whose security trailer asks for privacy, which is encryption (MS-RPCE section
// 2.2.2.11).
func rpcSealed(b []byte) Match {
	if a := rpcMessage(b); a < Maybe {
		return a
	}
	if b[2] != 0 && b[2] != 2 { // a bind names the level and is not encrypted
		return No
	}
	size, auth := rpcSizes(b)
	if auth == 0 || size > len(b) {
		return No
	}
	if trailer := b[size-auth-8:]; trailer[1] != 6 || trailer[0] < 9 || trailer[0] > 68 {
		return No
	}
	return Yes
}

// rpcSizes returns the lengths of the fragment and of the credentials, in bytes.
func rpcSizes(b []byte) (size, auth int) {
	var order binary.ByteOrder = binary.BigEndian
	if b[4]&0x10 != 0 {
		order = binary.LittleEndian
	}
	return int(order.Uint16(b[8:])), int(order.Uint16(b[10:]))
}

// oncCall recognizes a call of ONC RPC over TCP (RFC 5531 sections 9 and 11).
func oncCall(b []byte) Match {
	if a := oncHeader(b, 0); a != Yes {
		return a
	}
	if len(b) < 28 {
		return More
	}
	program, version := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
	if binary.BigEndian.Uint32(b[12:]) != 2 || program < 100000 || program > 0x5fffffff || version > 100 || binary.BigEndian.Uint32(b[24:]) > 1000 {
		return No
	}
	return Yes
}

// oncReply recognizes a reply of ONC RPC over TCP.
func oncReply(b []byte) Match {
	if a := oncHeader(b, 1); a != Yes {
		return a
	}
	if len(b) < 20 {
		return More
	}
	if status, flavor := binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:]); status > 1 || flavor > 7 {
		return No
	}
	return Yes
}

// oncSealed recognizes a call of ONC RPC that RPCSEC_GSS encrypts (RFC 2203 section 5.3.1).
func oncSealed(b []byte) Match {
	if a := oncCall(b); a != Yes {
		return a
	}
	if len(b) < 52 || binary.BigEndian.Uint32(b[28:]) != 6 {
		return No
	}
	if gss := b[36:]; binary.BigEndian.Uint32(gss) != 1 || binary.BigEndian.Uint32(gss[4:]) != 0 || binary.BigEndian.Uint32(gss[12:]) != 3 {
		return No
	}
	return Yes
}

// oncHeader recognizes the mark of a record, the transaction and a message type: 0 for calls, 1 for replies.
func oncHeader(b []byte, typ uint32) Match {
	if b[0] != 0x80 && b[0] != 0 || len(b) > 1 && b[1] > 0x20 {
		return No
	}
	if len(b) < 12 {
		if b[0] != 0x80 {
			return No
		}
		return More
	}
	if size := binary.BigEndian.Uint32(b) & 0x7fffffff; size < 24 || binary.BigEndian.Uint32(b[8:]) != typ {
		return No
	}
	return Yes
}

// oncPacket turns a recognizer of ONC RPC over TCP into one for UDP, where messages have no record mark.
func oncPacket(message func([]byte) Match) func([]byte) Match {
	return func(b []byte) Match {
		if len(b) < 24 || len(b) > 1<<16-4 {
			return No
		}
		var marked [64]byte
		binary.BigEndian.PutUint32(marked[:], 0x80000000|uint32(len(b)))
		return message(marked[:4+copy(marked[4:], b)])
	}
}
