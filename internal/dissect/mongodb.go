package dissect

import (
	"bytes"
	"encoding/binary"
)

// mongoMessage recognizes a message of MongoDB by its header and by the document or the
// name that must follow it ("MongoDB Wire Protocol"). Small little-endian integers alone
// are common in other protocols.
func mongoMessage(b []byte) answer {
	if len(b) >= 4 {
		if size := binary.LittleEndian.Uint32(b); size < 26 || size > 48<<20 {
			return no
		}
	}
	if len(b) >= 16 && !mongoOpcode(binary.LittleEndian.Uint32(b[12:])) {
		return no
	}
	if len(b) < 26 {
		return more
	}
	size, op, flags := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
	switch {
	case op == 2013 && flags&^0x10003 == 0 && b[20] == 0: // OP_MSG: a body
		return bson(b[21:], size-21)
	case op == 2013 && flags&^0x10003 == 0 && b[20] == 1: // OP_MSG: a sequence of documents
		if n := binary.LittleEndian.Uint32(b[21:]); n < 9 || n > size-21 {
			return no
		}
		return cname(b[25:])
	case op == 2012 && mongoOpcode(flags) && flags != 2012 && b[24] <= 3: // OP_COMPRESSED: opcode, size, compressor
		if n := binary.LittleEndian.Uint32(b[20:]); n > 48<<20 {
			return no
		}
		return yes
	case op == 2004 && flags < 256: // OP_QUERY: a collection's full name
		return mongoQuery(b[20:], size-20)
	case op == 1 && flags < 16: // OP_REPLY: cursor, first, count, documents
		return mongoReply(b, size)
	}
	return no
}

func mongoOpcode(op uint32) bool { return op == 2013 || op == 2012 || op == 2004 || op == 1 }

// mongoQuery reads database.collection, two numbers and the query.
func mongoQuery(b []byte, size uint32) answer {
	name, rest, whole := bytes.Cut(b[:min(len(b), 256)], []byte{0})
	if !printable(name) || whole && !bytes.Contains(name, []byte(".")) || !whole && len(b) >= 256 {
		return no
	}
	if !whole || len(rest) < 8 {
		return more
	}
	return bson(rest[8:], size-uint32(len(name))-9)
}

func mongoReply(b []byte, size uint32) answer {
	if len(b) < 36 {
		return more
	}
	first, count := binary.LittleEndian.Uint32(b[28:]), binary.LittleEndian.Uint32(b[32:])
	switch {
	case first > 1<<20 || count > 1<<20 || count == 0 && size != 36 || count > 0 && size < 36+5*count:
		return no
	case count == 0:
		return maybe // nothing follows that could tell
	}
	return bson(b[36:], size-36)
}

// bson recognizes a document of at most limit bytes: its length, and its first element's
// type and name, or its end.
func bson(b []byte, limit uint32) answer {
	if len(b) < 5 {
		return more
	}
	n := binary.LittleEndian.Uint32(b)
	switch {
	case n < 5 || n > limit || limit > 48<<20:
		return no
	case n == 5:
		if b[4] == 0 {
			return yes
		}
		return no
	case b[4] == 0 || b[4] > 0x13 && b[4] != 0x7f && b[4] != 0xff:
		return no
	}
	return cname(b[5:])
}

// cname recognizes a name that ends with a NUL: one that has come as far as 4 bytes, or
// whole, is enough. Elements of arrays are named by their index.
func cname(b []byte) answer {
	for i, c := range b {
		switch {
		case c == 0 && i > 0, i >= 4:
			return yes
		case c < 0x20 || c > 0x7e:
			return no
		}
	}
	return more
}
