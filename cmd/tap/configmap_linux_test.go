package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestOrdersFromSpecialFiles: if a key is not a regular file, reading it neither blocks nor reads without
// bound.
func TestOrdersFromSpecialFiles(t *testing.T) {
	for name, make := range map[string]func(file string) error{
		"a named pipe":        func(file string) error { return syscall.Mkfifo(file, 0o600) },
		"a device":            func(file string) error { return os.Symlink("/dev/zero", file) },
		"a folder":            func(file string) error { return os.Mkdir(file, 0o700) },
		"a file without size": func(file string) error { return os.Symlink("/proc/self/environ", file) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, "enabled")); err != nil {
				t.Fatal(err)
			}
			c := configMap{dir: dir, allow: orderKeys, log: slog.New(slog.DiscardHandler)}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			o := c.read()
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%d bytes allocated", n)
			}
			ignored := c.ignored()
			if o.off || len(ignored) != 1 || !strings.HasPrefix(ignored[0], "ignored in the namespace's ConfigMap: enabled=") || strings.Contains(ignored[0], "\n") {
				t.Errorf("off %v, %q", o.off, ignored)
			}
		})
	}
}

// TestOrdersCorrected: a corrected value is no longer ignored.
func TestOrdersCorrected(t *testing.T) {
	dir := t.TempDir()
	c := configMap{dir: dir, allow: orderKeys, log: slog.New(slog.DiscardHandler)}
	file := filepath.Join(dir, "until")
	for _, value := range []string{"yesterday\nand more", strings.Repeat("x", 1000)} {
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if c.read(); len(c.ignored()) != 1 || len(c.ignored()[0]) > 250 || strings.Contains(c.ignored()[0], "\n") {
			t.Errorf("%q", c.ignored())
		}
	}
	if err := os.WriteFile(file, []byte("2026-01-31T12:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.read(); len(c.ignored()) != 0 {
		t.Errorf("%q", c.ignored())
	}
}
