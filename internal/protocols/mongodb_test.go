package protocols

import (
	"encoding/binary"
	"slices"
	"testing"
)

// mongo builds a message of MongoDB.
func mongo(op uint32, body string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(16+len(body)))
	b = append(b, 7, 0, 0, 0, 3, 0, 0, 0)
	return append(binary.LittleEndian.AppendUint32(b, op), body...)
}

const pingBSON = "\x0f\x00\x00\x00\x10ping\x00\x01\x00\x00\x00\x00"

func TestMongoMessage(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want Match
	}{
		"OP_MSG":                     {mongo(2013, "\x00\x00\x00\x00\x00"+pingBSON), Yes},
		"OP_MSG, a checksum follows": {mongo(2013, "\x01\x00\x00\x00\x00"+pingBSON+"abcd"), Yes},
		"OP_MSG, documents first":    {mongo(2013, "\x00\x00\x00\x00\x01\x1d\x00\x00\x00documents\x00"+pingBSON), Yes},
		"OP_QUERY":                   {mongo(2004, "\x00\x00\x00\x00admin.$cmd\x00\x00\x00\x00\x00\xff\xff\xff\xff"+pingBSON), Yes},
		"OP_REPLY":                   {mongo(1, "\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"+pingBSON), Yes},
		"OP_REPLY without documents": {mongo(1, "\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), Maybe},
		"OP_COMPRESSED":              {mongo(2012, "\xdd\x07\x00\x00\x20\x00\x00\x00\x02abcdef"), Yes},

		"OP_MSG, the document is longer than it can be": {mongo(2013, "\x00\x00\x00\x00\x00\xff"+pingBSON[1:]), No},
		"OP_MSG, the document has no type":              {mongo(2013, "\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x44ping\x00\x01\x00\x00\x00\x00"), No},
		"OP_QUERY of no collection":                     {mongo(2004, "\x00\x00\x00\x00admin\x00\x00\x00\x00\x00\xff\xff\xff\xff"+pingBSON), No},
		"OP_REPLY with a count alone":                   {mongo(1, "\x1b\x00\x00\x00"+string(make([]byte, 200))), No},
		"opcode 1 before ciphertext":                    {mongo(1, "\x00\x00\x00\x00\xb6\xdd!\x0f\xaf\x94\xac\xd3\xcf\x92\xc1\x90#|\xb1\x1f]\x10\x8c\xf2Y0&98\xb3"), No},
		"an opcode that is none":                        {mongo(3000, "\x00\x00\x00\x00\x00"+pingBSON), No},
	} {
		if got := mongoMessage(c.b); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		for n := range c.b {
			if got := mongoMessage(c.b[:n]); c.want != No && got == No {
				t.Errorf("%s, its first %d bytes: no", name, n)
			}
		}
	}
	if got := mongoMessage(slices.Concat(mongo(2013, "\x00\x00\x00\x00\x00"+pingBSON), []byte("and more"))); got != Yes {
		t.Errorf("with another after it: %d", got)
	}
}
