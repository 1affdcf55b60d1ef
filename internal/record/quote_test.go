package record

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestTimesSortAsText(t *testing.T) {
	var last string
	for _, ns := range []int64{0, 1, 10, 999_999_999, int64(time.Second), 1<<62 + 1} {
		text := string(Time(ns).appendText(nil))
		if text <= last {
			t.Errorf("%s sorts before %s", text, last)
		}
		last = text
	}
}

// FuzzQuoted: encoding/json reads any quoted string as the original one, and the text contains nothing
// that a terminal interprets.
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
				t.Errorf("%q contains %U", b, r)
			}
		}
	})
}
