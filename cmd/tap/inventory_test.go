package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestHashOfUnreadableFile: the inventory has a hash of a file that was read to its end, also after an error in its format, and no hash of
// a file of which only the beginning could be read.
func TestHashOfUnreadableFile(t *testing.T) {
	const sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of "hello"
	for _, c := range []struct {
		name   string
		in     io.Reader
		failed bool
		want   string
	}{
		{"read", strings.NewReader("hello"), false, sum},
		{"of another format", strings.NewReader("hello"), true, sum},
		{"of a broken disk", io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(errors.New("input/output error"))), true, ""},
	} {
		var r reading
		r.collectInventory()
		r.hashed(c.name, c.in)
		r.endHash(c.failed)
		if got := r.inventory.source.SHA256; len(got) != 1 || got[0] != c.want {
			t.Errorf("a file %s: hashes %q, want %q", c.name, got, c.want)
		}
	}
}
