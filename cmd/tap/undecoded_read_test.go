package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// TestNothingButUndecoded: if no packet of a capture is decoded, both kinds of output report this.
func TestNothingButUndecoded(t *testing.T) {
	sctp := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 32, 0, 1, 0, 0, 64, 132, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, make([]byte, 12)...)
	var capture bytes.Buffer
	file := filepath.Join(t.TempDir(), "sctp.pcap")
	frames := []capturetest.Frame{{Time: captureStart, Data: sctp}, {Time: captureStart, Data: sctp}}
	if err := errors.Join(capturetest.WritePcap(&capture, frames), os.WriteFile(file, capture.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"json", "text"} {
		var stdout, stderr strings.Builder
		status, err := read(t.Context(), []string{"--output=" + output, file}, streams{strings.NewReader(""), &stdout, &stderr})
		printed := map[string]*strings.Builder{"json": &stderr, "text": &stdout}[output].String()
		if err != nil || status != exitFine || !strings.Contains(printed, "2 packets") || !strings.Contains(strings.ToLower(printed), "sctp") {
			t.Errorf("%s: status %d, %v, %q, %q", output, status, err, &stdout, &stderr)
		}
	}
}
