package dissect_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// noise returns bytes that look like ciphertext.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(9, 10))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestMiddleOfAStream checks connections that are captured from the middle on. The first captured segment is a message, or it is a part of
// another message and the message follows.
func TestMiddleOfAStream(t *testing.T) {
	for _, c := range []struct{ name, side, protocol string }{
		{"http request", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "http"},
		{"http response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "http"},
		{"redis command", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", "redis"},
		{"postgresql query", "Q\x00\x00\x00\x0dSELECT 1\x00", "postgresql"},
		{"postgresql extended", "B\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00E\x00\x00\x00\x09\x00\x00\x00\x00\x00S\x00\x00\x00\x04", "postgresql"},
		{"postgresql reply", "C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I", "postgresql"},
		{"mysql query", "\x09\x00\x00\x00\x03SELECT 1", "mysql"},
		{"mongodb", "\x26\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\x11\x00\x00\x00\x10ping\x00\x01\x00\x00\x00\x00", "mongodb"},
		{"kafka", "\x00\x00\x00\x16\x00\x01\x00\x0b\x00\x00\x00\x07\x00\x08consumer\x00\x00\x00\x00", "kafka"},
		{"amqp heartbeat", "\x08\x00\x00\x00\x00\x00\x00\xce", "amqp"},
		{"dns", "\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01", "dns"},
		{"memcached", "set key 0 60 5\r\nhello\r\n", "memcached"},
	} {
		s := dissect.New()
		s.Data(dissect.Originator, 0, []byte(c.side), -1, 0)
		if kind, protocol := s.Kind(dissect.Originator); kind != dissect.KindPlain || protocol != c.protocol {
			t.Errorf("%s at the start: kind %d %q", c.name, kind, protocol)
		}
		s = dissect.New()
		s.Data(dissect.Originator, 0, noise(1000), -1, 0)
		s.Data(dissect.Originator, 1000, []byte(c.side), -1, 0)
		if kind, protocol := s.Kind(dissect.Originator); kind != dissect.KindPlain || protocol != c.protocol {
			t.Errorf("%s after the end of another message: kind %d %q", c.name, kind, protocol)
		}
	}
}

// TestMiddleOfTLS checks TLS that is captured from the middle of a record on. The records are found from the first segment that begins with
// a record.
func TestMiddleOfTLS(t *testing.T) {
	rec := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, noise(n)...) }
	stream := bytes.Join([][]byte{noise(700), rec(4000), rec(16000), rec(300), rec(60)}, nil)
	s := dissect.New()
	at := 0
	for _, size := range append([]int{700}, bytes2sizes(len(stream)-700, 1448)...) {
		s.Data(dissect.Originator, int64(at), stream[at:at+size], -1, 0)
		at += size
	}
	x := s.TLS()
	if x == nil || x.Chained(dissect.Originator) < 3 || x.Broken(dissect.Originator) {
		t.Fatalf("no records found: %+v", x)
	}
	if list, complete := x.Records(dissect.Originator); complete || len(list) != 0 {
		t.Errorf("records at unknown positions are listed: %v", list)
	}
}

func bytes2sizes(total, size int) (out []int) {
	for ; total > size; total -= size {
		out = append(out, size)
	}
	return append(out, total)
}

// TestNoiseStaysUnknown checks that ciphertext of an unknown protocol stays unrecognized, however long it is.
func TestNoiseStaysUnknown(t *testing.T) {
	s := dissect.New()
	b := noise(400 * 1448)
	for i := range 400 {
		for side := range dissect.Side(2) {
			s.Data(side, int64(i*1448), b[i*1448:(i+1)*1448], -1, 0)
		}
	}
	s.Conclude()
	for side := range dissect.Side(2) {
		if kind, protocol := s.Kind(side); kind != dissect.KindUnreadable || protocol != "" {
			t.Errorf("side %d: kind %d %q", side, kind, protocol)
		}
	}
	if s.TLS() != nil {
		t.Error("noise was taken for TLS")
	}
}

// TestOneHeaderIsNoTLS checks that a connection is not called TLS if its bytes only look like the header of one record.
func TestOneHeaderIsNoTLS(t *testing.T) {
	s := dissect.New()
	s.Data(dissect.Originator, 0, append([]byte{23, 3, 3, 0, 20}, noise(200)...), -1, 0)
	s.Data(dissect.Originator, 205, noise(500), -1, 0)
	if kind, _ := s.Kind(dissect.Originator); kind != dissect.KindUnreadable || s.TLS() != nil {
		t.Errorf("kind %d, %+v", kind, s.TLS())
	}
}
