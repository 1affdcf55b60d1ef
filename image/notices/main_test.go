package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNotices: the notices of the tap have Go's name and the name of each module that is linked into the tap, each
// with its license.
func TestNotices(t *testing.T) {
	var out bytes.Buffer
	if err := notices(&out, []string{"linux", "windows"}, []string{"github.com/meshtls-tap/meshtls-tap/cmd/tap"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"== Go\n", "== github.com/segmentio/kafka-go v", "== golang.org/x/sys v", "Redistributions in binary form", "Permission is hereby granted"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(out.String(), "== github.com/google/gopacket") {
		t.Error("a module that only tests use is in the notices")
	}
}

func TestWriteModule(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "inner")
	for name, text := range map[string]string{"LICENSE.txt": "first\n", "inner/LICENSE": "first", "inner/NOTICE": "second", "inner/licensed.go": "no"} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := writeModule(&out, "m v1", []string{inner, root}); err != nil || out.String() != "== m v1\n\nfirst\n\n--\n\nsecond\n\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := writeModule(&out, "m v1", []string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no license") {
		t.Errorf("a module without a license: %v", err)
	}
}
