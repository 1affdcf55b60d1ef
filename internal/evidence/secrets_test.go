package evidence_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// planted is a secret and the conversation in which it is sent.
type planted struct {
	where, secret string
	talk          []capturetest.Chunk
}

// secrets returns conversations with a secret each. All secrets differ.
func secrets(t *testing.T) []planted {
	t.Helper()
	var all []planted
	next := 0
	add := func(where string, talk func(secret string) []capturetest.Chunk) {
		next++
		secret := fmt.Sprintf("Zq%02d-wK7vXj%02d", next, 99-next)
		all = append(all, planted{where, secret, talk(secret)})
	}
	in64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	ok := server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	header := func(format string) func(string) []capturetest.Chunk {
		return func(s string) []capturetest.Chunk {
			return []capturetest.Chunk{client("GET / HTTP/1.1\r\nHost: a.test\r\n" + strings.ReplaceAll(format, "SECRET", s) + "\r\n\r\n"), ok}
		}
	}
	line := func(format string, more ...capturetest.Chunk) func(string) []capturetest.Chunk {
		return func(s string) []capturetest.Chunk {
			return append([]capturetest.Chunk{client(strings.ReplaceAll(format, "SECRET", s))}, more...)
		}
	}

	add("HTTP Basic", func(s string) []capturetest.Chunk { return header("Authorization: Basic " + in64("alice:"+s))(s) })
	add("HTTP Bearer", header("Authorization: Bearer SECRET"))
	add("HTTP cookie", header("Cookie: session=SECRET"))
	add("HTTP path", line("GET /reset/SECRET HTTP/1.1\r\nHost: a.test\r\n\r\n", ok))
	add("HTTP query", line("GET /a?token=SECRET HTTP/1.1\r\nHost: a.test\r\n\r\n", ok))
	add("HTTP absolute form", line("GET http://alice:SECRET@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", ok))
	add("userinfo of Host", line("GET / HTTP/1.1\r\nHost: alice:SECRET@a.test\r\n\r\n", ok))
	add("HTTP body", line("POST /login HTTP/1.1\r\nHost: a.test\r\nContent-Length: 28\r\n\r\npassword=SECRET&x=1", ok))
	add("body in its own segment", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{client("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 14\r\n\r\n"), client(s), ok}
	})
	add("HTTP response", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{client("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), server("HTTP/1.1 200 " + s + "\r\nSet-Cookie: a=" + s + "\r\nContent-Length: 14\r\n\r\n" + s)}
	})
	add("HTTP/2 headers", line("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x16\x01\x05\x00\x00\x00\x01\x82\x84\x86\x0f\x08\x0eSECRET", server("\x00\x00\x00\x04\x00\x00\x00\x00\x00")))
	add("SMTP AUTH", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{server("220 mail ESMTP\r\n"), client("EHLO a\r\n"), server("250 AUTH PLAIN\r\n"), client("AUTH PLAIN " + in64("\x00alice\x00"+s) + "\r\n"), server("235 ok\r\n")}
	})
	add("SMTP AUTH LOGIN", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{server("220 mail ESMTP\r\n"), client("EHLO a\r\n"), server("250 AUTH LOGIN\r\n"), client("AUTH LOGIN\r\n"), server("334 VXNlcm5hbWU6\r\n"), client(in64(s) + "\r\n"), server("235 ok\r\n")}
	})
	add("LDAP bind", line("\x30\x1d\x02\x01\x01\x60\x18\x02\x01\x03\x04\x04cn=a\x80\x0dSECRET", server("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00")))
	add("PostgreSQL password", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{client("\x00\x00\x00\x1e\x00\x03\x00\x00user\x00alice\x00database\x00x\x00\x00"), server("R\x00\x00\x00\x08\x00\x00\x00\x03"), client("p\x00\x00\x00\x12" + s + "\x00"), server("R\x00\x00\x00\x08\x00\x00\x00\x00")}
	})
	add("PostgreSQL query", line("Q\x00\x00\x00\x24SELECT 'SECRET' FROM t;\x00", server("T\x00\x00\x00\x06\x00\x00")))
	add("MySQL clear password", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{
			server("\x4a\x00\x00\x00\x0a8.0.33\x00\x08\x00\x00\x0012345678\x00\xff\xff\xff\x02\x00\xff\xdf\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00"),
			client("\x4c\x00\x00\x01\x85\xa6\xff\x19\x00\x00\x00\x01\xff" + strings.Repeat("\x00", 23) + "alice\x00\x00mysql_clear_password\x00"), server("\x01\x00\x00\x02\xfe"), client("\x0e\x00\x00\x03" + s + "\x00"),
		}
	})
	add("Redis AUTH", line("*2\r\n$4\r\nAUTH\r\n$13\r\nSECRET\r\n", server("+OK\r\n")))
	add("Redis AUTH in a line", line("AUTH SECRET\r\n", server("+OK\r\n")))
	add("Redis command", line("*3\r\n$13\r\nSECRET\r\n$1\r\na\r\n$1\r\nb\r\n", server("+OK\r\n")))
	add("FTP PASS", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{server("220 ftp\r\n"), client("USER alice\r\n"), server("331 password\r\n"), client("PASS " + s + "\r\n"), server("230 ok\r\n")}
	})
	add("POP3 PASS", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{server("+OK POP3\r\n"), client("USER alice\r\n"), server("+OK\r\n"), client("PASS " + s + "\r\n"), server("+OK\r\n")}
	})
	add("IMAP LOGIN", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{server("* OK IMAP4rev1\r\n"), client("a1 LOGIN alice " + s + "\r\n"), server("a1 OK\r\n")}
	})
	add("telnet password", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{server("\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27"), client("\xff\xfb\x18\xff\xfb\x20\xff\xfb\x23"), server("login: "), client("alice\r\n"), server("Password: "), client(s + "\r\n"), server("Welcome\r\n")}
	})
	add("MQTT password", line("\x10\x27\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02id\x00\x05alice\x00\x0eSECRET", server("\x20\x02\x00\x00")))
	add("unknown text", line("my dear server, the word of the day is SECRET, and it is long\n", server("thank you for the word of the day, my dear client\n")))
	add("unknown binary", func(s string) []capturetest.Chunk {
		return []capturetest.Chunk{client(strings.Repeat("\x00\x01\x02\x7f", 10) + s), server(s + strings.Repeat("\x00\x03", 40))}
	})
	add("UTF-16 of TDS", line("\x01\x01\x00\x40\x00\x00\x01\x00\x16\x00\x00\x00\x12\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"+wide("SELECT 'SECRET'")))
	all[len(all)-1].talk = line("\x01\x01\x00\x40\x00\x00\x01\x00\x16\x00\x00\x00\x12\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00" + wide("SELECT '"+all[len(all)-1].secret+"'"))("")

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		talks, err := capturetest.TLSTalk(version, capturetest.NotRequested, 1)
		if err != nil {
			t.Fatal(err)
		}
		for typ, name := range map[byte]string{20: "change_cipher_spec", 21: "alert", 22: "handshake", 23: "application_data", 24: "heartbeat"} {
			for _, long := range []bool{false, true} {
				add(fmt.Sprintf("a record %s of %s, long: %v", name, tls.VersionName(version), long), func(s string) []capturetest.Chunk {
					content := s
					if long {
						content = strings.Repeat("the customer is alice and the word is "+s+" ", 30)
					}
					r := string([]byte{typ, 3, 3, byte(len(content) >> 8), byte(len(content))}) + content
					return joined(talks[0].Chunks, []capturetest.Chunk{client(r), server(r), client(r)}).Chunks
				})
			}
		}
		add("plaintext after "+tls.VersionName(version), func(s string) []capturetest.Chunk {
			return joined(talks[0].Chunks, header("Authorization: Bearer SECRET")(s)).Chunks
		})
	}
	return all
}

