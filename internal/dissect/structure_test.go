package dissect

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// structured are conversations of binary plaintext protocols without a recognizer.
var structured = map[string]func(i int) (client, server []byte){
	"Modbus": func(i int) (client, server []byte) {
		return []byte{0, byte(i), 0, 0, 0, 6, 1, 3, 0, byte(i), 0, 10},
			append([]byte{0, byte(i), 0, 0, 0, 23, 1, 3, 20}, []byte{0, 1, 0, 2, 0, 3, 1, 4, 0, 5, 0, 6, 0, 7, 2, 8, 0, 9, 0, byte(i)}...)
	},
	"IEC 104": func(i int) (client, server []byte) {
		return []byte{0x68, 4, 1, 0, byte(i * 2), 0},
			[]byte{0x68, 0x15, byte(i * 2), 0, 2, 0, 0x0d, 2, 3, 0, 1, 0, 1, 0x10, 0, 0x33, 0x33, 0x41, 0x42, 0, 0, 0, 0}
	},
	"DNP3": func(i int) (client, server []byte) {
		return []byte{5, 0x64, 0x14, 0xc4, 4, 0, 3, 0, 0xc7, 0x17, 0xc3, 0xc3, 1, 0x3c, 2, 6, 0x3c, 3, 6, 0x3c, 4, 6, 0x3c, 1, 6, 0x14, 0},
			[]byte{5, 0x64, 0x1a, 0x44, 3, 0, 4, 0, 0x8d, 0x3c, 0xc3, 0xe3, 0x81, 0, 0, 1, 2, 0, 0, 5, 1, 1, 1, 1, 1, 1, 0x62, 0x57, byte(i), 0, 0, 0, 1}
	},
	"S7": func(i int) (client, server []byte) {
		return []byte{3, 0, 0, 31, 2, 0xf0, 0x80, 0x32, 1, 0, 0, 0, byte(i), 0, 14, 0, 0, 4, 1, 0x12, 0x0a, 0x10, 2, 0, 4, 0, 1, 0x84, 0, 0, 0},
			[]byte{3, 0, 0, 29, 2, 0xf0, 0x80, 0x32, 3, 0, 0, 0, byte(i), 0, 2, 0, 8, 0, 0, 4, 1, 0xff, 4, 0, 32, 0, 0, 0, byte(i)}
	},
	"records with names": func(i int) (client, server []byte) {
		return []byte(fmt.Sprintf("\x00\x00\x00\x20\x02\x00\x00\x07customer\x00\x04name\x00\x05Alice%c", i&15)),
			[]byte(fmt.Sprintf("\x00\x00\x00\x30\x82\x00\x00\x07\x00\x00\x00\x01\x00\x06street\x00\x0bHigh Street\x00\x04city\x00\x06London%c", i&15))
	},
}

// TestStructured checks that binary plaintext without a recognizer is called structured plaintext before both ends have sent 2 KiB
// together, or at the end of a shorter connection.
func TestStructured(t *testing.T) {
	for name, exchange := range structured {
		for _, rounds := range []int{8, 100} {
			s := New()
			var at [2]int64
			for i := range rounds {
				client, server := exchange(i)
				for side, b := range [][]byte{client, server} {
					s.Data(Side(side), at[side], b, at[1-side], 0)
					at[side] += int64(len(b))
				}
			}
			if rounds == 8 {
				s.Conclude()
			}
			for side := range Side(2) {
				if kind, protocol := s.Kind(side); kind != KindStructured || protocol != "" {
					t.Errorf("%s, %d rounds: side %d is of kind %d %q, weighs %+v", name, rounds, side, kind, protocol, s.sides[side].p.structure)
				}
			}
		}
	}
}

