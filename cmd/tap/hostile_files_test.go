package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// repeated returns a reader of head and n copies of block. It does not keep all copies in memory at
// once.
func repeated(head, block []byte, n int) io.Reader {
	some := bytes.Repeat(block, 1000)
	readers := []io.Reader{bytes.NewReader(head)}
	for range n / 1000 {
		readers = append(readers, bytes.NewReader(some))
	}
	return io.MultiReader(readers...)
}

// TestHostileFilesTakeNoMemory: some files have many blocks that claim to be large. For them `tap read` allocates little more
// than for a small file. An earlier version needed 845 MB for the first of these files, whose compressed size is 48 kB.
func TestHostileFilesTakeNoMemory(t *testing.T) {
	norace(t)
	w := capturetest.LittleBlocks
	start := append(w.Section(1), w.Interface(101, 0)...)
	record := w.Words(1, 0, 0, 0)
	classic := append(append(w.Words(0xa1b2c3d4), 2, 0, 4, 0), w.Words(0, 0, 0xffffffff, 101)...)
	const n, most = 1_000_000, 4 << 20
	var sections []byte
	for i := range n / 50 {
		sections = append(append(append(sections, w.Section(1)...), w.Interface(101, 0, w.Option(2, fmt.Sprintf("%60d", i)))...), w.Packet(0, 1, "")...)
	}
	for name, file := range map[string]io.Reader{
		"interfaces":      repeated(w.Section(1), w.Interface(1, 0xffffffff), n),
		"interface names": repeated(w.Section(1), w.Interface(1, 0, w.Option(2, strings.Repeat("n", 200))), n/5),
		"sections":        repeated(nil, w.Section(1), n),
		"sections, each with an interface of another name and a packet": bytes.NewReader(sections),
		"packets":           repeated(start, w.Packet(0, 1, ""), n),
		"empty packets":     repeated(start, w.Simple(""), n),
		"comments":          repeated(start, w.Packet(0, 1, "", w.Option(1, "1"), w.Option(1, "2"), w.Option(1, "3")), n/5),
		"statistics":        repeated(start, w.Block(5, w.Words(0, 0, 0)), n),
		"name resolution":   repeated(start, w.Block(4, w.AppendUint16(w.AppendUint16(nil, 1), 8), []byte("\x7f\x00\x00\x01abc\x00"), w.Words(0)), n),
		"secrets":           repeated(start, w.Block(10, w.Words(0x544c534b, 4), []byte("abcd")), n),
		"a secret of 64 MB": io.MultiReader(bytes.NewReader(append(bytes.Clone(start), w.Words(10, 64<<20)...)), repeated(nil, make([]byte, 64), n)),
		"unknown blocks":    repeated(start, w.Block(0x0bad), n),
		"unknown version":   repeated(w.Section(9), w.Interface(1, 0), n),
		"unknown links":     repeated(append(w.Section(1), w.Interface(9999, 0)...), w.Packet(0, 1, "a"), n/5),
		"packets of pcap":   repeated(classic, record, n),
	} {
		t.Run(name, func(t *testing.T) {
			small := allocatedBy(t, bytes.NewReader(append(bytes.Clone(start), w.Packet(0, 1, "")...)))
			if got := allocatedBy(t, file) - small; got > most {
				t.Errorf("%d bytes allocated beyond the %d that a small file takes, want %d at most", got, small, most)
			}
		})
	}
}

// allocatedBy compresses a file and returns how many bytes `tap read` allocates in total to read it.
func allocatedBy(t *testing.T, file io.Reader) int64 {
	t.Helper()
	name := filepath.Join(t.TempDir(), "capture.gz")
	f, err := os.Create(name) //nolint:gosec // a temporary file of the test
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if _, err := io.Copy(z, file); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = read(t.Context(), []string{"--output=text", name}, streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	runtime.ReadMemStats(&after)
	t.Log(err)
	return int64(after.TotalAlloc - before.TotalAlloc)
}
