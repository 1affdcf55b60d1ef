package names

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestEscapeJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": "Grün 漢字"}`:             `{"a": "Grün 漢字"}`,
		"{\"a\":\n\t\"\u202e\u009b\"}": "{\"a\":\n\t\"\\u202e\\u009b\"}",
		"\"\U000e0001x\x7f\"":          `"\udb40\udc01x\u007f"`,
		"\"\xff\"":                     `"\ufffd"`,
	} {
		got := EscapeJSON([]byte(in))
		if string(got) != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		var before, after any
		if err := json.Unmarshal([]byte(in), &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("%q: %v, %v, %v", in, err, before, after)
		}
	}
}
