package dissect_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// ssh1 returns a packet of SSH 1 of type typ, with data that begins with the byte first.
func ssh1(typ, first byte) string {
	return "\x00\x00\x00\x0c" + "\x00\x00\x00\x00" + string([]byte{typ, first}) + "keykey" + "crc!"
}

// TestSSH checks that the banner and the key exchange of one end show SSH. A banner is not enough, and other bytes after a banner are
// recognized like first bytes.
func TestSSH(t *testing.T) {
	const banner = capturetest.SSHBanner
	kex := string(capturetest.SSHKexInit())
	request := "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	damaged := func(at int, with byte) string {
		b := []byte(kex)
		b[at] = with
		return string(b)
	}
	for _, c := range []struct {
		name, bytes string
		kind        dissect.Kind
		protocol    string
	}{
		{"banner and key exchange", banner + kex, dissect.KindEncrypted, "ssh"},
		{"and what follows it", banner + kex + string(noise(400)), dissect.KindEncrypted, "ssh"},
		{"a line without a carriage return", "SSH-2.0-x comment\n" + kex, dissect.KindEncrypted, "ssh"},
		{"a message to ignore before it", banner + "\x00\x00\x00\x0c\x0a\x02" + string(make([]byte, 10)) + kex, dissect.KindEncrypted, "ssh"},
		{"SSH 1.99", "SSH-1.99-x\n" + kex, dissect.KindEncrypted, "ssh"},
		{"SSH 1, the server", "SSH-1.5-x\n" + ssh1(2, 7), dissect.KindEncrypted, "ssh"},
		{"SSH 1, the client", "SSH-1.5-x\n" + ssh1(3, 3), dissect.KindEncrypted, "ssh"},
		{"SSH 1 without a cipher", "SSH-1.5-x\n" + ssh1(3, 0) + string(noise(40)), dissect.KindUnreadable, ""},
		{"banner alone", banner, dissect.KindGreeting, "ssh"},
		{"half a key exchange", banner + kex[:30], dissect.KindGreeting, "ssh"},
		{"a request after the banner", banner + request, dissect.KindPlain, "http"},
		{"text after the banner", banner + "this is text, and long enough to be known for it\r\n", dissect.KindText, ""},
		{"noise after the banner", banner + string(noise(40)), dissect.KindUnreadable, ""},
		{"a packet of another message", banner + damaged(5, 21) + string(noise(40)), dissect.KindUnreadable, ""},
		{"a length that is no multiple of 8", banner + damaged(3, kex[3]+1) + string(noise(40)), dissect.KindUnreadable, ""},
		{"a list longer than its packet", banner + damaged(23, 0xff) + string(noise(40)), dissect.KindUnreadable, ""},
		{"a list that is no text", banner + kex[:30] + string(noise(600)), dissect.KindUnreadable, ""},
	} {
		for _, size := range []int{1, 3, 7, 5000} {
			s := dissect.New()
			at := 0
			for piece := range slices.Chunk([]byte(c.bytes), size) {
				s.Data(dissect.Originator, int64(at), piece, 0, 0)
				at += len(piece)
			}
			s.Conclude()
			if kind, protocol := s.Kind(dissect.Originator); kind != c.kind || protocol != c.protocol {
				t.Errorf("%s in pieces of %d: kind %d %q, want %d %q", c.name, size, kind, protocol, c.kind, c.protocol)
			}
		}
	}
}

// TestSSHThatWasNotSeenWhole checks that the beginning of a truncated key exchange is enough, and that SSH is not recognized if bytes
// before the key exchange are missing.
func TestSSHThatWasNotSeenWhole(t *testing.T) {
	kex := capturetest.SSHKexInit()
	begin := func() *dissect.Session {
		s := dissect.New()
		s.Data(dissect.Originator, 0, []byte(capturetest.SSHBanner), 0, 0)
		return s
	}
	at := int64(len(capturetest.SSHBanner))
	s := begin()
	s.Data(dissect.Originator, at, kex[:60], 0, 0)
	s.Truncated(dissect.Originator, at+int64(len(kex)), int64(len(kex))-60, false)
	if kind, _ := s.Kind(dissect.Originator); kind != dissect.KindEncrypted {
		t.Errorf("truncated: kind %d", kind)
	}
	s = begin()
	s.Data(dissect.Originator, at+100, kex, 0, 100)
	if kind, _ := s.Kind(dissect.Originator); kind == dissect.KindEncrypted {
		t.Error("lost: encrypted")
	}
	s = begin()
	s.Data(dissect.Originator, at+100, []byte("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"), 0, 100)
	if kind, _ := s.Kind(dissect.Originator); kind != dissect.KindPlain {
		t.Errorf("a request after the loss: kind %d", kind)
	}
}

// FuzzSSH checks that bytes after a banner give the same result in one piece and in two.
func FuzzSSH(f *testing.F) {
	kex := capturetest.SSHKexInit()
	f.Add(kex, 10)
	f.Add(append([]byte("\x00\x00\x00\x0c\x0a\x02"), kex...), 5)
	f.Add([]byte(ssh1(2, 7)), 9)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		for _, banner := range []string{capturetest.SSHBanner, "SSH-1.5-x\n"} {
			whole := append([]byte(banner), b...)
			if cut < 0 || cut > len(b) || bytes.Contains(b, []byte("\x16\x03")) || len(whole) > 4<<10 {
				return
			}
			a, two := dissect.New(), dissect.New()
			a.Data(dissect.Originator, 0, whole, 0, 0)
			n := len(banner) + cut
			two.Data(dissect.Originator, 0, whole[:n], 0, 0)
			two.Data(dissect.Originator, int64(n), whole[n:], 0, 0)
			x, _ := a.Kind(dissect.Originator)
			y, _ := two.Kind(dissect.Originator)
			if a.Failed() || two.Failed() || (x == dissect.KindEncrypted) != (y == dissect.KindEncrypted) {
				t.Errorf("kind %d in one piece, %d in two", x, y)
			}
		}
	})
}
