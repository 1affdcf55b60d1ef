package credentials

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// names of the protocols, sorted.
var readable = slices.Sorted(maps.Keys(protocols))

// caller passes bytes to a Reader as package dissect does.
type caller struct {
	Reader

	held [2][]byte
}

func (c *caller) pass(side Side, b []byte) error {
	c.held[side] = append(c.held[side], b...)
	n := c.Read(side, c.held[side])
	if left := len(c.held[side]) - n; n < 0 || left < 0 || left >= MaxUnit {
		return fmt.Errorf("Read of %d bytes returned %d", len(c.held[side]), n)
	}
	c.held[side] = c.held[side][n:]
	return nil
}

// FuzzReader: the result depends only on the bytes and the order of the two ends, not on the sizes of the pieces.
func FuzzReader(f *testing.F) {
	for _, l := range capturetest.Logins() {
		i, reads := slices.BinarySearch(readable, l.Protocol)
		if !reads {
			continue
		}
		var b []byte
		for _, c := range l.Talk.Chunks {
			b = append(append(b, c.Data...), 0xfe, 0xfe)
		}
		f.Add(byte(i), l.Talk.Chunks[0].FromServer, byte(3), b)
	}
	f.Add(byte(slices.Index(readable, "xmpp")), false, byte(90), []byte("<auth </auth>"))
	f.Fuzz(func(t *testing.T, protocol byte, serverFirst bool, size byte, b []byte) {
		var whole, pieces caller
		name := readable[int(protocol)%len(readable)]
		whole.Start(name)
		pieces.Start(name)
		side := Client
		if serverFirst {
			side = Server
		}
		for turn := range bytes.SplitSeq(b, []byte{0xfe, 0xfe}) {
			if err := whole.pass(side, turn); err != nil {
				t.Fatal(err)
			}
			for piece := range slices.Chunk(turn, 1+int(size)) {
				if err := pieces.pass(side, piece); err != nil {
					t.Fatal(err)
				}
			}
			side = 1 - side
		}
		if whole.Kinds() != pieces.Kinds() || whole.Over() != pieces.Over() || whole.Failed() != pieces.Failed() {
			t.Errorf("%s: whole %+v, in pieces %+v", name, whole.Reader, pieces.Reader)
		}
		if whole.Kinds().Names() == nil != (whole.Kinds() == 0) {
			t.Errorf("kinds %b have no names", whole.Kinds())
		}
	})
}

// FuzzField: the result does not depend on the sizes of the pieces.
func FuzzField(f *testing.F) {
	for _, s := range []string{"Authorization: Basic YWxpY2U6c2VjcmV0", "proxy-authorization: bearer x", "Cookie: a=b; sid=\"x\"", "Authorization: Digest a=b"} {
		f.Add([]byte(s), byte(2))
	}
	f.Fuzz(func(t *testing.T, b []byte, size byte) {
		var whole, pieces Field
		whole.Write(b)
		for piece := range slices.Chunk(b, 1+int(size)) {
			pieces.Write(piece)
		}
		want := whole.Kinds()
		if got := pieces.Kinds(); got != want {
			t.Errorf("whole %q, in pieces %q", want.Names(), got.Names())
		}
		if !Begins(b) && want != 0 {
			t.Errorf("%q begins a field with %q", b, want.Names())
		}
	})
}
