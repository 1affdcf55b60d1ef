package dissect

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// lostTail returns a Tail with one side whose position in the records is unknown.
func lostTail() Tail { return Tail{sides: [2]tailSide{{state: tailLost, keyed: true}}} }

// TestPlaintextWhereThePositionIsLost checks that plaintext of any kind after an unseen end of TLS is found within a few segments, by a Tail
// and by a session that is not finished.
func TestPlaintextWhereThePositionIsLost(t *testing.T) {
	be := binary.BigEndian
	for name, message := range map[string]func(i int) []byte{
		"Modbus": func(i int) []byte {
			b := be.AppendUint16(nil, uint16(i))
			b = append(b, 0, 0, 0, 69, 1, 16, 0, 100, 0, 31, 62)
			for k := range 31 {
				b = be.AppendUint16(b, uint16((i*7+k)%1000))
			}
			return b
		},
		"a short Modbus request": func(i int) []byte { return append(be.AppendUint16(nil, uint16(i)), 0, 0, 0, 6, 1, 3, 0, 0, 0, 10) },
		"PostgreSQL": func(i int) []byte {
			return fmt.Appendf([]byte("Q\x00\x00\x00\x47"), "SELECT name, iban FROM account WHERE id = %04d AND open = true\x00", i)
		},
		"HTTP/2 DATA": func(i int) []byte {
			return fmt.Appendf([]byte{0, 0, 80, 0, 0, 0, 0, 3, 0x1f}, `{"user":"john","iban":"DE00 0000 0000 0000","amount":%04d}`, i)
		},
		"UTF-16": func(i int) []byte {
			return []byte(strings.Join(strings.Split(fmt.Sprintf("SELECT %04d", i), ""), "\x00"))
		},
		"text after a header": func(i int) []byte {
			return fmt.Appendf([]byte{0x9c, 0xa1, 0xff, 0x83, 0xe2, 0x91, 0xb7, 0xd0}, "account %04d of John Smith", i)
		},
		"a long body": func(i int) []byte {
			return append(be.AppendUint32(nil, 0xfeedbeef), strings.Repeat("name,iban,amount;", 80)...)
		},
	} {
		f := lostTail()
		s := New()
		s.begun(t)
		found, after := 0, 0
		for i := 1; i <= 16 && (found == 0 || after == 0); i++ {
			b := message(i)
			if _, _, ok := f.data(Originator, b, 0); !ok && found == 0 {
				found = i
			}
			if s.Data(Originator, 1<<30+int64(i*1000), b, 0, 1000-int64(len(b))); s.After() != nil && after == 0 {
				after = i
			}
		}
		if found == 0 || after == 0 {
			t.Errorf("%s: found after %d and %d segments", name, found, after)
			continue
		}
		if k, _ := s.After().Kind(Originator); k != KindPlain && k != KindText && k != KindStructured {
			t.Errorf("%s: kind %d", name, k)
		}
	}
}

// begun prepares s: its first side has sent a few records of TLS, and the side's position in the records is now unknown.
func (s *Session) begun(t *testing.T) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for range 4 {
		b = append(append(b, 23, 3, 3, 4, 0), noiseOf(r, 1024)...)
	}
	s.Data(Originator, 0, b, 0, 0)
	s.Data(Originator, 1<<30, noiseOf(r, 1000), 0, 1<<30-int64(len(b)))
	if k, _ := s.Kind(Originator); k != KindTLS || s.After() != nil {
		t.Fatalf("kind %d", k)
	}
}

// TestCiphertextIsNotLegible checks that records of any size and cipher are not taken for plaintext after repeated gaps.
func TestCiphertextIsNotLegible(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for stream := range uint64(400) {
		var b []byte
		for n := uint64(0); len(b) < 200_000; n++ {
			size := 1 + r.IntN([]int{2, 16, 64, 600, 16384}[stream%5])
			switch stream / 5 % 3 {
			case 0: // TLS 1.3
				b = append(b, 23, 3, 3, byte((size+17)>>8), byte(size+17))
				b = append(b, noiseOf(r, size+17)...)
			case 1: // TLS 1.2 with AES-GCM, whose explicit nonce is often a number
				b = append(b, 23, 3, 3, byte((size+24)>>8), byte(size+24))
				b = binary.BigEndian.AppendUint64(b, n)
				b = append(b, noiseOf(r, size+16)...)
			default: // TLS 1.0 with CBC
				size = (size + 20 + 16) &^ 15
				b = append(b, 23, 3, 1, byte(size>>8), byte(size))
				b = append(b, noiseOf(r, size)...)
			}
		}
		f := lostTail()
		for at := r.IntN(100); at < len(b); {
			n := min(1+r.IntN([]int{60, 1448, 20000}[stream%3]), len(b)-at)
			gap := int64(0)
			if r.IntN(3) == 0 {
				skipped := min(r.IntN(30000), len(b)-at-n)
				at, gap = at+skipped, int64(skipped)
			}
			if _, _, ok := f.data(Originator, b[at:at+n], gap); !ok {
				t.Fatalf("stream %d: not a record, at %d: %+v", stream, at, f.sides[0])
			}
			at += n
		}
	}
}

// TestTextAfterOpaque checks that a request in text is found after any number of unrecognized segments.
func TestTextAfterOpaque(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, segments := range []int{1, maxTries - 1, 4 * maxTries} {
		s := New()
		at := int64(0)
		for i := range segments + 1 {
			b := noiseOf(r, 1000)
			if i == segments {
				b = []byte("GET /account HTTP/1.1\r\nHost: bank.example\r\n\r\n")
			}
			s.Data(Originator, at, b, 0, 0)
			at += int64(len(b))
		}
		if kind, protocol := s.Kind(Originator); kind != KindPlain || protocol != "http" {
			t.Errorf("after %d segments: kind %d %q", segments, kind, protocol)
		}
	}
}
