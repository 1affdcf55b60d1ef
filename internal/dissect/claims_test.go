package dissect_test

import (
	"bytes"
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// TestPlaintextAfterAClaim checks an end that sends TLS records or a hello, and then plaintext, while the other end sends nothing. The
// plaintext must be found however the bytes are split into segments.
func TestPlaintextAfterAClaim(t *testing.T) {
	rec := func(typ byte, body []byte) []byte {
		return append([]byte{typ, 3, 3, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	hello := record(t, tls.VersionTLS13, capturetest.NotRequested).Chunks[0].Data
	for name, claim := range map[string][]byte{
		"empty records":  bytes.Repeat(rec(23, nil), 5),
		"short records":  bytes.Repeat(rec(23, []byte("\r\n")), 5),
		"records":        slices.Concat(rec(23, noise(100)), rec(23, noise(900)), rec(23, noise(40)), rec(23, noise(40))),
		"alerts":         bytes.Repeat(rec(21, []byte{2, 40}), 4),
		"a hello":        hello,
		"a whole flight": slices.Concat(hello, rec(20, []byte{1}), rec(23, noise(53)), rec(23, noise(300))),
	} {
		for what, after := range map[string]struct {
			bytes    string
			kind     dissect.Kind
			protocol string
		}{
			"http":  {"POST /login HTTP/1.1\r\nHost: bank\r\nContent-Length: 0\r\n\r\n", dissect.KindPlain, "http"},
			"redis": {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\nsecret\r\n", dissect.KindPlain, "redis"},
			"text":  {"this is a protocol of lines without a name\r\n", dissect.KindText, ""},
			"noise": {string(noise(200)[100:]), dissect.KindUnreadable, ""},
		} {
			for _, size := range []int{1, 2, 13, 1448} {
				s := dissect.New()
				at := 0
				for piece := range slices.Chunk(append(slices.Clone(claim), after.bytes...), size) {
					s.Data(dissect.Originator, int64(at), piece, 0, 0)
					at += len(piece)
				}
				if kind, protocol := s.Kind(dissect.Originator); kind != after.kind || protocol != after.protocol || s.Failed() {
					t.Errorf("%s after %s in pieces of %d: kind %d %q, want %d %q", what, name, size, kind, protocol, after.kind, after.protocol)
				}
			}
		}
	}
}

// TestAGapRefutesNoClaim checks that a gap between records does not refute TLS: later records are found.
func TestAGapRefutesNoClaim(t *testing.T) {
	rec := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, noise(n)...) }
	s := dissect.New()
	wire := slices.Concat(rec(100), rec(200), rec(300))
	s.Data(dissect.Originator, 0, wire, -1, 0)
	s.Data(dissect.Originator, int64(len(wire)+5000), noise(50), -1, 5000)
	s.Data(dissect.Originator, int64(len(wire)+5050), rec(400), -1, 0)
	if kind, _ := s.Kind(dissect.Originator); kind != dissect.KindTLS || s.TLS().Broken(dissect.Originator) {
		t.Errorf("kind %d", kind)
	}
}
