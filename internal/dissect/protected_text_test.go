package dissect

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// sealedRecords returns a session whose originator has sent records of application data with these contents, in pieces of size bytes.
func sealedRecords(size int, contents ...string) *Session { return recordsOf(23, size, contents...) }

// recordsOf does the same as sealedRecords for records of type typ. A record of application data comes first.
func recordsOf(typ byte, size int, contents ...string) *Session {
	var wire []byte
	if typ != 23 {
		wire = append([]byte{23, 3, 3, 0, 60}, bytes.Repeat([]byte{0xa7}, 60)...)
	}
	for _, c := range contents {
		wire = append(append(wire, typ, 3, 3, byte(len(c)>>8), byte(len(c))), c...)
	}
	s := New()
	for at := 0; at < len(wire); at += size {
		s.Data(Originator, int64(at), wire[at:min(at+size, len(wire))], -1, 0)
	}
	return s
}

func random(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// TestTextInRecords checks that text in records is found. An explicit nonce or an initialization vector may come before the text, and a
// message authentication code after it. The text may continue across records and segments.
func TestTextInRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := "GET /a HTTP/1.1\r\nHost: example.org\r\nX: y\r\n"
	for name, c := range map[string]struct {
		contents []string
		want     bool
	}{
		"text alone":                        {[]string{text}, true},
		"after a nonce":                     {[]string{random(r, 8) + text}, true},
		"after a vector, before a MAC":      {[]string{random(r, 16) + text + random(r, 32)}, true},
		"after ciphertext":                  {[]string{random(r, 300), random(r, 40), text}, true},
		"in short records":                  {[]string{"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"}, true},
		"in UTF-8":                          {[]string{strings.Repeat("é", 40)}, true},
		"short text":                        {[]string{text[:39]}, false},
		"short text in UTF-8":               {[]string{strings.Repeat("é", 31)}, false},
		"not UTF-8":                         {[]string{strings.Repeat("\xe9", 100)}, false},
		"beyond the part that is read":      {[]string{strings.Repeat("\xe9", readableHead) + text}, false},
		"parted by what is not read":        {[]string{strings.Repeat("\xe9", readableHead-20) + text[:30], text[30:]}, false},
		"parted by ciphertext":              {[]string{text[:30], random(r, 3) + "\x00", text[30:]}, false},
		"ciphertext":                        {[]string{random(r, 3000), random(r, 3000), random(r, 3000)}, false},
		"a run in the last bytes of a head": {[]string{strings.Repeat("\xe9", readableHead-40) + text}, true},
	} {
		for _, size := range []int{1, 7, 1 << 16} {
			if s := sealedRecords(size, c.contents...); s.tls == nil || s.tls.Readable != c.want {
				t.Errorf("%s in pieces of %d: readable %v", name, size, s.tls != nil && s.tls.Readable)
			}
		}
	}
}

// TestTextInRecordsOfEveryType checks that text is found in protected records of every type.
func TestTextInRecordsOfEveryType(t *testing.T) {
	text := strings.Repeat("the merger is on friday, do not tell anyone ", 14)
	for _, typ := range []byte{20, 21, 23, 24} {
		if s := recordsOf(typ, 1400, text, text); s.tls == nil || !s.tls.Readable {
			t.Errorf("type %d", typ)
		}
	}
	for _, typ := range []byte{20, 21, 22, 23, 24} {
		wire := append([]byte{typ, 3, 3, byte(len(text) >> 8), byte(len(text))}, text...)
		for _, state := range []tailState{tailFound, tailSure} {
			f := Tail{sides: [2]tailSide{{state: state}}}
			if f.Quiet(Originator, wire, 0) {
				t.Errorf("type %d, state %d: quiet", typ, state)
			}
		}
		epoch := []byte{typ, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 7, byte(len(text) >> 8), byte(len(text))}
		if f := (Tail{over: tlsmsg.OverDTLS}); f.QuietDatagram(Originator, append(epoch, text...)) {
			t.Errorf("type %d of DTLS: quiet", typ)
		}
	}
}

// TestTextInRecordsWithAGap checks that a gap ends a run.
func TestTextInRecordsWithAGap(t *testing.T) {
	s := sealedRecords(1<<16, random(rand.New(rand.NewPCG(3, 4)), 100))
	wire := append([]byte{23, 3, 3, 0, 200}, strings.Repeat("a", 30)...)
	s.Data(Originator, 105, wire, -1, 0)
	s.Data(Originator, 105+35+50, []byte(strings.Repeat("a", 30)), -1, 50)
	if s.tls.Readable {
		t.Error("a run over a gap counts")
	}
}

