package finding

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestEncoder(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(e *encoder)
		want  string
	}{
		{"nothing", func(e *encoder) {}, `{}`},
		{"absent rather than null", func(e *encoder) {
			e.str("a", "")
			e.list("b", nil)
			e.addr("c", netip.Addr{})
			e.yes("d", false)
			e.text("e", nil)
			e.ports("f", nil)
			e.addrs("g", nil)
		}, `{}`},
		{"empty objects go", func(e *encoder) {
			e.open("a")
			e.open("b")
			e.close()
			e.close()
			e.uint("c", 0)
			e.open("d")
			e.close()
			e.bool("e", false)
		}, `{"c":0,"e":false}`},
		{"objects", func(e *encoder) {
			e.open("a")
			e.open("b")
			e.int("c", -1)
			e.close()
			e.str("d", "x")
			e.open("e")
			e.close()
			e.close()
			e.list("f", []string{"g", ""})
		}, `{"a":{"b":{"c":-1},"d":"x"},"f":["g",""]}`},
		{"addresses", func(e *encoder) {
			e.addr("a", netip.MustParseAddr("fe80::1%eth0"))
			e.addrs("b", []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("::1")})
			e.ports("c", []uint16{1, 65535})
		}, `{"a":"fe80::1","b":["10.0.0.1","::1"],"c":[1,65535]}`},
		{"times", func(e *encoder) {
			e.time("a", 0)
			e.time("b", 1700000000123456789)
			e.time("c", -1)
			e.seconds("d", 1700000000)
			e.seconds("e", 1<<50)
			e.seconds("f", -1<<50)
		}, `{"a":"1970-01-01T00:00:00.000000000Z","b":"2023-11-14T22:13:20.123456789Z","c":"1969-12-31T23:59:59.999999999Z","d":"2023-11-14T22:13:20Z"}`},
	} {
		var e encoder
		e.reset()
		c.write(&e)
		e.end()
		if got := string(e.buf); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestTimesSortAsText(t *testing.T) {
	var last string
	for _, ns := range []int64{0, 1, 10, 999_999_999, int64(time.Second), 1<<62 + 1} {
		text := string(appendTime(nil, ns))
		if text <= last {
			t.Errorf("%s sorts before %s", text, last)
		}
		last = text
	}
}

// FuzzQuoted: whatever a string holds, encoding/json reads the same, and nothing in the
// text moves a terminal.
func FuzzQuoted(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "\x00\x1b[31m\x7f", "\u0085\u200e\u202e\u2028", "é世\U0001f600", "\U000e0041\U0010ffff", "\xff\xc0\x80a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendQuoted(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); got != want && strings.ReplaceAll(got, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Errorf("%q became %q", s, got)
		}
		for _, r := range string(b) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q holds %U", b, r)
			}
		}
	})
}
