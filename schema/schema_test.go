package schema

import (
	"bytes"
	"compress/gzip"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the compressed schema anew")

// TestText: the compressed schema is the schema.
func TestText(t *testing.T) {
	if *update {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(JSON); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("record.schema.json.gz", b.Bytes(), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
		compressed = b.Bytes()
	}
	if text, err := Text(); err != nil || text != string(JSON) {
		t.Errorf("record.schema.json.gz is not record.schema.json: run go test ./schema -update (%v)", err)
	}
}