// TestCiphertextIsNoText checks that ciphertext is not taken for text, as the bounds promise.
func TestCiphertextIsNoText(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	longest := 0
	for range 20000 {
		var run textRun
		b := random(r, readableHead)
		if run.add([]byte(b)) {
			t.Fatalf("%q", b)
		}
		n := 0
		for _, c := range []byte(b) {
			if n++; c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
				n = 0
			}
			longest = max(longest, n)
		}
	}
	t.Logf("the longest run of text in 20000 records has %d bytes", longest)
}

// TestTextInALaterRecord checks that text at the start of a record ends the TLS of a judged connection, and that ciphertext does not.
func TestTextInALaterRecord(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	record := func(content string) string {
		return string([]byte{23, 3, 3, byte(len(content) >> 8), byte(len(content))}) + content
	}
	text := strings.Repeat("GET /a HTTP/1.1\r\nHost: example.org\r\n", 3)
	for name, c := range map[string]struct {
		stream string
		quiet  bool
	}{
		"ciphertext":                    {record(random(r, 300)) + record(random(r, 20)) + record(random(r, 5000)), true},
		"text":                          {record(random(r, 300)) + record(text), false},
		"after a nonce":                 {record(random(r, 8) + text), false},
		"after a vector, before a MAC":  {record(random(r, 16) + text + random(r, 32)), false},
		"in short records":              {record(text[:30]) + record(text[:30]), false},
		"short records with ciphertext": {record(text[:30]) + record("\x00"+random(r, 20)) + record(text[:30]), true},
		"short text":                    {record(text[:39]), true},
		"an empty record":               {record("") + record(random(r, 50)), true},
	} {
		for _, state := range []tailState{tailFound, tailSure} {
			f := Tail{sides: [2]tailSide{{state: state}}}
			if f.Quiet(Originator, []byte(c.stream), 0) != c.quiet {
				t.Errorf("%s, state %d: quiet %v", name, state, !c.quiet)
			}
		}
	}
	udp := Tail{over: tlsmsg.OverDTLS}
	dtls := func(content string) []byte {
		return append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 7, byte(len(content) >> 8), byte(len(content))}, content...)
	}
	if udp.QuietDatagram(Originator, dtls(random(r, 8)+text)) || !udp.QuietDatagram(Originator, dtls(random(r, 300))) || udp.QuietDatagram(Originator, append([]byte{0x2e, 1, 2, 0, 90}, text...)) {
		t.Error("datagrams")
	}
	for range 20000 {
		b := random(r, 200)
		if startsWithText([]byte(b)) {
			t.Fatalf("%q", b)
		}
	}
}

// TestTextRunSkips checks that textRun.add has the same result and state as textRun.each, which examines every byte. The only difference is
// that add forgets a run of a few bytes at the end of a record.
func TestTextRunSkips(t *testing.T) {
	r := rand.New(rand.NewPCG(40, 64))
	found := 0
	for range 20000 {
		var fast, slow textRun
		for range 1 + r.IntN(4) {
			b := make([]byte, r.IntN(200))
			for i := range b {
				switch r.IntN(40) {
				case 0:
					b[i] = byte(r.Uint32())
				case 1, 2, 3:
					b[i] = "äé€𝄞"[r.IntN(11)]
				default:
					b[i] = byte(' ' + r.IntN(95))
				}
			}
			if r.IntN(2) == 0 {
				for i := range b {
					b[i] = byte(r.Uint32())
				}
			}
			got, want := fast.add(b), slow.each(b)
			if n := slow.all + slow.pending; fast == (textRun{}) && n < readableTail && n < len(b) {
				slow.reset()
			}
			if got != want || !got && fast != slow {
				t.Fatalf("% x: %t %+v, byte by byte %t %+v", b, got, fast, want, slow)
			}
			if got {
				found++
				break
			}
		}
	}
	if found < 1000 || found > 19000 {
		t.Errorf("%d of 20000 hold text: too few of one kind", found)
	}
}

func BenchmarkTextRun(b *testing.B) {
	record := []byte(random(rand.New(rand.NewPCG(1, 2)), readableHead))
	for name, add := range map[string]func(*textRun, []byte) bool{"skipping": (*textRun).add, "each": (*textRun).each} {
		b.Run(name, func(b *testing.B) {
			var r textRun
			for b.Loop() {
				add(&r, record)
			}
		})
	}
}
