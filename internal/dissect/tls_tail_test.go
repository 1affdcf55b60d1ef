package dissect

import (
	"bytes"
	"crypto/tls"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// followedIn passes a stream to a Tail in pieces and returns the offset where its records end, or -1.
func followedIn(stream []byte, size int) int {
	f := Tail{sides: [2]tailSide{{state: tailSure}}}
	for at := 0; at < len(stream); at += size {
		piece := stream[at:min(at+size, len(stream))]
		quiet := f
		n, _, ok := f.data(Originator, piece, 0)
		if quiet.Quiet(Originator, piece, 0) != ok {
			return -2
		}
		if !ok {
			return at + n - int(f.sides[Originator].n)
		}
	}
	return -1
}

// TestTailFindsTheEnd checks that a Tail finds the same end of the records in pieces of any size.
func TestTailFindsTheEnd(t *testing.T) {
	sealed := func(typ byte, size int) []byte {
		return append([]byte{typ, 3, 3, byte(size >> 8), byte(size)}, bytes.Repeat([]byte{0xa7}, size)...)
	}
	hello := streamsOf(t, tls.VersionTLS13, capturetest.NotRequested)[0]
	talk := bytes.Join([][]byte{sealed(23, 300), sealed(22, 40), sealed(20, 24), sealed(21, 19), sealed(23, 0), sealed(23, 1), sealed(23, 18000)}, nil)
	for name, after := range map[string][]byte{
		"nothing":                      nil,
		"text":                         []byte("PWD\r\n"),
		"a byte":                       {0},
		"what begins like a header":    {23, 3, 3, 0xff, 0xff},
		"a handshake":                  hello,
		"a handshake in small records": {22, 3, 1, 0, 3, 1, 0, 0},
		"SSL 2.0":                      {0x80, 0x2e, 1, 0, 2},
	} {
		want := len(talk)
		if after == nil {
			want = -1
		}
		for size := 1; size < 40; size++ {
			if got := followedIn(append(bytes.Clone(talk), after...), size); got != want {
				t.Errorf("%s, in pieces of %d: %d, want %d", name, size, got, want)
			}
		}
	}
}

// TestTailBridgesRecords checks that unknown bytes within a record do not hide the next record. After other unknown bytes the position is
// unknown until a segment begins with headers. From then on, bytes that are not a record end the records only after more headers.
func TestTailBridgesRecords(t *testing.T) {
	text := []byte("GET /index.html HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\nUser-Agent: a\r\n\r\n")
	record := append([]byte{23, 3, 3, 0, 100}, bytes.Repeat([]byte{0xa7}, 100)...)
	junk := bytes.Repeat([]byte{0xd7}, 200)
	f := Tail{sides: [2]tailSide{{state: tailSure}}}
	steps := []struct {
		what  string
		data  []byte
		gap   int64
		cut   int64
		quiet bool
	}{
		{"the beginning of a record", record[:50], 0, 0, true},
		{"the rest of it lost, then records", record, 55, 0, true},
		{"the beginning of a record", record[:50], 0, 0, true},
		{"the rest of it cut", nil, 0, 55, true},
		{"what is no record is an end", junk, 0, 0, false},
		{"records", record, 0, 0, true},
		{"a header and more lost, then what is unknown", junk, 300, 0, true},
		{"short text", text[:30], 0, 0, true},
		{"what is unknown", junk, 0, 0, true},
		{"text again, not enough", text[:60], 0, 0, true},
		{"enough", text, 0, 0, false},
		{"a record", record, 0, 0, true},
		{"what is unknown, and nothing is sure", junk, 0, 0, true},
		{"records", append(bytes.Clone(record), record...), 0, 0, true},
		{"one more", record, 0, 0, true},
		{"now it means something", junk, 0, 0, false},
	}
	for i, s := range steps {
		if s.cut > 0 {
			f.Truncated(Originator, s.cut)
			continue
		}
		if got := f.Quiet(Originator, s.data, s.gap); got != s.quiet {
			t.Fatalf("step %d, %s: quiet %v; %+v", i, s.what, got, f.sides[0])
		}
	}
}

// FuzzTail checks that a Tail never panics, that an end is within the data, and that the result does not depend on the pieces of a stream.
func FuzzTail(f *testing.F) {
	s := streamsOf(f, tls.VersionTLS12, capturetest.Presented)
	f.Add(s[0], uint16(7), uint16(0))
	f.Add(append([]byte{23, 3, 3, 0, 4, 1, 2, 3, 4}, "GET / HTTP/1.1\r\n\r\n"...), uint16(3), uint16(5))
	f.Add([]byte{}, uint16(0), uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, size, hole uint16) {
		step := int(size)%2000 + 1
		var run textRun
		text := run.add(stream) // text in a record is found only if its beginning is in one piece
		if a, b := followedIn(stream, step), followedIn(stream, len(stream)+1); a != b && len(stream) > 0 && !text {
			t.Errorf("in pieces of %d: %d, in one %d", step, a, b)
		}
		x := Tail{sides: [2]tailSide{{state: tailSure}, {state: tailLost}}}
		for at := 0; at < len(stream); at += step {
			piece := stream[at:min(at+step, len(stream))]
			gap := int64(0)
			if hole > 0 && at%int(hole) == 0 {
				gap = int64(hole)
			}
			for side := range Side(2) {
				n, _, ok := x.data(side, piece, gap)
				if d := x.sides[side]; n < 0 || n > len(piece) || !ok && n == len(piece) || int(d.n) > len(d.head) || d.left > maxRecord {
					t.Fatalf("%d of %d, %+v", n, len(piece), d)
				}
				x.Quiet(side, nil, gap)
			}
			x.Truncated(Originator, int64(hole)/2)
		}
	})
}

// BenchmarkTail measures a packet of a settled connection.
func BenchmarkTail(b *testing.B) {
	for name, size := range map[string]int{"one record": 1443, "the middle of a record": 16384} {
		record := append([]byte{23, 3, 3, byte(size >> 8), byte(size)}, make([]byte, size)...)
		b.Run(name, func(b *testing.B) {
			f := Tail{sides: [2]tailSide{{state: tailSure}}}
			at := 0
			for b.Loop() {
				n := min(1448, len(record)-at)
				f.Quiet(Originator, record[at:at+n], 0)
				if at += n; at == len(record) {
					at = 0
				}
			}
		})
	}
}
