package dissect_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// afterLength returns a length of four bytes and b.
func afterLength(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

const (
	gssRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	saslBind   = "0\x1c\x02\x01\x01`\x17\x02\x01\x03\x04\x00\xa3\x10\x04\x0aGSS-SPNEGO\x04\x02ab"
	saslDone   = "0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00\x04\x00"
	ldapSearch = "0\x25\x02\x01\x02c\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectclass0\x00"
)

// TestSealed checks that a connection is encrypted after its protocol has negotiated encryption of its own, and plaintext if later messages
// are readable.
func TestSealed(t *testing.T) {
	sealed := string(afterLength(noise(120)))
	for name, c := range map[string]struct {
		talk []capturetest.Chunk
		want dissect.Kind
	}{
		"postgresql with GSSAPI encryption": {[]capturetest.Chunk{client(gssRequest), server("G"), client(string(afterLength(noise(3000)))), server(sealed), client(sealed)}, dissect.KindEncrypted},
		"postgresql, refused": {[]capturetest.Chunk{
			client(gssRequest), server("N"), client("\x00\x00\x00\x20\x00\x03\x00\x00user\x00me\x00database\x00shop\x00\x00"), server("R\x00\x00\x00\x08\x00\x00\x00\x00"),
		}, dissect.KindPlain},
		"postgresql, one end only": {[]capturetest.Chunk{client(gssRequest), server("G"), client(sealed)}, dissect.KindPlain},
		"ldap sealed":              {[]capturetest.Chunk{client(saslBind), server(saslDone), client(sealed), server(sealed + sealed)}, dissect.KindEncrypted},
		"ldap with a bind only":    {[]capturetest.Chunk{client(saslBind), server(saslDone), client(ldapSearch), server(saslDone)}, dissect.KindPlain},
		"ldap signed with NTLM": {[]capturetest.Chunk{
			client(saslBind), server(saslDone), client(string(afterLength(append(noise(16), ldapSearch...)))), server(string(afterLength(append(noise(16), saslDone...)))),
		}, dissect.KindPlain},
		"ldap signed with DIGEST-MD5": {[]capturetest.Chunk{
			client(saslBind), server(saslDone), client(string(afterLength(append([]byte(ldapSearch), noise(16)...)))), server(string(afterLength(append([]byte(saslDone+saslDone), noise(16)...)))),
		}, dissect.KindPlain},
		"ldap signed with Kerberos": {[]capturetest.Chunk{
			client(saslBind), server(saslDone), client(string(afterLength(append([]byte("\x05\x04\x00\xff\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), noise(60)...)))), server(sealed),
		}, dissect.KindPlain},
	} {
		for _, size := range []int{1 << 16, 1400} {
			s := dissect.New()
			play(s, &capturetest.Conversation{Chunks: c.talk}, size)
			kind, _ := s.Kind(dissect.Originator)
			other, _ := s.Kind(dissect.Responder)
			if kind != c.want || other != c.want || s.Sealed() != (c.want == dissect.KindEncrypted) {
				t.Errorf("%s, segments of %d: kinds %d and %d, sealed %v", name, size, kind, other, s.Sealed())
			}
		}
	}
}

// TestTunnels checks that a connection is judged by the bytes in its tunnel, not by the protocol that opened the tunnel.
func TestTunnels(t *testing.T) {
	openings := map[string][]capturetest.Chunk{
		"http": {client("CONNECT a:22 HTTP/1.1\r\nHost: a\r\n\r\n"), server("HTTP/1.1 200 Connection established\r\n\r\n")},
		"http at the second try": {
			client("CONNECT a:22 HTTP/1.1\r\nHost: a\r\n\r\n"), server("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno\n"),
			client("CONNECT a:22 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: NTLM c2VjcmV0\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n"),
		},
		"socks5":               {client("\x05\x01\x00"), server("\x05\x00"), client("\x05\x01\x00\x03\x0bexample.org\x00\x16"), server("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")},
		"socks5 with password": {client("\x05\x01\x02"), server("\x05\x02"), client("\x01\x02me\x02pw"), server("\x01\x00"), client("\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x16"), server("\x05\x00\x00\x03\x01x\x00\x16")},
		"socks4":               {client("\x04\x01\x00\x16\x0a\x00\x00\x01me\x00"), server("\x00\x5a\x01\xbb\x0a\x00\x00\x01")},
	}
	kex := func(banner string) string { return banner + "\r\n" + string(capturetest.SSHKexInit()) }
	for name, inside := range map[string]struct {
		talk     []capturetest.Chunk
		kind     dissect.Kind
		protocol string
	}{
		"ssh, the server first": {[]capturetest.Chunk{server(kex("SSH-2.0-OpenSSH_9.6")), client(kex("SSH-2.0-OpenSSH_9.7"))}, dissect.KindEncrypted, "ssh"},
		"http":                  {[]capturetest.Chunk{client("GET / HTTP/1.1\r\nHost: b\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n")}, dissect.KindPlain, "http"},
		"smtp":                  {[]capturetest.Chunk{server("220 a ESMTP\r\n"), client("EHLO b\r\n")}, dissect.KindPlain, "smtp"},
		"what cannot be read":   {[]capturetest.Chunk{client(string(noise(100))), server(string(noise(200)))}, dissect.KindUnreadable, ""},
	} {
		for opening, before := range openings {
			for _, joined := range []bool{false, true} {
				talk := follow(before, &capturetest.Conversation{Chunks: inside.talk}).Chunks
				if n := len(before); joined && inside.talk[0].FromServer && opening == "http" {
					talk[n-1].Data = append(append([]byte{}, talk[n-1].Data...), talk[n].Data...)
					talk = append(talk[:n], talk[n+1:]...)
				}
				s := dissect.New()
				play(s, &capturetest.Conversation{Chunks: talk}, 1<<16)
				for side := range dissect.Side(2) {
					if kind, protocol := s.Kind(side); kind != inside.kind || protocol != inside.protocol {
						t.Errorf("%s through %s (joined %v): side %d is of kind %d %q", name, opening, joined, side, kind, protocol)
					}
				}
			}
		}
	}
}

// TestCurve checks ZeroMQ with CURVE, which sends a greeting in plaintext and then encrypts (RFC 26). The connection must not be called
// plaintext, and its verdict must not settle.
func TestCurve(t *testing.T) {
	greeting := "\xff" + strings.Repeat("\x00", 8) + "\x7f\x03\x00CURVE" + strings.Repeat("\x00", 15+32)
	command := func(name string, zeros, box int) string {
		body := string(byte(len(name))) + name + strings.Repeat("\x00", zeros) + string(noise(box))
		return "\x04" + string(byte(len(body))) + body
	}
	talk := []capturetest.Chunk{
		client(greeting), server(greeting), client(command("HELLO", 74, 120)), server(command("WELCOME", 0, 160)), client(command("INITIATE", 0, 220)), server(command("READY", 0, 60)),
	}
	for range 6 {
		talk = append(talk, client("\x00"+command("MESSAGE", 0, 90)[1:]), server("\x00"+command("MESSAGE", 0, 200)[1:]))
	}
	for _, size := range []int{1 << 16, 10} {
		s := dissect.New()
		play(s, &capturetest.Conversation{Chunks: talk}, size)
		for side := range dissect.Side(2) {
			if kind, protocol := s.Kind(side); kind != dissect.KindUnreadable && kind != dissect.KindNone {
				t.Errorf("segments of %d: side %d is of kind %d %q", size, side, kind, protocol)
			}
		}
	}
}
