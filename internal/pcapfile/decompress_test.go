package pcapfile

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// packed compresses data by zstd with a window, or by lz4 if the window is 0.
func packed(t testing.TB, data []byte, window int) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = lz4.NewWriter(&b)
	if window > 0 {
		z, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// randomPcap returns a pcap file with packets of random bytes.
func randomPcap(count, size int) []byte {
	w, r := capturetest.LittleBlocks, rand.New(rand.NewPCG(3, 4))
	file := append(append(w.Words(pcapMicro), 2, 0, 4, 0), w.Words(0, 0, maxPacket, 1)...)
	for i := range count {
		data := make([]byte, size)
		for k := range data {
			data[k] = byte(r.Uint32())
		}
		file = append(append(file, w.Words(uint32(i), 0, uint32(size), uint32(size))...), data...)
	}
	return file
}

// TestCompressed: a compressed file has the packets of the original, also in several frames, and an error if it is truncated.
func TestCompressed(t *testing.T) {
	file := randomPcap(300, 1000)
	want := readOut(bytes.NewReader(file), false)
	for name, window := range map[string]int{"zstd": 8 << 20, "lz4": 0} {
		whole := packed(t, file, window)
		frames := append(packed(t, file[:len(file)/2], window), packed(t, file[len(file)/2:], window)...)
		for _, c := range [][]byte{whole, frames} {
			if got := readOut(bytes.NewReader(c), true); !slices.Equal(got, want) {
				t.Errorf("%s: %d packets, then %s", name, len(got)-1, got[len(got)-1])
			}
			if got := readOut(iotest.OneByteReader(bytes.NewReader(c)), true); !slices.Equal(got, want) {
				t.Errorf("%s, byte by byte: %d packets, then %s", name, len(got)-1, got[len(got)-1])
			}
		}
		for _, left := range []int{10, len(whole) / 2, len(whole) - 5, len(frames) - 9} {
			c := whole
			if left > len(whole)-5 {
				c = frames
			}
			got := readOut(bytes.NewReader(c[:left]), true)
			if last := got[len(got)-1]; last == "EOF" {
				t.Errorf("%s truncated after %d bytes: %d packets and no error", name, left, len(got)-1)
			}
		}
		got := readOut(bytes.NewReader(append(slices.Clone(whole), "garbage"...)), true)
		if last := got[len(got)-1]; len(got) != len(want) || last == "EOF" {
			t.Errorf("%s with bytes after its end: %d packets, then %s", name, len(got)-1, last)
		}
		in, captured, err := Sniff(bytes.NewReader(packed(t, []byte("{\"a\":1}\n"), window)))
		if text, _ := io.ReadAll(in); err != nil || captured || string(text) != "{\"a\":1}\n" {
			t.Errorf("%s: %q, captured %v, %v", name, text, captured, err)
		}
	}
}

// TestBomb: a file whose contents are much larger than itself takes a bounded amount of memory, and a zstd frame may not ask for a larger
// window.
func TestBomb(t *testing.T) {
	file := append(randomPcap(0, 0), make([]byte, 64<<20)...) // empty packets at the time 0
	for name, window := range map[string]int{"zstd": maxWindow, "lz4": 0} {
		bomb := packed(t, file, window)
		if len(bomb) > len(file)/100 {
			t.Fatalf("%s: %d bytes", name, len(bomb))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := NewReader(bytes.NewReader(bomb))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c.in); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 2*maxWindow+16<<20 || c.BytesRead() != int64(len(file)) {
			t.Errorf("%s: %d bytes allocated for %d", name, n, c.BytesRead())
		}
	}
	if got := readOut(bytes.NewReader(packed(t, file, 2*maxWindow)), true); !strings.Contains(got[0], "a window of more than 32 MiB: decompress it first (zstd -d --long=31)") {
		t.Errorf("a larger window: %s", got[0])
	}
}

// FuzzCompressed: no input causes a panic, or an endless loop.
func FuzzCompressed(f *testing.F) {
	file := randomPcap(3, 100)
	f.Add(packed(f, file, 1<<20))
	f.Add(packed(f, file, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := NewReader(bytes.NewReader(data))
		if err == nil {
			_, _ = io.CopyN(io.Discard, c.in, 1<<20)
		}
	})
}
