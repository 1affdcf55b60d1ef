package pipeline_test

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// TestTinyFirstRecord checks hellos whose first bytes are a record, and a segment, of their own (RFC 8446, section 5.1), in the
// first session of a connection and in a second one. The verdict is that of the same hellos in one record.
func TestTinyFirstRecord(t *testing.T) {
	mutual, oneWay := handshakes(t)
	for version := range mutual {
		for n := 1; n <= 8; n++ {
			for who := range 2 {
				for name, c := range map[string]struct {
					before, talk []capturetest.Chunk
					verdict      string
				}{
					"mutual":         {nil, mutual[version], "mtls"},
					"one-way":        {nil, oneWay[version], "tls"},
					"mutual, mutual": {mutual[version], mutual[version], "mtls"},
					"second one-way": {mutual[version], oneWay[version], "tls"},
				} {
					talk := slices.Concat(c.talk[:who], divided(c.talk[who], n), c.talk[who+1:])
					x := tell(t, records(t, packetsOf(joined(c.before, talk), capturetest.Options{}), nil))
					if len(x) != 1 || x[0].MeshTLS.Verdict != c.verdict {
						t.Errorf("%s, %s, the first %d bytes of hello %d apart: %+v, want %s", name, version, n, who, x, c.verdict)
					}
				}
			}
		}
	}
}

// divided returns a chunk that begins with a handshake record as two: the first n bytes of the record's content as a record, and the rest.
func divided(c capturetest.Chunk, n int) []capturetest.Chunk {
	size := int(c.Data[3])<<8 | int(c.Data[4])
	record := func(b []byte) []byte { return append([]byte{22, 3, c.Data[2], byte(len(b) >> 8), byte(len(b))}, b...) }
	first, rest := c, c
	first.Data = record(c.Data[5 : 5+n])
	rest.Data = append(record(c.Data[5+n:5+size]), c.Data[5+size:]...)
	return []capturetest.Chunk{first, rest}
}