func wide(s string) string {
	var b strings.Builder
	for _, c := range utf16.Encode([]rune(s)) {
		b.WriteByte(byte(c))
		b.WriteByte(byte(c >> 8))
	}
	return b.String()
}

// reveals reports whether a file contains a secret or a part of it of five bytes: as it is, in UTF-16, in hexadecimal, or in base64.
func reveals(file []byte, secret string) bool {
	const part = 5
	texts := [][]byte{bytes.ToLower(file)}
	for _, run := range base64Run.FindAll(file, -1) {
		for skip := range min(4, len(run)) {
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				text := bytes.TrimRight(run[skip:], "=")
				decoded := make([]byte, len(text))
				n, _ := encoding.Decode(decoded, text)
				texts = append(texts, bytes.ToLower(decoded[:n]))
			}
		}
	}
	for i := range len(secret) - part + 1 {
		s := strings.ToLower(secret[i : i+part])
		for _, form := range []string{s, wide(s), hex.EncodeToString([]byte(s))} {
			if slices.ContainsFunc(texts, func(text []byte) bool { return bytes.Contains(text, []byte(form)) }) {
				return true
			}
		}
	}
	return false
}

var base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{8,}=*`)

// TestNoSecrets plants secrets in conversations of many protocols. No file contains one of them, or a part of one.
func TestNoSecrets(t *testing.T) {
	norace(t)
	filter := tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	files, seen, where := 0, map[string]bool{}, secrets(t)
	check := func(name, secret string, packets []flow.Packet, filtered bool) {
		for _, ends := range []bool{false, true} {
			for _, x := range observed(packets, ends, filtered) {
				files++
				seen[name] = true
				if reveals(x.file, secret) {
					t.Errorf("%s: the evidence of %s contains %q", name, x.rule, secret)
				}
			}
		}
	}
	for _, p := range where {
		for _, mss := range []int{1448, 1, 3, 9, 33000} {
			packets := packetsOf((&capturetest.Conversation{Chunks: p.talk}).Packets(capturetest.Options{MSS: mss}))
			check(p.where, p.secret, packets, false)
			check(p.where, p.secret, truncated(filter, packets), true)
		}
		if !seen[p.where] {
			t.Errorf("%s: no evidence was written", p.where)
		}
	}
	for _, l := range capturetest.Logins() {
		for _, mss := range []int{1448, 3} {
			check(l.Protocol+" "+l.Name, capturetest.Secret, packetsOf(l.Talk.Packets(capturetest.Options{MSS: mss})), false)
		}
	}
	t.Logf("%d secrets, in %d places each with segments of 5 sizes, and %d logins; 0 expected in %d files of evidence", len(where), len(where), len(capturetest.Logins()), files)
}

// TestReveals: the search of TestNoSecrets finds secrets.
func TestReveals(t *testing.T) {
	const secret = "Zq01-wK7vXj98"
	for _, text := range []string{
		secret, "abc" + secret[3:9], strings.ToUpper(secret), wide("a " + secret), hex.EncodeToString([]byte(secret)),
		"Basic " + base64.StdEncoding.EncodeToString([]byte("a:"+secret)), base64.URLEncoding.EncodeToString([]byte("\x00ab\x00" + secret)),
	} {
		if !reveals([]byte("\x00\x01"+text+"\x02"), secret) {
			t.Errorf("not found in %q", text)
		}
	}
	if reveals([]byte("nothing of the kind, xxxxxxxxxxxxxxxx"), secret) {
		t.Error("found in a text without it")
	}
}
