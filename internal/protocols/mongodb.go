package protocols

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of MongoDB.

// mongoMessage recognizes a message by its header and by the document or the name that must follow ("MongoDB Wire Protocol"). The header
// alone is not enough: other protocols begin with small little-endian integers, too.
func mongoMessage(b []byte) Match {
	if len(b) >= 4 {
		if size := binary.LittleEndian.Uint32(b); size < 26 || size > 48<<20 {
			return No
		}
	}
	if len(b) >= 16 && !mongoOpcode(binary.LittleEndian.Uint32(b[12:])) {
		return No
	}
	if len(b) < 26 {
		return More
	}
	size, op, flags := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
	switch {
	case op == 2013 && flags&^0x10003 == 0 && b[20] == 0: // OP_MSG: a body
		return bson(b[21:], size-21)
	case op == 2013 && flags&^0x10003 == 0 && b[20] == 1: // OP_MSG: a sequence of documents
		if n := binary.LittleEndian.Uint32(b[21:]); n < 9 || n > size-21 {
			return No
		}
		return cname(b[25:])
	case op == 2012 && mongoOpcode(flags) && flags != 2012 && b[24] <= 3: // OP_COMPRESSED: opcode, size, compressor
		if n := binary.LittleEndian.Uint32(b[20:]); n > 48<<20 {
			return No
		}
		return Yes
	case op == 2004 && flags < 256: // OP_QUERY: a collection's full name
		return mongoQuery(b[20:], size-20)
	case op == 1 && flags < 16: // OP_REPLY: cursor, first, count, documents
		return mongoReply(b, size)
	}

	return No
}

// mongoOpcode reports whether op is OP_MSG, OP_COMPRESSED, OP_QUERY or OP_REPLY.
func mongoOpcode(op uint32) bool { return op == 2013 || op == 2012 || op == 2004 || op == 1 }

// mongoQuery recognizes the body of OP_QUERY: DATABASE.COLLECTION, two numbers and a document.
func mongoQuery(b []byte, size uint32) Match {
	name, rest, whole := bytes.Cut(b[:min(len(b), 256)], []byte{0})
	if !printable(name) || whole && !bytes.Contains(name, []byte(".")) || !whole && len(b) >= 256 {
		return No
	}
	if !whole || len(rest) < 8 {
		return More
	}
	return bson(rest[8:], size-uint32(len(name))-9)
}

// mongoReply recognizes OP_REPLY: cursor, first, count and documents. size is the size of the message in bytes.
func mongoReply(b []byte, size uint32) Match {
	if len(b) < 36 {
		return More
	}
	first, count := binary.LittleEndian.Uint32(b[28:]), binary.LittleEndian.Uint32(b[32:])
	switch {
	case first > 1<<20 || count > 1<<20 || count == 0 && size != 36 || count > 0 && size < 36+5*count:
		return No
	case count == 0:
		return Maybe // no document follows
	}
	return bson(b[36:], size-36)
}

// bson recognizes a document of at most limit bytes: its length, and the type and name of its first element, or the end of an empty
// document.
func bson(b []byte, limit uint32) Match {
	if len(b) < 5 {
		return More
	}
	n := binary.LittleEndian.Uint32(b)
	switch {
	case n < 5 || n > limit || limit > 48<<20:
		return No
	case n == 5:
		if b[4] == 0 {
			return Yes
		}
		return No
	case b[4] == 0 || b[4] > 0x13 && b[4] != 0x7f && b[4] != 0xff:
		return No
	}
	return cname(b[5:])
}

// cname recognizes a name that ends with a NUL. The first four bytes are enough. Elements of arrays are named by their index, so short
// names are valid.
func cname(b []byte) Match {
	for i, c := range b {
		switch {
		case c == 0 && i > 0, i >= 4:
			return Yes
		case c < 0x20 || c > 0x7e:
			return No
		}
	}
	return More
}
