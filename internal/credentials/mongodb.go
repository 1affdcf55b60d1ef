package credentials

import (
	"bytes"
	"encoding/binary"
)

// mongoClient reads a message of MongoDB ("MongoDB Wire Protocol"). The command saslStart has the mechanism and its first response.
func mongoClient(r *Reader, b []byte) int {
	const opQuery, opMsg, header = 2004, 2013, 16
	if len(b) < header {
		return 0
	}
	size := int(binary.LittleEndian.Uint32(b))
	op := binary.LittleEndian.Uint32(b[12:])
	switch {
	case op == opQuery && size <= MaxUnit && size >= header: // the greeting of old clients
		return size
	case op != opMsg || size > MaxUnit || size < header+5:
		r.end()
		return max(size, header)
	case len(b) < size:
		return 0
	case b[header+4] != 0: // the first section is no document
		r.end()
		return size
	}
	mongoCommand(r, b[header+5:size])
	return size
}

// mongoCommand reads a command, whose name is the first name in its document.
func mongoCommand(r *Reader, b []byte) {
	const text, data = 2, 5
	name, response := noMechanism, []byte(nil)
	first, starts := true, false
	for e := range bsonElements(b) {
		if first {
			starts = e.name == "saslStart"
			if !starts && e.name != "saslContinue" && e.name != "hello" && e.name != "isMaster" && e.name != "ismaster" && e.name != "ping" {
				r.end()
			}
			first = false
		}
		switch {
		case e.typ == text && e.name == "mechanism":
			name = mechanismOf(bytes.TrimSuffix(e.value, []byte{0}))
		case e.typ == data && e.name == "payload":
			response = e.value
		}
	}
	if starts {
		r.saslMessage(name, response)
	}
}

// bsonElement is an element of a document of BSON (bsonspec.org). value has no size in front of it.
type bsonElement struct {
	typ   byte
	name  string
	value []byte
}

// bsonElements returns the elements of a document. It ends at an element of a type that the commands in question do not use.
func bsonElements(b []byte) func(yield func(bsonElement) bool) {
	return func(yield func(bsonElement) bool) {
		b = b[min(4, len(b)):]
		for len(b) > 0 && b[0] != 0 {
			name, rest, ok := bytes.Cut(b[1:], []byte{0})
			at, n := bsonSize(b[0], rest)
			if !ok || n < 0 || at+n > len(rest) {
				return
			}
			if !yield(bsonElement{b[0], string(name), rest[at : at+n]}) {
				return
			}
			b = rest[at+n:]
		}
	}
}

// bsonSize returns where the value at the start of b begins, and its size, -1 if the type is unknown or b is too short.
func bsonSize(typ byte, b []byte) (at, n int) {
	if typ == 2 || typ == 3 || typ == 4 || typ == 5 {
		if len(b) < 5 {
			return 0, -1
		}
		n = int(int32(binary.LittleEndian.Uint32(b)))
		switch {
		case n < 0 || n > MaxUnit:
			return 0, -1
		case typ == 2:
			return 4, n
		case typ == 5:
			return 5, n
		}
		return 0, n
	}
	switch typ {
	case 1, 9, 0x11, 0x12:
		return 0, 8
	case 7:
		return 0, 12
	case 8:
		return 0, 1
	case 0x0a:
		return 0, 0
	case 0x10:
		return 0, 4
	}
	return 0, -1
}
