package pcapfile

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

// TestForeignFormats: a file of each known foreign format is refused with its own advice, even inside gzip, both as a capture and where
// records may be given too. A file of records is never taken for one.
func TestForeignFormats(t *testing.T) {
	for _, f := range foreignFormats {
		if len(f.signature) > foreignBytes {
			t.Errorf("%q: foreignBytes is %d", f.signature, foreignBytes)
		}
		file := f.signature + strings.Repeat("\x01", 50)
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write([]byte(file)); err != nil {
			t.Fatal(err)
		}
		w.Close()
		for _, content := range []string{file, zipped.String()} {
			if _, err := NewReader(strings.NewReader(content)); err == nil || err.Error() != f.advice {
				t.Errorf("%q: %v", f.signature, err)
			}
			if _, captured, err := Sniff(strings.NewReader(content)); captured || err == nil || err.Error() != f.advice {
				t.Errorf("%q: captured %v, %v", f.signature, captured, err)
			}
		}
	}
	if _, captured, err := Sniff(strings.NewReader(`{"@timestamp":"2026-01-01T00:00:00Z"}`)); captured || err != nil {
		t.Errorf("records: captured %v, %v", captured, err)
	}
}
