package protocols

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// samples are first bytes of protocols, in addition to capturetest.ProtocolSamples.
var samples = []string{
	"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", HTTP2Preface, "SSH-2.0-x\r\n",
	"\x00\x00\x00\x08\x04\xd2\x16\x2f", "S", "G", "R\x00\x00\x00\x08\x00\x00\x00\x00", "Q\x00\x00\x00\x0dSELECT 1\x00",
	"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00abcdefgh\x00", "\x09\x00\x00\x00\x03SELECT 1",
	"EHLO a\r\n", "220 a ESMTP\r\n", "LHLO a\r\n", "* OK IMAP ready\r\n", "+OK POP3 ready\r\n", "220 FTP ready\r\n", "200 NNTP ready\r\n",
	"\"IMPLEMENTATION\" \"x\"\r\n", "OK\r\n", "\x05(\x00\x00\x05\x00\x00\x00((((((((", "* ACAP (STARTTLS)\r\n", "<stream:stream", ":irc 001 a\r\n", "NICK a\r\n",
	"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00", "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
	"\x00\x00\x00\x14\x00\x12\x00\x03\x00\x00\x00\x01\x00\x03tap\x00\x00\x00\x00\x00\x00\x00", "AMQP\x00\x00\x09\x01", "\x08\x00\x00\x00\x00\x00\x00\xce",
	"INFO {\"server_id\":1}\r\n", "\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc", "\x20\x02\x00\x00", "*1\r\n$4\r\nPING\r\n", "+PONG\r\n",
	"set key 0 60 5\r\n", "VALUE key1 0 1\r\n", "\x05\x01\x00", "\x05\x00", "\x04\x01\x01\xbb\x0a\x00\x00\x01me\x00", "\x00\x5a\x01\xbb\x0a\x00\x00\x01",
	"\x00\x11\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01",
}

// consistent checks that each recognizer that matches b has the first byte of b in its list of first bytes.
func consistent(t *testing.T, b []byte) {
	t.Helper()
	if len(b) == 0 {
		return
	}
	for i := range TCP {
		r := &TCP[i]
		a := max(r.Client(b), r.Server(b))
		if a > More && !StartingWith(b[0]).Has(i) {
			t.Errorf("%s returns %d for %q, whose first byte is not in its list", r.Protocol, a, b)
		}
	}
}

// TestFirstBytes checks that the index by first byte finds every recognizer that matches.
func TestFirstBytes(t *testing.T) {
	all := slices.Clone(samples)
	for _, c := range capturetest.ProtocolSamples {
		all = append(all, c.Client, c.Server)
	}
	for _, sample := range slices.Clone(all) {
		all = append(all, strings.ToLower(sample), strings.ToUpper(sample))
	}
	for _, sample := range all {
		b := []byte(sample)
		if len(b) == 0 {
			continue
		}
		for c := range 256 {
			b[0] = byte(c)
			for n := 1; n <= len(b); n++ {
				consistent(t, b[:n])
			}
		}
	}
	if len(TCP) > maxRecognizers {
		t.Errorf("%d recognizers, at most %d fit in a Set", len(TCP), maxRecognizers)
	}
}

// FuzzRecognizers passes any bytes to each recognizer.
func FuzzRecognizers(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	for _, c := range capturetest.ProtocolSamples {
		f.Add([]byte(c.Client))
		f.Add([]byte(c.Server))
	}
	f.Fuzz(func(t *testing.T, b []byte) { consistent(t, b) })
}

func TestSet(t *testing.T) {
	var s Set
	for _, i := range []int{0, 5, 63, 64, 127} {
		s.Add(i)
	}
	var got []int
	for i := s.Next(0); i >= 0; i = s.Next(i + 1) {
		got = append(got, i)
	}
	if len(got) != 5 || got[2] != 63 || got[4] != 127 || s.Has(1) || !s.Has(64) {
		t.Errorf("%v", got)
	}
}
