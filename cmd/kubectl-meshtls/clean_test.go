package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestCleaned: no control and no bidirectional mark reaches the terminal, also if a write ends within a character. Line feeds, tabs and other scripts remain.
func TestCleaned(t *testing.T) {
	in := []byte("a\tb\n\x1b[31mred\u202e\u009b 漢字 \xff é\r\n\U0001f512")
	const want = "a\tb\n\\x1b[31mred\\u202e\\x9b 漢字 \\xff é\\x0d\n\U0001f512"
	for size := 1; size <= len(in); size++ {
		var out bytes.Buffer
		w := &cleaned{to: &out}
		for at := 0; at < len(in); at += size {
			part := in[at:min(at+size, len(in))]
			if n, err := w.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		if out.String() != want {
			t.Errorf("writes of %d bytes: %q, want %q", size, &out, want)
		}
	}
}

// TestErrorsCleaned: a message that quotes hostile text is printed clean.
func TestErrorsCleaned(t *testing.T) {
	if _, stderr, status := command(t, "tap", "web", "--image", "x", "--dry-run", "\x1b[2J\u202e"); status != exitUsage || stderr == "" || bytes.ContainsAny([]byte(stderr), "\x1b\u202e") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

func TestLimited(t *testing.T) {
	l := limited{most: 5}
	for range 3 {
		if n, err := l.Write([]byte("abc")); n != 3 || err != nil {
			t.Error(n, err)
		}
	}
	if l.String() != "abcab" {
		t.Errorf("%q", l.String())
	}
}

// TestPrintObjectEscapes: JSON has no character that a terminal interprets.
func TestPrintObjectEscapes(t *testing.T) {
	var out bytes.Buffer
	if err := printObject(&out, "json", map[string]string{"a": "\x1b\u202e\u009bé"}); err != nil || out.String() != "{\n  \"a\": \"\\u001b\\u202e\\u009bé\"\n}\n" {
		t.Errorf("%v, %s", err, &out)
	}
}

// TestCreatePrivate: a file that exists, and that others may read, is readable only for its owner afterwards.
func TestCreatePrivate(t *testing.T) {
	for _, name := range []string{"new", "old"} {
		file := filepath.Join(t.TempDir(), name)
		if name == "old" {
			if err := os.WriteFile(file, []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		f, err := createPrivate(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, "x")
		f.Close()
		info, err := os.Stat(file)
		if err != nil || info.Size() != 1 || os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if f, err := createPrivate(os.DevNull); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}
