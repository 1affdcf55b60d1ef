package dissect

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// randomPrefixes is the number of random prefixes that are tried. In a run by hand with a million, none was called plaintext.
const randomPrefixes = 30_000

// randomBytes fills b from r, so that a failure can be repeated.
func randomBytes(r *rand.Rand, b []byte) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, r.Uint64())
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// TestRandomBytesAreNotPlaintext checks that bytes that look like ciphertext are never called plaintext of a protocol or text. It passes
// them in one direction, in both directions, and in a datagram.
func TestRandomBytesAreNotPlaintext(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var buf [2][1500]byte
	alone, weakly := 0, 0
	for i := range randomPrefixes {
		var b [2][]byte
		for j := range b {
			b[j] = buf[j][:64+r.IntN(1500-64+1)]
			randomBytes(r, b[j])
		}
		for k := range protocols.TCP {
			switch x := &protocols.TCP[k]; max(x.Client(b[0]), x.Server(b[0])) {
			case protocols.Yes:
				alone++
				t.Errorf("prefix %d: %s matches % x", i, x.Protocol, b[0][:32])
			case protocols.Maybe:
				weakly++
			default:
			}
		}
		if textKind(b[0]) == KindText {
			t.Errorf("prefix %d is text: % x", i, b[0][:32])
		}
		s := New()
		s.Data(Originator, 0, b[0], 0, 0)
		s.Data(Responder, 0, b[1], int64(len(b[0])), 0)
		s.Data(Originator, int64(len(b[0])), b[1], int64(len(b[1])), 0)
		s.Conclude()
		u := New()
		u.Datagram(Originator, b[0])
		u.Datagram(Responder, b[1])
		for side := range Side(2) {
			for _, x := range []*Session{s, u} {
				if kind, protocol := x.Kind(side); kind != KindUnreadable && kind != KindNone {
					t.Errorf("pair %d: side %d is of kind %d %q: % x", i, side, kind, protocol, b[side][:32])
				}
			}
		}
	}
	t.Logf("%d prefixes: %d yes, %d maybe of one side alone", randomPrefixes, alone, weakly)
}

// TestShortRandomBytesAreNotPlaintext checks that short payloads of a complete exchange are not called text.
func TestShortRandomBytesAreNotPlaintext(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var buf [2][64]byte
	for i := range randomPrefixes {
		s := New()
		for side := range Side(2) {
			b := buf[side][:1+r.IntN(63)]
			randomBytes(r, b)
			s.Data(side, 0, b, 0, 0)
		}
		s.Conclude()
		for side := range Side(2) {
			if kind, protocol := s.Kind(side); kind == KindPlain || kind == KindText || kind == KindEncrypted {
				t.Errorf("pair %d: side %d is of kind %d %q: % x", i, side, kind, protocol, buf[side])
			}
		}
	}
}