// TestStructureThenCiphertext checks that a connection stays unrecognized if ciphertext follows structured bytes of the same end, or comes
// from the other end.
func TestStructureThenCiphertext(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, turn := range []int{2, 6, 12} {
		s := New()
		var at [2]int64
		for i := range 40 {
			client, server := structured["records with names"](i)
			for side, b := range [][]byte{client, server} {
				if i >= turn || side == 1 && turn == 6 {
					b = append([]byte{0, 0, 0, 64}, noiseOf(r, 64)...)
				}
				s.Data(Side(side), at[side], b, at[1-side], 0)
				at[side] += int64(len(b))
			}
		}
		s.Conclude()
		for side := range Side(2) {
			if kind, _ := s.Kind(side); kind == KindStructured {
				t.Errorf("turned at %d: side %d is called plaintext: %+v", turn, side, s.sides[side].p.structure)
			}
		}
	}
}

// TestTextThenCiphertext checks that a connection is not called text if both ends begin with text and continue with unreadable bytes. If
// only one end continues with unreadable bytes, or text comes again, the connection is text.
func TestTextThenCiphertext(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for name, c := range map[string]struct {
		then [4]string // client, server, client, server
		want Kind
	}{
		"both":      {[4]string{string(noiseOf(r, 80)), string(noiseOf(r, 200)), string(noiseOf(r, 90)), string(noiseOf(r, 70))}, KindUnreadable},
		"one":       {[4]string{"and so it goes on in text\n", string(noiseOf(r, 200)), "and on, and on, and on\n", string(noiseOf(r, 200))}, KindText},
		"text":      {[4]string{"and so it goes on in text\n", "and so it is answered\n", "", ""}, KindText},
		"too short": {[4]string{string(noiseOf(r, 12)), string(noiseOf(r, 12)), "", ""}, KindText},
	} {
		s := New()
		var at [2]int64
		for i, x := range append([]string{"hello, I speak a protocol without a name\n", "and I speak it too, so let us begin now\n"}, c.then[:]...) {
			s.Data(Side(i%2), at[i%2], []byte(x), at[1-i%2], 0)
			at[i%2] += int64(len(x))
		}
		for side := range Side(2) {
			if kind, _ := s.Kind(side); kind != c.want {
				t.Errorf("%s: side %d is of kind %d, want %d", name, side, kind, c.want)
			}
		}
	}
}

// TestTextAfterHeader checks that text after a binary header in the same segment is text, over TCP and UDP.
func TestTextAfterHeader(t *testing.T) {
	text := "GET /customers/4711 with the name of nobody, and with all that is known of them\n"
	for header, want := range map[string]Kind{
		"\xc3": KindText,
		"\x00\x01\xfe\x80\x99\xaa\xbb\xcc\xdd\xee":          KindText,
		string(noiseOf(rand.New(rand.NewPCG(17, 18)), 100)): KindUnreadable,
	} {
		s, u := New(), New()
		s.Data(Originator, 0, []byte(header+text), 0, 0)
		u.Datagram(Originator, []byte(header+text))
		for _, x := range []*Session{s, u} {
			if kind, _ := x.Kind(Originator); kind != want {
				t.Errorf("after %x: kind %d, want %d", header, kind, want)
			}
		}
	}
}

// TestTextAfterBinary checks that a connection is called text if it begins with binary data and continues with text.
func TestTextAfterBinary(t *testing.T) {
	s := New()
	start := []byte("\x01\xfe\x80\x99\xaa\xbb\xcc\xdd\xee\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8")
	s.Data(Originator, 0, start, 0, 0)
	if kind, _ := s.Kind(Originator); kind != KindUnreadable {
		t.Fatalf("kind %d", kind)
	}
	at := int64(len(start))
	for _, line := range []string{"login: alice\r\n", "password: secret\r\n", "cat /etc/passwd\r\n", "cat /etc/shadow && exit\r\n"} {
		s.Data(Originator, at, []byte(line), 0, 0)
		at += int64(len(line))
	}
	if kind, _ := s.Kind(Originator); kind != KindText {
		t.Errorf("kind %d", kind)
	}
}
